//! `microblog rebuild`: asks for a new generation of all views, and watches it being made.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use query_svc::views::generation::{Building, Control, Generations, Phase};
use shared::clock::SystemClock;
use shared::mongo::Databases;

use crate::connection::Connection;
use crate::progress::{Bar, Progress};
use crate::terminal::say;

const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

/// Build all views anew from the events
///
/// A projector reads every event into a new generation of the views, beside the present one; when it has caught up, all
/// query-svcs change over, and the former generation is dropped. Reads and writes go on all the while. A projector that
/// dies in between is succeeded by another, which goes on where it was.
///
/// This command asks for it and then only watches: interrupting it stops nothing.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Ask, and do not watch
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let databases = Databases::connect(&arguments.connection.config()?.mongodb, "microblog-rebuild").await?;
    let generations = Generations::new(databases.views.clone(), SystemClock::shared());
    generations
        .current()
        .await?
        .context("there are no views here yet: no projector has ever run")?;
    let generation = generations.request_rebuild().await?;
    say(&format!("Asked for generation {generation} of the views."))?;
    if !arguments.no_wait {
        watch(&generations, generation).await?;
        say(&format!("Generation {generation} is read; the one before is gone."))?;
    }
    databases.close().await;
    Ok(ExitCode::SUCCESS)
}

/// Until the generation is the active one, and the one before is dropped.
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

/// How far a generation is.
#[derive(Debug, Clone, PartialEq)]
enum Stage {
    /// Nobody has begun: another rebuild is at work, or no projector runs.
    Waiting,
    Building(Building),
    /// It is read; query-svcs and requests of before are still waited for.
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
    use query_svc::views::generation::Retiring;

    use super::*;

    #[test]
    fn a_generation_is_done_when_the_one_before_is_gone() {
        let mut control = Control {
            active: 1,
            requested: Some(2),
            building: None,
            retiring: None,
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
        // Somebody else's later rebuild was faster than our look.
        control.active = 3;
        assert_eq!(Stage::of(&control, 2), Stage::Done);
    }
}
