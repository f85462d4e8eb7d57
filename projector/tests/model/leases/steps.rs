//! What processes do to the leases, the event store and its oplog.

use super::process::{Acquisition, Change, Changes, Checkpoint, SCANS, Scan};
use super::{Entry, Mutation, Owner, Position, Set, State, bit, events_of, unknown_in};

impl<const PROCESSES: usize, const PARTITIONS: usize> State<PROCESSES, PARTITIONS> {
    pub(super) fn append(&mut self, entry: Entry) -> Position {
        self.last += 1;
        self.log[usize::from(self.last)] = entry;
        self.last
    }

    /// Whether the process was killed or has stopped, and was not started again.
    fn has_ended(&self, owner: Owner) -> bool {
        match owner {
            Owner::Nobody => false,
            Owner::Gone => true,
            Owner::Process(process) => !self.processes[usize::from(process)].runs,
        }
    }

    /// A lease has changed: processes that have read it before and want to take it will be refused.
    fn changed(&mut self, partition: usize) {
        for process in &mut self.processes {
            if let Some((acquisitions, _)) = &mut process.taking
                && let Acquisition::Take { stale } = &mut acquisitions[partition]
            {
                *stale = true;
            }
        }
    }

    /// The first half of `Keeper::tend`: `Leases::renew` if it is due, `Leases::all`, and what follows from reading them.
    ///
    /// Leases that nobody renews run out, because time is not counted. `run_out`: so do those of this living process, which was too slow.
    /// A lease to take over has to be prepared. `cold`: the keeper takes one that is no longer prepared. Returns whether there was one.
    pub(super) fn tend(&mut self, process: usize, run_out: Option<usize>, cold: bool) -> bool {
        let me = Owner::of(process);
        for partition in 0..PARTITIONS {
            if self.leases[partition].owner == me {
                self.changed(partition);
            }
        }
        let mut changes = Changes::NONE;
        for (partition, lease) in self.leases.iter().enumerate() {
            let held = &mut self.processes[process].held[partition];
            if held.is_some_and(|fence| fence != lease.fence || lease.owner != me) {
                *held = None;
                changes.of[partition] = Change::Lost;
            }
        }
        let is_free = |partition: usize| {
            let owner = self.leases[partition].owner;
            if owner == me {
                return self.processes[process].held[partition].is_none();
            }
            owner == Owner::Nobody || self.has_ended(owner) || run_out.is_some_and(|slow| owner == Owner::of(slow))
        };
        let mut acquisitions = self.processes[process].acquisitions(me, &self.leases, is_free);
        let keeper = &mut self.processes[process];
        let mut takeovers = [None; PARTITIONS];
        let mut was_cold = false;
        for (partition, acquisition) in acquisitions.iter_mut().enumerate() {
            if !matches!(acquisition, Acquisition::TakeOver { .. }) {
                continue;
            }
            takeovers[partition] = Some(self.leases[partition].position);
            if !keeper.candidates[partition].is_some_and(|it| it.is_prepared()) {
                if cold {
                    was_cold = true;
                } else {
                    *acquisition = Acquisition::Nothing;
                }
            }
        }
        if acquisitions
            .iter()
            .all(|acquisition| *acquisition == Acquisition::Nothing)
        {
            keeper.want(takeovers, &mut changes);
            keeper.tell(changes);
        } else {
            changes.wanted = Some(takeovers);
            keeper.taking = Some((acquisitions, changes));
        }
        was_cold
    }

