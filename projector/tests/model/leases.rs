//! Leases, takeover and checkpoints: `shared/event-log/src/subscription/`.
//!
//! Several processes share the partitions of one event store. As often as [`Bounds`] allow, they are killed, stop, are slower than a
//! lease lasts, or lose answers and streams, and the oplog rolls over. The steps that repair this may always happen.
//!
//! If the model does more than the code, it can only find more faults: time is not counted, so a lease that nobody renews may run out at
//! once, and so may a lease of a slow process that lives. If the model does less, the missing steps make no other states. A command that
//! reaches the database after its sender was killed is like one that reached it before, or one that is refused. An event whose handling
//! ends after its lease was lost is like one whose handling ended before.

mod process;
mod properties;
mod steps;
mod tests;

use stateright::{Model, Property, Representative};

use self::process::{CHANGES, Process};
use self::properties::Scene;

/// A point in the event store's commit order. Zero is the origin, before everything.
type Position = u8;

/// Positions, as bits.
type Set = u16;

/// The event store contains fewer events and marks than this.
const LOG: usize = 10;

fn bit(position: Position) -> Set {
    1 << position
}

/// A document of the event store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Entry {
    Nothing,
    /// An event of this partition.
    Event(u8),
    /// An event of this partition that not every process knows.
    Unknown(u8),
    /// A mark for all partitions.
    Mark,
}

/// The events of a partition.
fn events_of(partition: usize, log: &[Entry; LOG]) -> Set {
    let is_one =
        |entry: &Entry| matches!(entry, Entry::Event(of) | Entry::Unknown(of) if usize::from(*of) == partition);
    positions_of(log, is_one)
}

/// The events that not every process knows.
fn unknown_in(log: &[Entry; LOG]) -> Set {
    positions_of(log, |entry| matches!(entry, Entry::Unknown(_)))
}

fn positions_of(log: &[Entry; LOG], is_one: impl Fn(&Entry) -> bool) -> Set {
    let positions = log.iter().enumerate().filter(|(_, entry)| is_one(entry));
    positions.map(|(position, _)| 1 << position).sum()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Owner {
    Nobody,
    /// A process that has ended, and was started again under another name.
    Gone,
    Process(u8),
}

impl Owner {
    fn of(process: usize) -> Self {
        Owner::Process(u8::try_from(process).unwrap())
    }
}

/// `leases::Lease`. Beats are not counted: a raised beat is noted in the processes that have read the lease before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Lease {
    owner: Owner,
    /// Its owner is about to end: `Lease::is_offered`.
    offered: bool,
    fence: u8,
    position: Position,
    /// Its last owner did not know the next event: `Lease::needs`.
    needs: bool,
}

/// How often each failure may happen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Bounds {
    /// A process is killed.
    kills: u8,
    /// A process stops in order.
    stops: u8,
    /// A living process is so slow that another takes its leases as run out.
    pauses: u8,
    /// Leases are taken and the answer is lost.
    lost_answers: u8,
    /// A lease of a living owner is taken although it is no longer prepared: the keeper does not know this yet.
    colds: u8,
    /// A stream breaks.
    breaks: u8,
    /// The oplog forgets everything that it contains.
    rollovers: u8,
}

