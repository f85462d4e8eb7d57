//! The program `gateway`.

use gateway::{Config, run};
use service::program::Program;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let about = "One address for everything: passes requests on to the service that answers them";
    Program::new("gateway", env!("CARGO_PKG_VERSION"), about)
        .run(|config: &Config| &config.telemetry, run)
        .await
}
