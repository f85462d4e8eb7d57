//! The program `projector`.

use projector::{Config, run};
use service::program::Program;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let about = "Writes views from events. Several of these processes share the work";
    Program::new("projector", env!("CARGO_PKG_VERSION"), about)
        .run(|config: &Config| &config.telemetry, run)
        .await
}
