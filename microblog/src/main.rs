//! The program `microblog`: everything in one process, and the tools around it.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    event_log::crypto::install_provider();
    microblog::cli::run().await
}
