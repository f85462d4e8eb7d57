//! The program `query-svc`.

use std::path::PathBuf;

use clap::Parser;
use event_log::crypto;
use model::clock::SystemClock;
use query_svc::{App, Config};
use service::config::{Environment, load, print_config};
use service::telemetry;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Answers queries: timelines, users, posts.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// A configuration file (TOML or YAML) under the environment's MICROBLOG__SECTION__KEY.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Prints the effective configuration, with secrets masked, and ends.
    #[arg(long)]
    print_config: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    crypto::install_provider();
    let arguments = Arguments::parse();
    let config: Config = load(arguments.config.as_deref(), &Environment::of_process())?;
    if arguments.print_config {
        #[expect(clippy::print_stdout, reason = "it is what was asked for")]
        {
            print!("{}", print_config(&config)?);
        }
        return Ok(());
    }
    let telemetry = telemetry::init(&config.telemetry, "query-svc")?;
    let app = App::build(config, SystemClock::shared()).await?;
    tracing::info!(address = %app.local_addr(), "started");
    let shutdown = CancellationToken::new();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let asked = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        asked.cancel();
    });
    let outcome = app.run_until_stopped(shutdown).await;
    telemetry.shutdown().await;
    Ok(outcome?)
}
