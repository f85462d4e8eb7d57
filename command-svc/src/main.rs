//! The program `command-svc`.

use command_svc::{App, Config};
use model::clock::SystemClock;
use service::program::{Program, stop_signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    Program::new(
        "command-svc",
        env!("CARGO_PKG_VERSION"),
        "The write side of Microblog: takes commands over HTTP and appends events to MongoDB",
    )
    .printing("openapi", "Print the description of the API, and exit", || {
        Ok(command_svc::openapi().to_pretty_json()?)
    })
    .run(
        |config: &Config| &config.telemetry,
        async |config| {
            let app = App::build_with_patience(config, SystemClock::shared()).await?;
            tracing::info!(address = %app.local_addr(), "started");
            Ok(app.run_until_stopped(stop_signal()?).await?)
        },
    )
    .await
}
