//! Tests Microblog on a real Kubernetes cluster: the program behind `make test-cluster`.
//!
//! It does what people do with kubectl and helm, sends requests at the same time, and checks the responses.

mod cluster;
mod database;
mod images;
mod installation;
mod load;
mod namespace;
mod narration;
mod port_forward;
mod programs;
mod scenarios;
mod settings;
mod suite;
mod waiting;

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser as _;

use crate::narration::{quote, say};
use crate::scenarios::ALL;
use crate::settings::Settings;
use crate::suite::Suite;

#[tokio::main]
async fn main() -> ExitCode {
    match run(Settings::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(format_args!("test-cluster can't continue: {error:#}"));
            ExitCode::from(2)
        }
    }
}

async fn run(settings: Settings) -> Result<bool> {
    if settings.list {
        for scenario in ALL {
            quote(&format!("{:12} {}", scenario.name, scenario.shows));
        }
        return Ok(true);
    }
    if let Some(unknown) = settings
        .only
        .iter()
        .find(|name| !ALL.iter().any(|one| one.name == **name))
    {
        bail!("there is no scenario named {unknown}: --list prints the names");
    }
    let mut suite = Suite::new(settings.clone()).await?;
    if !settings.skip_images {
        images::build_and_load(&settings).await?;
    }
    tokio::select! {
        passed = suite.run() => return passed,
        _ = tokio::signal::ctrl_c() => say("interrupted: cleaning up"),
    }
    suite.clean_up().await?;
    Ok(false)
}