    /// The second half of `Keeper::tend`: `Leases::take`. Without an answer the process does not know what it took.
    pub(super) fn take(&mut self, process: usize, answered: bool) {
        let Some((acquisitions, mut changes)) = self.processes[process].taking.take() else {
            return;
        };
        for (partition, acquisition) in acquisitions.into_iter().enumerate() {
            let lease = &mut self.leases[partition];
            let unchanged = match acquisition {
                Acquisition::Nothing => false,
                Acquisition::Take { stale } => !stale,
                Acquisition::TakeOver { fence } => lease.fence == fence && lease.owner != Owner::Nobody,
            };
            if !unchanged {
                continue;
            }
            lease.owner = Owner::of(process);
            lease.offered = false;
            lease.needs = false;
            lease.fence += 1;
            let (fence, position) = (lease.fence, lease.position);
            self.changed(partition);
            if answered {
                self.processes[process].held[partition] = Some(fence);
                changes.of[partition] = Change::Gained { fence, position };
            }
        }
        let keeper = &mut self.processes[process];
        let mut takeovers = changes.wanted.take().unwrap_or([None; PARTITIONS]);
        for (takeover, held) in takeovers.iter_mut().zip(keeper.held) {
            *takeover = takeover.filter(|_| held.is_none());
        }
        keeper.want(takeovers, &mut changes);
        keeper.tell(changes);
    }

    /// `Coordinator::open`, with `scan_what_no_stream_reaches` and `EventStore::horizon`.
    pub(super) fn open(&mut self, process: usize, mutation: Mutation) {
        let is_unreached = |worker: &super::process::Worker| worker.delivered == 0;
        if self.processes[process].workers.iter().flatten().any(is_unreached) {
            let horizon = self.append(Entry::Mark);
            let log = self.log;
            let mut scan = Scan {
                fences: [None; PARTITIONS],
                open: 0,
            };
            for (partition, worker) in self.processes[process].workers.iter_mut().enumerate() {
                let Some(worker) = worker.as_mut().filter(|worker| is_unreached(worker)) else {
                    continue;
                };
                worker.scanning += 1;
                worker.delivered = horizon;
                scan.fences[partition] = Some(worker.fence);
                scan.open |= events_of(partition, &log) & above(worker.saved);
            }
            let scans = &mut self.processes[process].scans;
            assert!(scans[SCANS - 1].is_none(), "there is no room for another scan");
            scans[SCANS - 1] = Some(scan);
            scans.sort_unstable_by_key(|scan| std::cmp::Reverse(*scan));
        }
        self.processes[process].open(mutation);
    }

    /// What the stream shows next, if anything: `Feed::next`.
    pub(super) fn next_shown(&self, process: usize) -> Option<Position> {
        let feed = self.processes[process].feed.as_ref()?;
        (feed.next..=self.last).find(|&position| match self.log[usize::from(position)] {
            Entry::Nothing => false,
            Entry::Mark => true,
            Entry::Event(partition) | Entry::Unknown(partition) => feed.partitions[usize::from(partition)],
        })
    }

    /// Whether the oplog no longer reaches back to what the stream has to show next.
    pub(super) fn has_lost_history(&self, process: usize) -> bool {
        let feed = self.processes[process].feed.as_ref();
        feed.is_some_and(|feed| feed.next < self.oplog)
    }

    /// The end of `Feed::open`. The document at the start has to come first.
    pub(super) fn opened(&mut self, process: usize, mutation: Mutation) {
        let opening = self.processes[process].opening.as_ref();
        if opening.is_some_and(|opening| opening.start < self.oplog) {
            self.processes[process].begin_anew();
        } else {
            self.processes[process].opened(mutation);
        }
    }

    /// One turn of `Coordinator::run` with the stream.
    pub(super) fn show(&mut self, process: usize, mutation: Mutation) {
        if self.has_lost_history(process) {
            self.processes[process].begin_anew();
        } else if let Some(position) = self.next_shown(process) {
            let entry = self.log[usize::from(position)];
            self.processes[process].deliver(entry, position, mutation);
        }
    }

    /// `Leases::save`, and its answer.
    pub(super) fn save(&mut self, process: usize, checkpoints: [Option<Checkpoint>; PARTITIONS], mutation: Mutation) {
        for (lease, checkpoint) in self.leases.iter_mut().zip(&checkpoints) {
            let Some(checkpoint) = checkpoint else { continue };
            let is_owner = lease.owner == Owner::of(process) && lease.fence == checkpoint.fence;
            if is_owner || mutation == Mutation::UnfencedSave {
                self.moved_by_another |= !is_owner && checkpoint.position > lease.position;
                lease.position = lease.position.max(checkpoint.position);
            }
        }
        self.processes[process].saved(&checkpoints);
    }

