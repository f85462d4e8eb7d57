//! The program `operator`.

use operator::{App, Config};
use service::program::{Program, stop_signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let about = "Reconciles the Projection resources of its namespace. If several run, only the leader works";
    Program::new("operator", env!("CARGO_PKG_VERSION"), about)
        .printing_by_command("crd", "Print the CustomResourceDefinition", || {
            Ok(operator::crd::yaml()?)
        })
        .run(
            |config: &Config| &config.telemetry,
            async |config| {
                let app = App::in_cluster(config).await?;
                tracing::info!(address = %app.local_addr(), "started");
                Ok(app.run_until_stopped(stop_signal()?).await?)
            },
        )
        .await
}
