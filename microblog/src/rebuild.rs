//! `microblog rebuild`: asks for a new generation of all views, and watches the rebuild or does it.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use event_log::mongo::Databases;
use model::clock::{SharedClock, SystemClock};
use service::telemetry;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use views::generation::{Building, Control, Generations, Phase};

use crate::connection::Connection;
use crate::progress::{Bar, Progress};
use crate::terminal::say;

const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

/// Rebuild all views from the events
///
/// Reads every event into a new generation of the views, beside the present one. When the new generation has caught up, all query-svc
/// processes switch to it, and the former generation is dropped. Reads and writes continue all the time. If the process that rebuilds dies,
/// another one continues where it stopped.
///
/// A projector does the work, unless --here is given. This command only asks for the rebuild and watches it. Interrupting the command does
/// not stop the rebuild.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Ask for the rebuild, and do not watch it
    #[arg(long, conflicts_with = "here")]
    no_wait: bool,
    /// Rebuild in this process, unless a projector already does. It is configured like a projector
    #[arg(long)]
    here: bool,
    /// Ask for this generation. If it or a later one exists, nothing is built [default: the next]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(i64).range(1..))]
    generation: Option<i64>,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let config: projector::Config = arguments.connection.load()?;
    let telemetry = arguments
        .here
        .then(|| telemetry::init(&config.telemetry, "rebuild"))
        .transpose()?;
    let clock = SystemClock::shared();
    let databases = Databases::connect(&config.mongodb, "microblog-rebuild").await?;
    let generations = Generations::new(databases.views.clone(), clock.clone());
    generations
        .current()
        .await?
        .context("there are no views here yet: no projector has ever run")?;
    let generation = ask(&generations, arguments.generation).await?;
    say(&format!("Asked for generation {generation} of the views."))?;
    let outcome = if arguments.here {
        build_here(&config, &clock, &databases, &generations, generation).await
    } else if arguments.no_wait {
        Ok(())
    } else {
        watch(&generations, generation).await
    };
    databases.close().await;
    if let Some(telemetry) = telemetry {
        telemetry.shutdown().await;
    }
    outcome?;
    if !arguments.no_wait {
        say(&format!("Generation {generation} is read; the one before is gone."))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn ask(generations: &Generations, wanted: Option<i64>) -> anyhow::Result<i64> {
    match wanted {
        Some(wanted) => {
            generations.request(wanted).await?;
            Ok(wanted)
        }
        None => Ok(generations.request_rebuild().await?),
    }
}

/// Rebuilds and watches, until the rebuild is done or this process is told to end. The next process continues from there.
async fn build_here(
    config: &projector::Config,
    clock: &SharedClock,
    databases: &Databases,
    generations: &Generations,
    generation: i64,
) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let building = projector::host_rebuilds(config, clock, databases, &stop);
    tokio::pin!(building);
    let outcome = tokio::select! {
        ended = &mut building => {
            ended?;
            bail!("the rebuild ended unexpectedly");
        }
        outcome = watch(generations, generation) => outcome,
        asked = asked_to_end() => asked.map_err(Into::into).and_then(|()| bail!("interrupted; the next run continues from here")),
    };
    stop.cancel();
    building.await?;
    outcome
}

async fn asked_to_end() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminate.recv() => Ok(()),
    }
}

/// Waits until the generation is active and the one before is dropped.
async fn watch(generations: &Generations, generation: i64) -> anyhow::Result<()> {
    let progress = Progress::new();
    let mut shown: Option<(Stage, Bar)> = None;
    loop {
        let control = generations
            .current()
            .await?
            .context("the views' control document is gone")?;
        let stage = Stage::of(&control, generation);
        if shown.as_ref().is_none_or(|(before, _)| !before.same_as(&stage)) {
            if let Some((_, bar)) = &shown {
                bar.end();
            }
            if let Stage::Done = stage {
                return Ok(());
            }
            let bar = progress.bar(stage.name(), stage.total(), 0);
            shown = Some((stage.clone(), bar));
        }
        if let Some((_, bar)) = &shown {
            bar.set(stage.done(), stage.total());
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}

/// How far the rebuild of a generation is.
#[derive(Debug, Clone, PartialEq)]
enum Stage {
    /// Not begun: another rebuild is under way, or no projector runs.
    Waiting,
    Building(Building),
    /// It is read. The former generation still waits for query-svc processes and for earlier requests.
    Retiring,
    Done,
}

impl Stage {
    fn of(control: &Control, generation: i64) -> Self {
        if control.active >= generation {
            return if control.retiring.is_some() {
                Stage::Retiring
            } else {
                Stage::Done
            };
        }
        match &control.building {
            Some(building) if building.generation == generation => Stage::Building(building.clone()),
            _ => Stage::Waiting,
        }
    }

    fn same_as(&self, other: &Stage) -> bool {
        self.name() == other.name()
    }

    fn name(&self) -> &'static str {
        match self {
            Stage::Waiting => "waiting",
            Stage::Building(building) => match building.phase {
                Phase::Scanning => "events",
                Phase::Filling => "timelines",
                Phase::CatchingUp => "catching up",
            },
            Stage::Retiring => "retiring",
            Stage::Done => "done",
        }
    }

    fn total(&self) -> u64 {
        match self {
            Stage::Building(building) if building.phase != Phase::CatchingUp => count(building.total),
            _ => 1,
        }
    }

    fn done(&self) -> u64 {
        match self {
            Stage::Building(building) if building.phase != Phase::CatchingUp => count(building.scanned),
            _ => 0,
        }
    }
}

fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use views::generation::Retiring;

    use super::*;

    #[test]
    fn a_generation_is_done_when_the_one_before_is_gone() {
        let mut control = Control {
            active: 1,
            requested: Some(2),
            building: None,
            retiring: None,
            paused: false,
        };
        assert_eq!(Stage::of(&control, 2), Stage::Waiting);
        control.active = 2;
        control.retiring = Some(Retiring {
            generation: 1,
            stopping: false,
        });
        assert_eq!(Stage::of(&control, 2), Stage::Retiring);
        control.retiring = None;
        assert_eq!(Stage::of(&control, 2), Stage::Done);
        // A later rebuild, by somebody else, finished between two checks.
        control.active = 3;
        assert_eq!(Stage::of(&control, 2), Stage::Done);
    }
}
