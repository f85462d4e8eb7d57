//! `microblog dead-letters`: what an operator can do about events that a projection could not handle.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use comfy_table::Table;
use comfy_table::presets::UTF8_BORDERS_ONLY;
use event_log::event_store::{EventStore, Retries};
use event_log::mongo::Databases;
use event_log::subscription::dead_letters::{DeadLetter, DeadLetters, Request};
use model::clock::SystemClock;
use model::ids::{EventId, Partition};
use mongodb::Database;

use crate::connection::Connection;

/// How often a retry checks the letters.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// List, retry or discard events that a projection could not handle
///
/// An event that failed five times becomes a dead letter, and so does each later event of its stream. All other events go on. Repair the
/// cause and retry the event, or discard it. A discarded event counts as if it had never happened, also for rebuilds and for `verify`. Only
/// ids are shown, never texts.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Show all dead letters
    ///
    /// Exit code: 0 if no dead letter waits for a decision, 1 if one does.
    List {
        /// Show discarded ones too
        #[arg(long)]
        discarded: bool,
        #[command(flatten)]
        connection: Connection,
    },
    /// Have events handled again, by the projector that owns their partition
    ///
    /// Exit code: 0 if all were handled, 1 if one failed again or was not tried in time.
    Retry {
        #[command(flatten)]
        which: Which,
        /// How long to wait for the result
        #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = crate::cli_values::duration)]
        wait: Duration,
        #[command(flatten)]
        connection: Connection,
    },
    /// Give events up: they count as if they had never happened
    Discard {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        connection: Connection,
    },
}

/// Some dead letters, or all of them.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// The ids of the events
    #[arg(value_name = "EVENT")]
    events: Vec<EventId>,
    /// All dead letters that wait
    #[arg(long)]
    all: bool,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let connection = match &arguments.action {
        Action::List { connection, .. } | Action::Retry { connection, .. } | Action::Discard { connection, .. } => {
            connection
        }
    };
    let databases = Databases::connect(&connection.config()?.mongodb, "microblog-dead-letters").await?;
    let letters = DeadLetters::new(&databases.views);
    let mut out = io::stdout();
    let code = match arguments.action {
        Action::List { discarded, .. } => list(&letters, discarded, &mut out).await,
        Action::Retry { which, wait, .. } => retry(&letters, &databases.events, &which, wait, &mut out).await,
        Action::Discard { which, .. } => discard(&letters, &databases.events, &which, &mut out).await,
    };
    databases.close().await;
    code
}

async fn list(letters: &DeadLetters, discarded: bool, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let all = letters.list().await?;
    let waiting = all.iter().filter(|letter| !letter.discarded).count();
    let shown: Vec<&DeadLetter> = all.iter().filter(|letter| discarded || !letter.discarded).collect();
    if shown.is_empty() {
        writeln!(out, "No dead letters.")?;
    } else {
        writeln!(out, "{}", table(&shown))?;
    }
    Ok(if waiting == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn table(letters: &[&DeadLetter]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY);
    table.set_header(["event", "what", "stream", "by", "since", "state", "reason"]);
    for letter in letters {
        table.add_row([
            letter.event.to_string(),
            letter.event_type.clone(),
            format!("{} version {}", letter.stream, letter.version),
            letter.subscription.clone(),
            letter.at.format("%F %T").to_string(),
            state(letter).to_owned(),
            letter.reason.clone(),
        ]);
    }
    table
}

fn state(letter: &DeadLetter) -> &'static str {
    if letter.discarded {
        "discarded"
    } else if letter.retry_requested {
        "to be retried"
    } else if letter.queued_behind {
        "waits behind an earlier one"
    } else {
        "refused"
    }
}

async fn retry(
    letters: &DeadLetters,
    events: &Database,
    which: &Which,
    wait: Duration,
    out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let reached = request(letters, events, which, Request::Retry).await?;
    let asked: BTreeSet<String> = reached.iter().map(|letter| letter.id.clone()).collect();
    let deadline = Instant::now() + wait;
    loop {
        let left: Vec<DeadLetter> = letters
            .list()
            .await?
            .into_iter()
            .filter(|letter| asked.contains(&letter.id))
            .collect();
        let pending = left.iter().filter(|letter| letter.retry_requested).count();
        if pending == 0 || Instant::now() >= deadline {
            writeln!(out, "{} of {} went through.", asked.len() - left.len(), asked.len())?;
            if left.is_empty() {
                return Ok(ExitCode::SUCCESS);
            }
            if pending > 0 {
                writeln!(
                    out,
                    "{pending} were not tried within {} s; is a projector running?",
                    wait.as_secs()
                )?;
            }
            writeln!(out, "{}", table(&left.iter().collect::<Vec<_>>()))?;
            return Ok(ExitCode::FAILURE);
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}

async fn discard(
    letters: &DeadLetters,
    events: &Database,
    which: &Which,
    out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let reached = request(letters, events, which, Request::Discard).await?;
    writeln!(
        out,
        "Discarded {}; the events that waited behind them are handled now.",
        reached.len()
    )?;
    Ok(ExitCode::SUCCESS)
}

/// Writes the request into the letters, then wakes the owners of the partitions.
async fn request(
    letters: &DeadLetters,
    events: &Database,
    which: &Which,
    request: Request,
) -> anyhow::Result<Vec<DeadLetter>> {
    let wanted: BTreeSet<EventId> = if which.all {
        letters
            .list()
            .await?
            .iter()
            .filter(|letter| !letter.discarded)
            .map(|letter| letter.event)
            .collect()
    } else {
        which.events.iter().copied().collect()
    };
    ensure!(!wanted.is_empty(), "no dead letter waits");
    let mut reached = Vec::new();
    for event in wanted {
        let of_event = letters.request(event, request).await?;
        if of_event.is_empty() {
            bail!("there is no dead letter of the event {event}");
        }
        reached.extend(of_event);
    }
    let store = EventStore::open(events.clone(), SystemClock::shared(), Retries::default()).await?;
    let partitions: BTreeSet<Partition> = reached.iter().map(|letter| letter.partition).collect();
    for partition in partitions {
        store.wake(partition).await?;
    }
    Ok(reached)
}
