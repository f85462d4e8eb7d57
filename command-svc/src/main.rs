//! Parses, initialises, runs.

use std::path::PathBuf;

use clap::Parser;
use command_svc::{App, Config};
use event_log::crypto;
use model::clock::SystemClock;
use service::config::{self, Environment};
use service::telemetry;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The write side of Microblog: takes commands over HTTP and appends events to MongoDB.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// A TOML or YAML file; environment variables (MICROBLOG__SECTION__KEY) go before it.
    #[arg(long, env = "MICROBLOG_CONFIG")]
    config: Option<PathBuf>,
    /// Shows what would be in force, with secrets masked, and ends.
    #[arg(long)]
    print_config: bool,
    /// Shows the description of the API, and ends.
    #[arg(long)]
    openapi: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if arguments.openapi {
        return show(&command_svc::openapi().to_pretty_json()?);
    }
    let config: Config = config::load(arguments.config.as_deref(), &Environment::of_process())?;
    if arguments.print_config {
        return show(&config::print_config(&config)?);
    }
    crypto::install_provider();
    let telemetry = telemetry::init(&config.telemetry, "command-svc")?;
    let app = App::build_with_patience(config, SystemClock::shared()).await?;
    tracing::info!(address = %app.local_addr(), "listening");
    let stopped = app.run_until_stopped(stop_signal()?).await;
    telemetry.shutdown().await;
    Ok(stopped?)
}

fn show(text: &str) -> anyhow::Result<()> {
    use std::io::Write;
    Ok(writeln!(std::io::stdout(), "{}", text.trim_end())?)
}

/// Cancelled by SIGTERM and Ctrl-C.
fn stop_signal() -> std::io::Result<CancellationToken> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stopped.cancel();
    });
    Ok(stop)
}
