//! The program `query-svc`.

use query_svc::{Config, run};
use service::program::Program;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let about = "Answers queries: timelines, users, posts";
    Program::new("query-svc", env!("CARGO_PKG_VERSION"), about)
        .run(|config: &Config| &config.telemetry, run)
        .await
}
