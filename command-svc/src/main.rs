//! The program `command-svc`.

use command_svc::{Config, openapi, run};
use service::program::Program;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let about = "The write side of Microblog: takes commands over HTTP and appends events to MongoDB";
    Program::new("command-svc", env!("CARGO_PKG_VERSION"), about)
        .printing("openapi", "Print the description of the API, and exit", || {
            Ok(openapi().to_pretty_json()?)
        })
        .run(|config: &Config| &config.telemetry, run)
        .await
}
