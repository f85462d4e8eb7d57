//! The command line: which subcommand starts what.
//!
//! Each subcommand is a module with `Arguments` (a `clap::Args` whose doc comment is its help) and `async fn run(Arguments) ->
//! anyhow::Result<ExitCode>`. An error is printed, and gives exit code 2.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;

#[cfg(feature = "up")]
use crate::{alone, up};
use crate::{codes, dead_letters, demo, import, rebuild, role, smoke, tail, verify};

/// Everything in one process, and the tools around it
///
/// Microblog is a microblogging backend. It has a service for writes (8081), a service for reads (8082), a projector that updates the views
/// of reads from the events of writes, and a MongoDB.
///
/// `microblog up` starts all of this here. The other commands work on any installation, started by `up` or running in a cluster.
#[derive(Debug, Parser)]
#[command(
    name = "microblog",
    version,
    after_long_help = "\
First steps:
  microblog up        in one terminal: prints the addresses and a curl session to paste
  microblog demo      in another: loads a small made-up community
  microblog verify    recomputes every timeline from the events and compares

Configuration: MICROBLOG__SECTION__KEY in the environment, such as MICROBLOG__MONGODB__URI; or a file that
MICROBLOG_CONFIG names. What the environment says goes first."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[cfg(feature = "up")]
    Up(up::Arguments),
    Demo(demo::Arguments),
    Smoke(smoke::Arguments),
    Tail(tail::Arguments),
    Import(Box<import::Arguments>),
    Verify(verify::Arguments),
    DeadLetters(dead_letters::Arguments),
    Rebuild(rebuild::Arguments),
    ResetPassword(codes::ResetPassword),
    Invite(codes::Invite),
    Role(role::Arguments),
    #[cfg(feature = "up")]
    #[command(hide = true)]
    Projector(alone::Arguments),
}

/// Parses the command line and runs the command.
pub async fn run() -> ExitCode {
    // Boxed: the type of all these futures together has more layers than the compiler can lay out.
    let running: LocalBoxFuture<'_, anyhow::Result<ExitCode>> = match Cli::parse().command {
        #[cfg(feature = "up")]
        Command::Up(arguments) => up::run(arguments).boxed_local(),
        Command::Demo(arguments) => demo::run(arguments).boxed_local(),
        Command::Smoke(arguments) => smoke::run(arguments).boxed_local(),
        Command::Tail(arguments) => tail::run(arguments).boxed_local(),
        Command::Import(arguments) => import::run(*arguments).boxed_local(),
        Command::Verify(arguments) => verify::run(arguments).boxed_local(),
        Command::DeadLetters(arguments) => dead_letters::run(arguments).boxed_local(),
        Command::Rebuild(arguments) => rebuild::run(arguments).boxed_local(),
        Command::ResetPassword(arguments) => codes::reset_password(arguments).boxed_local(),
        Command::Invite(arguments) => codes::invite(arguments).boxed_local(),
        Command::Role(arguments) => role::run(arguments).boxed_local(),
        #[cfg(feature = "up")]
        Command::Projector(arguments) => alone::run(arguments).boxed_local(),
    };
    running.await.unwrap_or_else(|error| {
        complain(&error);
        ExitCode::from(2)
    })
}

#[expect(
    clippy::print_stderr,
    reason = "the command line prints errors for the person who ran it"
)]
fn complain(error: &anyhow::Error) {
    eprintln!("microblog: {error:#}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
