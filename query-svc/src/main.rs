//! The program `query-svc`.

use model::clock::SystemClock;
use query_svc::{App, Config};
use service::program::{Program, stop_signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    Program::new(
        "query-svc",
        env!("CARGO_PKG_VERSION"),
        "Answers queries: timelines, users, posts",
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
