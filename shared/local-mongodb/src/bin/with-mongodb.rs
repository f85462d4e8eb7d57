//! `with-mongodb -- cargo test --workspace`: runs a command with a fresh database, whose address is in `MICROBLOG_TEST_MONGODB_URI`.
//!
//! The exit code is that of the command. Afterwards the database and its data are removed.

use std::{
    os::unix::process::ExitStatusExt as _,
    process::{ExitCode, ExitStatus},
};

use local_mongodb::{Server, TEST_URI_VARIABLE};
use tokio::{
    process::Command,
    signal::unix::{SignalKind, signal},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(code) => code,
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    let words = words.strip_prefix(&["--".into()]).unwrap_or(&words);
    let Some((program, arguments)) = words.split_first() else {
        complain("Usage: with-mongodb -- COMMAND [ARGUMENT...]");
        return Ok(ExitCode::from(2));
    };
    // Listens to the signals before it starts anything. From here on, neither signal ends this program before the database has ended.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut server = Server::start_ephemeral().await?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env(TEST_URI_VARIABLE, server.uri())
        .kill_on_drop(true);
    let spawned = command.spawn();
    let mut child = spawned.map_err(|error| format!("cannot run {}: {error}", program.display()))?;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status?,
            // The terminal has sent the signal to the command, too.
            _ = interrupt.recv() => {}
            // Only this program got the signal. The command can't be asked to stop, so it is killed.
            _ = terminate.recv() => child.start_kill()?,
        }
    };
    server.stop().await?;
    Ok(ExitCode::from(code(status)))
}

/// The exit code of the command. If a signal ended it, the code that shells report.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

#[expect(clippy::print_stderr, reason = "this is a program for the terminal")]
fn complain(message: &str) {
    eprintln!("with-mongodb: {message}");
}