/// The protocol, or one that is broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mutation {
    None,
    /// No new stream is opened when a lease is gained.
    TakeoverWithoutReopening,
    /// The frontier counts for a partition that was gained later.
    CoveredBeforeTheStreamIs,
    /// A stream that was opened before a partition was gained delivers its events.
    HandedOverBeforeTheStreamCovers,
    /// The stream is opened at the highest checkpoint, and not at the lowest.
    OpenedAtTheHighest,
    /// A checkpoint does not wait for events under way.
    CheckpointAboveTheUnfinished,
    /// Checkpoints are written without a check of the owner.
    UnfencedSave,
    /// A stream covers all that was gained while it was being opened.
    OpeningCoversAll,
    /// After a takeover the events that were kept are not delivered.
    KeptIsForgotten,
    /// After a takeover, the kept events count as shown at the end of the stream.
    KeptIsPutBehindTheFrontier,
    /// The end of any scan counts as the end of all.
    OneScanEndsAll,
    /// A process that does not know an event continues with the next one.
    UnknownIsPassedOver,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State<const PROCESSES: usize, const PARTITIONS: usize> {
    /// What clients will write.
    to_come: [Entry; ENTRIES],
    log: [Entry; LOG],
    last: Position,
    /// The oplog contains everything at this position or above.
    oplog: Position,
    /// The events that were handled at least once.
    handled: Set,
    leases: [Lease; PARTITIONS],
    processes: [Process<PARTITIONS>; PROCESSES],
    left: Bounds,
    /// A checkpoint was moved by a process that was not, or no longer, the owner.
    moved_by_another: bool,
}

/// The most events and marks that are written, besides horizons.
const ENTRIES: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    /// The next event or mark is committed.
    Commit,
    /// `Keeper::tend` until it has read all leases.
    Look {
        process: usize,
        run_out: Option<usize>,
        cold: bool,
    },
    /// `Keeper::tend` from then on.
    Take { process: usize, answered: bool },
    /// `Coordinator::apply`.
    Apply { process: usize },
    /// `Coordinator::open`.
    Open { process: usize },
    /// `Feed::open` has ended.
    Opened { process: usize },
    /// `Coordinator::run` delivers what the stream shows.
    Show { process: usize },
    /// `Runner::run`, and `PartitionTask::settle`. A process that dies during this is like one that has not begun it.
    Handle { process: usize, position: Position },
    /// The same for an event of a scan.
    HandleScanned {
        process: usize,
        scan: usize,
        position: Position,
    },
    /// The end of `scan::scan`.
    EndScan { process: usize, scan: usize },
    /// `save_checkpoints` up to `Progress::due`.
    BeginSave { process: usize },
    /// `save_checkpoints` from `Leases::save` on.
    EndSave { process: usize },
    /// `Keeper::give_back_stuck`: this process does not know the next event.
    GiveBack { process: usize, partition: usize },
    /// SIGKILL.
    Kill { process: usize },
    /// SIGTERM: `Leases::offer`.
    Leave { process: usize },
    /// The end of `Subscription::run`.
    Stop { process: usize },
    /// `Subscription::run` in a new process.
    Start { process: usize },
    /// `FeedError::Broken`.
    BreakStream { process: usize },
    /// `FeedError::HistoryLost` for every stream that is not at the end.
    RollOver,
}

#[derive(Debug, Clone)]
struct Leases<const PROCESSES: usize, const PARTITIONS: usize> {
    /// How many events and marks are written. Every sequence is tried.
    entries: usize,
    /// How many of the processes don't know some event type: a rolling update.
    outdated: usize,
    /// Leases begin at the origin, so that the event store has to be scanned. Otherwise they begin at a mark.
    from_origin: bool,
    bounds: Bounds,
    mutation: Mutation,
    /// What must happen in some state, or the bounds are too narrow to say anything.
    scenes: Vec<Scene>,
}

impl<const PROCESSES: usize, const PARTITIONS: usize> Model for Leases<PROCESSES, PARTITIONS> {
    type State = State<PROCESSES, PARTITIONS>;
    type Action = Action;

