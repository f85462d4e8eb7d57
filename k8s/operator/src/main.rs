//! The program `operator`.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use event_log::crypto;
use model::clock::SystemClock;
use operator::{App, Config, Place};
use service::config::{Environment, load, print_config};
use service::telemetry;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Keeps the Projection resources of its namespace as they are wanted. Of several, one works.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// A configuration file (TOML or YAML) under the environment's MICROBLOG__SECTION__KEY.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Prints the effective configuration, with secrets masked, and ends.
    #[arg(long)]
    print_config: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Prints the CustomResourceDefinition
    Crd,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    crypto::install_provider();
    let arguments = Arguments::parse();
    match arguments.command {
        Some(Command::Crd) => say(&operator::crd::yaml()?),
        None => run(&arguments).await,
    }
}

async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let config: Config = load(arguments.config.as_deref(), &Environment::of_process())?;
    if arguments.print_config {
        return say(&print_config(&config)?);
    }
    let telemetry = telemetry::init(&config.telemetry, "operator")?;
    let client = kube::Client::try_default().await?;
    let place = place(&client)?;
    let app = App::build(config, client, place, SystemClock::shared()).await?;
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

/// In a pod, its own namespace and name; elsewhere, what the kubeconfig says, and a name that nobody else has.
fn place(client: &kube::Client) -> anyhow::Result<Place> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    Ok(Place {
        namespace: variable("POD_NAMESPACE").unwrap_or_else(|| client.default_namespace().to_owned()),
        identity: variable("POD_NAME").unwrap_or_else(|| format!("operator-{}", std::process::id())),
    })
}

#[expect(clippy::print_stdout, reason = "it is what was asked for")]
fn say(text: &str) -> anyhow::Result<()> {
    print!("{text}");
    Ok(())
}
