//! One program of `up` as a process of its own, in this executable. Tests use it to kill a projector.

use std::process::ExitCode;

use model::clock::SystemClock;
use service::config::{self, Environment};
use service::telemetry;
use tokio_util::sync::CancellationToken;

use crate::terminal::say;

/// Run a second projector beside those that already run
///
/// The same as the program `projector`. Prints the address of its probes, which MICROBLOG__PROJECTOR__LISTEN gives.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {}

pub(crate) async fn run(_: Arguments) -> anyhow::Result<ExitCode> {
    let config: projector::Config = config::load(None, &Environment::of_process())?;
    let telemetry = telemetry::init(&config.telemetry, "projector")?;
    let app = projector::App::build(config, SystemClock::shared()).await?;
    say(&format!("http://{}", app.local_addr()))?;
    let shutdown = CancellationToken::new();
    let asked = shutdown.clone();
    tokio::spawn(async move {
        // If listening for the signal fails, the process can still be killed.
        if tokio::signal::ctrl_c().await.is_ok() {
            asked.cancel();
        }
    });
    let outcome = app.run_until_stopped(shutdown).await;
    telemetry.shutdown().await;
    outcome?;
    Ok(ExitCode::SUCCESS)
}
