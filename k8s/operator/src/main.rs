//! The program `operator`.

use operator::{Config, crd, run};
use service::program::Program;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let about = "Reconciles the Projection resources of its namespace. If several run, only the leader works";
    Program::new("operator", env!("CARGO_PKG_VERSION"), about)
        .printing_by_command("crd", "Print the CustomResourceDefinition", || Ok(crd::yaml()?))
        .run(|config: &Config| &config.telemetry, run)
        .await
}