    fn init_states(&self) -> Vec<Self::State> {
        let mut kinds: Vec<Entry> = (0u8..).take(PARTITIONS).map(Entry::Event).collect();
        kinds.push(Entry::Mark);
        if self.outdated > 0 {
            kinds.extend((0u8..).take(PARTITIONS).map(Entry::Unknown));
        }
        let mut sequences = vec![[Entry::Nothing; ENTRIES]];
        for place in 0..self.entries {
            let longer = |sequence: &[Entry; ENTRIES], kind: Entry| {
                let mut sequence = *sequence;
                sequence[place] = kind;
                sequence
            };
            sequences = sequences
                .iter()
                .flat_map(|sequence| kinds.iter().map(move |&kind| longer(sequence, kind)))
                .collect();
        }
        let begin = |to_come| {
            let position = if self.from_origin { 0 } else { 1 };
            let lease = Lease {
                owner: Owner::Nobody,
                offered: false,
                fence: 0,
                position,
                needs: false,
            };
            let mut state = State {
                to_come,
                log: [Entry::Nothing; LOG],
                last: 0,
                oplog: 0,
                handled: 0,
                leases: [lease; PARTITIONS],
                processes: std::array::from_fn(|process| Process::new(true, process >= self.outdated)),
                left: self.bounds,
                moved_by_another: false,
            };
            if !self.from_origin {
                state.append(Entry::Mark);
            }
            state
        };
        sequences.into_iter().map(begin).collect()
    }

    fn actions(&self, state: &Self::State, actions: &mut Vec<Action>) {
        if state.to_come[0] != Entry::Nothing {
            actions.push(Action::Commit);
        }
        if state.left.rollovers > 0 {
            actions.push(Action::RollOver);
        }
        for number in 0..PROCESSES {
            self.actions_of(number, state, actions);
        }
    }

