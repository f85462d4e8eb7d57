//! `microblog reset-password` and `microblog invite`: one-time codes for an operator to pass on.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use commands::codes::Codes;
use event_log::mongo::Databases;
use humantime_serde::re::humantime::format_duration;
use model::clock::SystemClock;
use model::values::Handle;

use crate::connection::Connection;
use crate::terminal::say;

/// Make a one-time code that lets somebody set a new password
///
/// For people who have forgotten their password. Make sure that you know who asks, then give them the code. It works once. They send it
/// with the new password to POST /v1/users/password-resets, which ends all their sessions.
#[derive(Debug, clap::Args)]
pub(crate) struct ResetPassword {
    /// The user whose password it is for, such as @ada
    #[arg(value_name = "HANDLE", value_parser = crate::cli_values::handle)]
    handle: Handle,
    /// How long the code is valid
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = crate::cli_values::duration)]
    good_for: Duration,
    #[command(flatten)]
    connection: Connection,
}

/// Make a one-time code that lets somebody register
///
/// For installations where MICROBLOG__COMMAND__REGISTRATION is `invite`. The registration sends the code as `invite`. It works once.
#[derive(Debug, clap::Args)]
pub(crate) struct Invite {
    /// How long the code is valid
    #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = crate::cli_values::duration)]
    good_for: Duration,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) async fn reset_password(arguments: ResetPassword) -> anyhow::Result<ExitCode> {
    let ResetPassword {
        handle,
        good_for,
        connection,
    } = arguments;
    let databases = databases(&connection).await?;
    let codes = Codes::open(&databases.events, SystemClock::shared()).await?;
    let code = codes.reset(&handle, good_for).await?;
    databases.close().await;
    let code = code.with_context(|| format!("there is no user @{handle}"))?;
    told(&code, good_for)
}

pub(crate) async fn invite(arguments: Invite) -> anyhow::Result<ExitCode> {
    let Invite { good_for, connection } = arguments;
    let databases = databases(&connection).await?;
    let codes = Codes::open(&databases.events, SystemClock::shared()).await?;
    let code = codes.invite(good_for).await?;
    databases.close().await;
    told(&code, good_for)
}

async fn databases(connection: &Connection) -> anyhow::Result<Databases> {
    Ok(Databases::connect(&connection.config()?.mongodb, "microblog-codes").await?)
}

fn told(code: &str, good_for: Duration) -> anyhow::Result<ExitCode> {
    say(code)?;
    say(&format!("It works once, for {}.", format_duration(good_for)))?;
    Ok(ExitCode::SUCCESS)
}
