//! The faults that happen to the processes.

use std::fmt;
use std::time::Duration;

use rand::Rng as _;
use rand::rngs::StdRng;

use crate::person::Busy;
use crate::world::{Program, REPLICAS, World};

/// Longer than a lease lasts (`subscription.lease_duration`, 6 s). When the process continues, another owner has its work.
const LONGER_THAN_A_LEASE: Duration = Duration::from_secs(8);
/// Shorter than a lease. Nobody has taken the process's work, but all its writes are late.
const A_MOMENT: Duration = Duration::from_millis(1_500);

#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    Kill(Program, usize),
    /// The successor of the first is killed, too.
    KillAll(Program),
    KillDatabase,
    Pause(Program, usize, Duration),
    PauseDatabase(Duration),
}

impl Fault {
    pub(crate) fn any(random: &mut StdRng) -> Self {
        let replica = random.random_range(0..REPLICAS);
        match random.random_range(0..100) {
            0..25 => Self::Kill(Program::Projector, replica),
            25..40 => Self::Kill(Program::Command, replica),
            40..52 => Self::Kill(Program::Query, replica),
            52..68 => Self::KillDatabase,
            68..74 => Self::KillAll(Program::Projector),
            74..78 => Self::KillAll(Program::Command),
            78..81 => Self::KillAll(Program::Query),
            81..91 => Self::Pause(Program::Projector, replica, LONGER_THAN_A_LEASE),
            91..94 => Self::Pause(Program::Command, replica, A_MOMENT),
            94..97 => Self::Pause(Program::Query, replica, A_MOMENT),
            _ => Self::PauseDatabase(A_MOMENT),
        }
    }

    /// Causes the fault in the middle of the work, and starts the killed process again after some more work. It waits for nothing else, so
    /// that a fault may meet the effects of the last one.
    pub(crate) async fn happen(self, world: &mut World, busy: &Busy, random: &mut StdRng) {
        busy.more(random.random_range(1..40)).await;
        match self {
            Self::Kill(program, replica) => {
                world.kill(program, replica);
                // The other replica continues.
                busy.more(random.random_range(0..40)).await;
                world.start_again(program, replica);
            }
            Self::KillAll(program) => {
                for replica in 0..REPLICAS {
                    world.kill(program, replica);
                }
                for replica in 0..REPLICAS {
                    world.start_again(program, replica);
                }
            }
            Self::KillDatabase => {
                world.kill_database().await;
                world.start_database_again().await;
            }
            Self::Pause(program, replica, pause) => {
                world.pause(program, replica);
                // The sleep waits for nothing: it is the fault.
                tokio::time::sleep(pause).await;
                world.resume(program, replica);
            }
            Self::PauseDatabase(pause) => {
                world.pause_database();
                tokio::time::sleep(pause).await;
                world.resume_database();
            }
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(program, replica) => write!(f, "SIGKILL {} {replica}", program.name()),
            Self::KillAll(program) => write!(f, "SIGKILL every {}", program.name()),
            Self::KillDatabase => write!(f, "SIGKILL the database"),
            Self::Pause(program, replica, pause) => write!(f, "SIGSTOP {} {replica} for {pause:?}", program.name()),
            Self::PauseDatabase(pause) => write!(f, "SIGSTOP the database for {pause:?}"),
        }
    }
}