    fn next_state(&self, last: &Self::State, action: Action) -> Option<Self::State> {
        let mut state = last.clone();
        match action {
            Action::Commit => {
                let entry = state.to_come[0];
                state.to_come[0] = Entry::Nothing;
                state.to_come.rotate_left(1);
                state.append(entry);
            }
            Action::Look { process, run_out, cold } => {
                state.left.pauses -= u8::from(run_out.is_some());
                state.left.colds -= u8::from(cold);
                let was_cold = state.tend(process, run_out, cold);
                if was_cold != cold {
                    return None;
                }
            }
            Action::Take { process, answered } => {
                state.left.lost_answers -= u8::from(!answered);
                state.take(process, answered);
            }
            Action::Apply { process } => {
                let log = state.log;
                state.processes[process].apply(&log, self.mutation);
            }
            Action::Open { process } => state.open(process, self.mutation),
            Action::Opened { process } => state.opened(process, self.mutation),
            Action::Show { process } => state.show(process, self.mutation),
            Action::Handle { process, position } => {
                if state.knows(process, position) {
                    state.handled |= bit(position);
                }
                state.processes[process].finish(position);
            }
            Action::HandleScanned {
                process,
                scan,
                position,
            } => {
                state.handled |= bit(position);
                if let Some(scan) = &mut state.processes[process].scans[scan] {
                    scan.open &= !bit(position);
                }
            }
            Action::EndScan { process, scan } => state.processes[process].end_scan(scan, self.mutation),
            Action::BeginSave { process } => {
                state.processes[process].saving = state.processes[process].due(self.mutation);
            }
            Action::EndSave { process } => {
                let saving = std::mem::replace(&mut state.processes[process].saving, [None; PARTITIONS]);
                state.save(process, saving, self.mutation);
            }
            Action::GiveBack { process, partition } => state.give_back(process, partition, self.mutation),
            Action::Kill { process } => {
                state.left.kills -= 1;
                state.processes[process] = state.processes[process].reborn(false);
            }
            Action::Leave { process } => {
                state.left.stops -= 1;
                state.leave(process);
            }
            Action::Stop { process } => state.stop(process, self.mutation),
            Action::Start { process } => state.start(process),
            Action::BreakStream { process } => {
                state.left.breaks -= 1;
                state.processes[process].feed = None;
            }
            Action::RollOver => {
                state.left.rollovers -= 1;
                state.oplog = state.last + 1;
            }
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = properties::always();
        properties.extend(self.scenes.iter().map(|scene| scene.property()));
        properties
    }
}

impl<const PROCESSES: usize, const PARTITIONS: usize> Leases<PROCESSES, PARTITIONS> {
    fn actions_of(&self, process: usize, state: &State<PROCESSES, PARTITIONS>, actions: &mut Vec<Action>) {
        let it = &state.processes[process];
        let left = &state.left;
        if !it.runs {
            actions.push(Action::Start { process });
            return;
        }
        if it.taking.is_some() {
            actions.push(Action::Take {
                process,
                answered: true,
            });
            if left.lost_answers > 0 {
                actions.push(Action::Take {
                    process,
                    answered: false,
                });
            }
        } else {
            if it.changes[CHANGES - 1].is_none() {
                let slow = (0..PROCESSES).filter(|&other| {
                    let has_leases = state.leases.iter().any(|lease| lease.owner == Owner::of(other));
                    left.pauses > 0 && other != process && state.processes[other].runs && has_leases
                });
                let look = |run_out, cold| Action::Look { process, run_out, cold };
                actions.push(look(None, false));
                if left.colds > 0 {
                    actions.push(look(None, true));
                }
                actions.extend(slow.map(|slow| look(Some(slow), false)));
            }
            // An orderly end waits for the keeper.
            if it.leaving {
                actions.push(Action::Stop { process });
            } else if left.stops > 0 {
                actions.push(Action::Leave { process });
            }
        }
        if it.changes[0].is_some() {
            actions.push(Action::Apply { process });
        }
        if it.wants_stream(self.mutation) {
            actions.push(Action::Open { process });
        }
        if it.opening.is_some() {
            actions.push(Action::Opened { process });
        }
        if state.has_lost_history(process) || state.next_shown(process).is_some() {
            actions.push(Action::Show { process });
        }
        let unfinished = it
            .workers
            .iter()
            .flatten()
            .fold(0, |all, worker| all | worker.unfinished);
        let is_handled_here =
            |position| state.knows(process, position) || self.mutation == Mutation::UnknownIsPassedOver;
        let handed = (1..=state.last).filter(|&it| unfinished & bit(it) != 0 && is_handled_here(it));
        actions.extend(handed.map(|position| Action::Handle { process, position }));
        for (scan, of) in it.scans.iter().enumerate() {
            let Some(of) = of else { continue };
            let open = (1..=state.last).filter(|&it| of.open & bit(it) != 0 && state.knows(process, it));
            actions.extend(open.map(|position| Action::HandleScanned {
                process,
                scan,
                position,
            }));
            if of.open == 0 {
                actions.push(Action::EndScan { process, scan });
            }
        }
        if it.taking.is_none() {
            let stuck = (0..PARTITIONS).filter(|&partition| state.is_stuck(process, partition));
            actions.extend(stuck.map(|partition| Action::GiveBack { process, partition }));
        }
        if it.saving.iter().any(Option::is_some) {
            actions.push(Action::EndSave { process });
        } else if it.due(self.mutation).iter().any(Option::is_some) {
            actions.push(Action::BeginSave { process });
        }
        if left.kills > 0 {
            actions.push(Action::Kill { process });
        }
        if left.breaks > 0 && it.feed.is_some() {
            actions.push(Action::BreakStream { process });
        }
    }
}

impl<const PROCESSES: usize, const PARTITIONS: usize> Representative for State<PROCESSES, PARTITIONS> {
    /// Processes are alike: they are put into an order.
    fn representative(&self) -> Self {
        let mut order: [usize; PROCESSES] = std::array::from_fn(|process| process);
        order.sort_unstable_by(|&one, &other| {
            let owns = |process: usize| self.leases.map(|lease| lease.owner == Owner::of(process));
            let (one, other) = ((owns(one), &self.processes[one]), (owns(other), &self.processes[other]));
            one.cmp(&other)
        });
        let mut state = self.clone();
        state.processes = order.map(|process| self.processes[process]);
        for lease in &mut state.leases {
            if let Some(place) = order.iter().position(|&process| lease.owner == Owner::of(process)) {
                lease.owner = Owner::of(place);
            }
        }
        state
    }
}
