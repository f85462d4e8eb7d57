//! What holds in every state, and what must happen in some.

use stateright::Property;

use super::process::{Process, Worker};
use super::{Entry, Lease, Leases, State, bit, events_of};

pub(super) const NOTHING_IS_LOST: &str = "what lies at or below a checkpoint is handled";
pub(super) const ONLY_ITS_OWNER: &str = "only its owner moves a checkpoint";
pub(super) const REST_MEANS_DONE: &str = "if no process has anything to do, everything is done";

pub(super) fn always<const PROCESSES: usize, const PARTITIONS: usize>() -> Vec<Property<Leases<PROCESSES, PARTITIONS>>>
{
    vec![
        holds(NOTHING_IS_LOST, |_, state| {
            state.leases.iter().enumerate().all(|(partition, lease)| {
                let covered = bit(lease.position + 1) - 1;
                events_of(partition, &state.log) & covered & !state.handled == 0
            })
        }),
        holds(ONLY_ITS_OWNER, |_, state| !state.moved_by_another),
        holds(REST_MEANS_DONE, |model, state| {
            state.is_done() || !state.is_at_rest(model.mutation)
        }),
    ]
}

type Condition<const PROCESSES: usize, const PARTITIONS: usize> =
    fn(&Leases<PROCESSES, PARTITIONS>, &State<PROCESSES, PARTITIONS>) -> bool;

fn holds<const PROCESSES: usize, const PARTITIONS: usize>(
    name: &'static str,
    condition: Condition<PROCESSES, PARTITIONS>,
) -> Property<Leases<PROCESSES, PARTITIONS>> {
    Property::always(name, condition)
}

fn seen<const PROCESSES: usize, const PARTITIONS: usize>(
    name: &'static str,
    condition: Condition<PROCESSES, PARTITIONS>,
) -> Property<Leases<PROCESSES, PARTITIONS>> {
    Property::sometimes(name, condition)
}

/// Something that must happen in some state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scene {
    AllIsDone,
    Takeover,
    StaleOwnerAtWork,
    Repetition,
    LateCheckpoint,
    StreamBelowWhatWasHandedOver,
    TwoScansOfOnePartition,
    KeptForATakeover,
    TakenOverInTime,
    WaitsForWhoKnows,
}

impl Scene {
    pub(super) fn property<const PROCESSES: usize, const PARTITIONS: usize>(
        self,
    ) -> Property<Leases<PROCESSES, PARTITIONS>> {
        match self {
            Scene::AllIsDone => seen("everything is done", |model, state| {
                state.to_come[0] == Entry::Nothing && state.is_done() && state.is_at_rest(model.mutation)
            }),
            Scene::Takeover => seen("a lease has had two owners", |_, state| {
                state.leases.iter().any(|lease| lease.fence > 1)
            }),
            Scene::StaleOwnerAtWork => seen("a process still works after another has its lease", |_, state| {
                let is_late = |worker: &Worker, lease: &Lease| worker.fence < lease.fence && worker.unfinished != 0;
                state.workers().any(|(worker, lease)| is_late(worker, lease))
            }),
            Scene::Repetition => seen("an event is about to be handled again", |_, state| {
                state
                    .workers()
                    .any(|(worker, _)| worker.unfinished & state.handled != 0)
            }),
            Scene::LateCheckpoint => seen("a checkpoint comes after its lease was lost", |_, state| {
                state.processes.iter().any(|process| {
                    let mut saving = process.saving.iter().zip(&state.leases);
                    saving.any(|(it, lease)| it.is_some_and(|checkpoint| checkpoint.fence < lease.fence))
                })
            }),
            Scene::StreamBelowWhatWasHandedOver => {
                seen("a stream shows again what was handed over before", |_, state| {
                    let is_below = |process: &Process<PARTITIONS>| {
                        let mut workers = process.workers.iter().flatten();
                        process.feed.is_some() && workers.any(|worker| worker.unfinished >> (process.frontier + 1) != 0)
                    };
                    state.processes.iter().any(is_below)
                })
            }
            Scene::TwoScansOfOnePartition => seen("a partition is scanned twice at once", |_, state| {
                state.workers().any(|(worker, _)| worker.scanning > 1)
            }),
            Scene::KeptForATakeover => seen("an event is kept for a lease that is to be taken over", |_, state| {
                let mut candidates = state
                    .processes
                    .iter()
                    .flat_map(|process| process.candidates.iter().flatten());
                candidates.any(|candidate| candidate.shown != 0)
            }),
            Scene::WaitsForWhoKnows => seen("a lease waits for a process that knows its next event", |_, state| {
                state.leases.iter().any(|lease| lease.needs)
            }),
            Scene::TakenOverInTime => seen(
                "others have taken over every lease of a process that is about to end",
                |_, state| {
                    let mut leaving = state.processes.iter().filter(|process| process.leaving);
                    leaving.any(|process| process.held.iter().all(Option::is_none))
                        && state.leases.iter().all(|lease| lease.fence > 1)
                },
            ),
        }
    }
}

impl<const PROCESSES: usize, const PARTITIONS: usize> State<PROCESSES, PARTITIONS> {
    fn workers(&self) -> impl Iterator<Item = (&Worker, &Lease)> {
        let all = self
            .processes
            .iter()
            .flat_map(|process| process.workers.iter().zip(&self.leases));
        all.filter_map(|(worker, lease)| Some((worker.as_ref()?, lease)))
    }

    /// Whether every committed event is handled, and no checkpoint is below one.
    fn is_done(&self) -> bool {
        self.leases.iter().enumerate().all(|(partition, lease)| {
            let events = events_of(partition, &self.log);
            events & !self.handled == 0 && events >> (lease.position + 1) == 0
        })
    }
}