    /// Whether the process can read the event.
    pub(super) fn knows(&self, process: usize, position: Position) -> bool {
        self.processes[process].knows || unknown_in(&self.log) & bit(position) == 0
    }

    /// Whether the process has received an event of the partition that it does not know: `Progress::stuck`. The code first finishes the
    /// events before it, and begins none behind it, but that makes no other states.
    pub(super) fn is_stuck(&self, process: usize, partition: usize) -> bool {
        let (it, lease) = (&self.processes[process], &self.leases[partition]);
        let Some(worker) = &it.workers[partition] else {
            return false;
        };
        let scans = it
            .scans
            .iter()
            .flatten()
            .filter(|scan| scan.fences[partition] == Some(worker.fence));
        let received = scans.fold(worker.unfinished, |all, scan| all | scan.open);
        let is_owner = lease.owner == Owner::of(process) && lease.fence == worker.fence;
        let unknown = unknown_in(&self.log) & events_of(partition, &self.log);
        !it.knows && is_owner && received & unknown != 0
    }

    /// `Leases::give_back`. When the leases are read next, this one is lost.
    pub(super) fn give_back(&mut self, process: usize, partition: usize, mutation: Mutation) {
        let it = &mut self.processes[process];
        it.outdated = true;
        let reached = it.workers[partition].and_then(|worker| worker.checkpoint(it.frontier, mutation));
        let lease = &mut self.leases[partition];
        lease.owner = Owner::Nobody;
        lease.offered = false;
        lease.needs = true;
        lease.position = lease.position.max(reached.unwrap_or_default());
        self.changed(partition);
    }

    /// `Leases::offer`.
    pub(super) fn leave(&mut self, process: usize) {
        self.processes[process].leaving = true;
        for lease in &mut self.leases {
            lease.offered |= lease.owner == Owner::of(process);
        }
    }

    /// The end of `Subscription::run`, whether or not others have taken the leases over: checkpoints are saved, and the remaining leases
    /// are given back (`Leases::release`).
    pub(super) fn stop(&mut self, process: usize, mutation: Mutation) {
        let saving = self.processes[process].saving;
        self.save(process, saving, mutation);
        let due = self.processes[process].due(mutation);
        self.save(process, due, mutation);
        self.processes[process] = self.processes[process].reborn(false);
        for partition in 0..PARTITIONS {
            if self.leases[partition].owner == Owner::of(process) {
                self.leases[partition].owner = Owner::Nobody;
                self.leases[partition].offered = false;
                self.changed(partition);
            }
        }
    }

    /// Starts a process again, with another name as an owner: `Owner::random`.
    pub(super) fn start(&mut self, process: usize) {
        self.processes[process] = self.processes[process].reborn(true);
        for lease in &mut self.leases {
            if lease.owner == Owner::of(process) {
                lease.owner = Owner::Gone;
                lease.offered = false;
            }
        }
    }

    /// Whether no process has anything to do.
    pub(super) fn is_at_rest(&self, mutation: Mutation) -> bool {
        (0..PROCESSES).all(|number| {
            let process = &self.processes[number];
            process.runs
                && process.taking.is_none()
                && process.changes[0].is_none()
                && process.opening.is_none()
                && !process.wants_stream(mutation)
                && process.workers.iter().flatten().all(|worker| worker.unfinished == 0)
                && process.scans[0].is_none()
                && process.saving.iter().all(Option::is_none)
                && self.next_shown(number).is_none()
                && !self.has_lost_history(number)
                && process.due(mutation).iter().all(Option::is_none)
                && {
                    let mut looked = self.clone();
                    looked.tend(number, None, false);
                    looked == *self
                }
        })
    }
}

/// All positions above one.
fn above(position: Position) -> Set {
    !0 << (position + 1)
}
