//! The program `projector`.

use model::clock::SystemClock;
use projector::{App, Config};
use service::program::{Program, stop_signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    Program::new(
        "projector",
        env!("CARGO_PKG_VERSION"),
        "Writes views from events. Several of these processes share the work",
    )
    .run(
        |config: &Config| &config.telemetry,
        async |config| {
            let app = App::build(config, SystemClock::shared()).await?;
            tracing::info!(address = %app.local_addr(), "started");
            Ok(app.run_until_stopped(stop_signal()?).await?)
        },
    )
    .await
}
