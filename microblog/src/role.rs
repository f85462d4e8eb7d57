//! `microblog role`: makes somebody a moderator or an admin.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::ValueEnum;
use commands::{CommandError, Refusal, Roles};
use event_log::mongo::Databases;
use model::clock::SystemClock;
use model::values::{Handle, Role};

use crate::connection::Connection;
use crate::terminal::say;

/// Make somebody a moderator or an admin, or take that back
///
/// Moderators read reports, hide posts, and suspend accounts. Admins do so to moderators too. Everything that they do is an event with their
/// name.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The user, such as @ada
    #[arg(value_name = "HANDLE", value_parser = crate::cli_values::handle)]
    handle: Handle,
    /// The role that the user has from now on
    #[arg(value_name = "ROLE")]
    role: NewRole,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum NewRole {
    Moderator,
    Admin,
    None,
}

impl From<NewRole> for Option<Role> {
    fn from(role: NewRole) -> Self {
        match role {
            NewRole::Moderator => Some(Role::Moderator),
            NewRole::Admin => Some(Role::Admin),
            NewRole::None => None,
        }
    }
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Arguments {
        handle,
        role,
        connection,
    } = arguments;
    let databases = Databases::connect(&connection.config()?.mongodb, "microblog-role").await?;
    let roles = Roles::open(&databases.events, SystemClock::shared()).await?;
    let changed = roles.set(&handle, role.into()).await;
    databases.close().await;
    let changed = match changed {
        Err(CommandError::Refused(Refusal::NoSuchUser)) => anyhow::bail!("there is no user @{handle}"),
        other => other.with_context(|| format!("the role of @{handle} can't be changed"))?,
    };
    let is = match role {
        NewRole::Moderator => "a moderator",
        NewRole::Admin => "an admin",
        NewRole::None => "neither a moderator nor an admin",
    };
    let when = if changed { "is now" } else { "was already" };
    say(&format!("@{handle} {when} {is}."))?;
    Ok(ExitCode::SUCCESS)
}
