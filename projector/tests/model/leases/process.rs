//! One process: its keeper, its coordinator, its workers, and what it knows of its progress.

use super::{Entry, LOG, Lease, Mutation, Owner, Position, Set, bit, events_of};

/// As many changes may wait for the coordinator; the keeper then waits with its next look.
pub(super) const CHANGES: usize = 2;
/// As many scans are under way in one process at most.
pub(super) const SCANS: usize = 3;

/// A lease to go for, as the keeper saw it: `leases::Claim`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Claim {
    Nothing,
    /// Of nobody, or of an owner that shows no sign of life. `stale`: it does not look the same any more.
    Take {
        stale: bool,
    },
    /// Of a living owner that has too many.
    Steal {
        fence: u8,
    },
}

/// What the keeper tells the coordinator of one partition: `keeper::Changes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Change {
    Nothing,
    Lost,
    Gained { fence: u8, position: Position },
}

/// What the keeper found out in one look.
pub(super) type Changes<const PARTITIONS: usize> = [Change; PARTITIONS];

/// The coordinator's end of a partition, and the partition's progress, which comes and goes with it: `Worker` and
/// `PartitionProgress`.
///
/// Events of a partition may be of different audiences: they are handled in any order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Worker {
    pub(super) fence: u8,
    pub(super) delivered: Position,
    pub(super) covered: bool,
    /// How many scans it waits for.
    pub(super) scanning: u8,
    pub(super) saved: Position,
    pub(super) unfinished: Set,
    /// What the stream showed right before each unfinished event.
    pub(super) previous: [Position; LOG],
}

impl Worker {
    /// `PartitionProgress::checkpoint`.
    fn checkpoint(&self, frontier: Position, mutation: Mutation) -> Option<Position> {
        if !self.covered || self.scanning > 0 {
            return None;
        }
        if self.unfinished == 0 || mutation == Mutation::CheckpointAboveTheUnfinished {
            return Some(frontier);
        }
        let lowest = self.unfinished.trailing_zeros() as usize;
        Some(self.previous[lowest])
    }
}

/// A change stream: `Feed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Feed<const PARTITIONS: usize> {
    pub(super) next: Position,
    pub(super) partitions: [bool; PARTITIONS],
    /// What has to come first; none once it has come.
    pub(super) begins_at: Option<Position>,
}

/// A scan of the event store that is under way: `scan::scan`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Scan<const PARTITIONS: usize> {
    /// The fencing numbers of the partitions that it is for.
    pub(super) fences: [Option<u8>; PARTITIONS],
    /// What is not handled yet.
    pub(super) open: Set,
}

/// `leases::Checkpoint`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Checkpoint {
    pub(super) fence: u8,
    pub(super) position: Position,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Process<const PARTITIONS: usize> {
    pub(super) runs: bool,
    /// The leases that the keeper holds, with their fencing numbers: `Keeper::held`.
    pub(super) held: [Option<u8>; PARTITIONS],
    /// Between the keeper's look and its command: what it goes for, and what it found lost.
    pub(super) claims: Option<([Claim; PARTITIONS], Changes<PARTITIONS>)>,
    /// On their way from the keeper to the coordinator.
    pub(super) changes: [Option<Changes<PARTITIONS>>; CHANGES],
    pub(super) workers: [Option<Worker>; PARTITIONS],
    pub(super) feed: Option<Feed<PARTITIONS>>,
    /// Every event up to here, of every covered partition, was handed to its partition.
    pub(super) frontier: Position,
    /// Checkpoints on their way to the database.
    pub(super) saving: [Option<Checkpoint>; PARTITIONS],
    pub(super) scans: [Option<Scan<PARTITIONS>>; SCANS],
}

impl<const PARTITIONS: usize> Process<PARTITIONS> {
    pub(super) fn new(runs: bool) -> Self {
        Self {
            runs,
            held: [None; PARTITIONS],
            claims: None,
            changes: [None; CHANGES],
            workers: [None; PARTITIONS],
            feed: None,
            frontier: 0,
            saving: [None; PARTITIONS],
            scans: [None; SCANS],
        }
    }

    /// `Keeper::claims`: free ones up to a fair share, then those of owners with more than theirs.
    pub(super) fn claims(
        &self,
        me: Owner,
        leases: &[Lease; PARTITIONS],
        is_free: impl Fn(usize) -> bool,
    ) -> [Claim; PARTITIONS] {
        let mut others: Vec<Owner> = (0..PARTITIONS)
            .filter(|&partition| !is_free(partition) && leases[partition].owner != me)
            .map(|partition| leases[partition].owner)
            .collect();
        let of_others = others.clone();
        others.sort_unstable();
        others.dedup();
        let owners = others.len() + 1;
        let (most, least) = (PARTITIONS.div_ceil(owners), PARTITIONS / owners);
        let held = self.held.iter().flatten().count();

        let mut claims = [Claim::Nothing; PARTITIONS];
        let free = (0..PARTITIONS).filter(|&partition| is_free(partition));
        let mut claimed = 0;
        for partition in free.take(most.saturating_sub(held)) {
            claims[partition] = Claim::Take { stale: false };
            claimed += 1;
        }
        let mut missing = least.saturating_sub(held + claimed);
        for owner in others {
            let count = of_others.iter().filter(|&&of| of == owner).count();
            let spare = count.saturating_sub(most).min(missing);
            let theirs = (0..PARTITIONS).filter(|&partition| leases[partition].owner == owner && !is_free(partition));
            for partition in theirs.take(spare) {
                let fence = leases[partition].fence;
                claims[partition] = Claim::Steal { fence };
            }
            missing -= spare;
        }
        claims
    }

    /// Hands what a look found to the coordinator.
    pub(super) fn tell(&mut self, changes: Changes<PARTITIONS>) {
        if changes.iter().any(|change| *change != Change::Nothing) {
            let place = self.changes.iter_mut().find(|place| place.is_none()).unwrap();
            *place = Some(changes);
        }
    }

    /// `Coordinator::apply`. The stream goes on for those that it covers.
    pub(super) fn apply(&mut self, log: &[Entry; LOG], mutation: Mutation) {
        let Some(changes) = self.changes[0].take() else {
            return;
        };
        self.changes.rotate_left(1);
        for (partition, change) in changes.into_iter().enumerate() {
            if change != Change::Nothing {
                self.let_go(partition, log);
            }
            let Change::Gained { fence, position } = change else {
                continue;
            };
            self.workers[partition] = Some(Worker {
                fence,
                delivered: position,
                covered: mutation == Mutation::CoveredBeforeTheStreamIs,
                scanning: 0,
                saved: position,
                unfinished: 0,
                previous: [0; LOG],
            });
        }
    }

    /// Whether a stream is to be opened: there is none, or it does not cover what was gained since.
    pub(super) fn wants_stream(&self, mutation: Mutation) -> bool {
        let mut workers = self.workers.iter().flatten();
        match self.feed {
            None => workers.next().is_some(),
            Some(_) if mutation == Mutation::TakeoverWithoutReopening => false,
            Some(_) => workers.any(|worker| !worker.covered),
        }
    }

    /// `Coordinator::let_go`.
    ///
    /// What is under way is handled to its end all the same. To the checkpoints that is as if the process had handled
    /// it right before, or not at all; so there is no such step here.
    fn let_go(&mut self, partition: usize, log: &[Entry; LOG]) {
        let Some(worker) = self.workers[partition].take() else {
            return;
        };
        // Nobody receives what scans hand over: `ScanEntry::deliver`.
        for scan in self.scans.iter_mut().flatten() {
            if scan.fences[partition] == Some(worker.fence) {
                scan.open &= !events_of(partition, log);
            }
        }
    }

    /// `Coordinator::open`, after what no stream reaches is being scanned; with `Progress::stream_opened`. That it takes its time is
    /// no step here: what is gained meanwhile is as what is gained afterwards.
    pub(super) fn open(&mut self, mutation: Mutation) {
        let delivered = self.workers.iter().flatten().map(|worker| worker.delivered);
        let start = match mutation {
            Mutation::OpenedAtTheHighest => delivered.max(),
            _ => delivered.min(),
        };
        let start = start.unwrap_or_default();
        for worker in self.workers.iter_mut().flatten() {
            worker.covered = true;
        }
        self.frontier = start;
        self.feed = Some(Feed {
            next: start,
            partitions: self.workers.map(|worker| worker.is_some()),
            begins_at: Some(start),
        });
    }

    /// `Coordinator::deliver`, with `Worker::deliver`, `Progress::began` and `Progress::advance`.
    pub(super) fn deliver(&mut self, entry: Entry, position: Position, mutation: Mutation) {
        if let Some(feed) = &mut self.feed {
            feed.next = position + 1;
            feed.begins_at = None;
        }
        if let Entry::Event(partition) = entry
            && let Some(worker) = &mut self.workers[usize::from(partition)]
            && (worker.covered || mutation == Mutation::HandedOverBeforeTheStreamCovers)
            && position > worker.delivered
        {
            worker.delivered = position;
            worker.unfinished |= bit(position);
            worker.previous[usize::from(position)] = self.frontier;
        }
        self.frontier = self.frontier.max(position);
    }

    /// `Progress::finished`.
    pub(super) fn finish(&mut self, position: Position) {
        for worker in self.workers.iter_mut().flatten() {
            worker.unfinished &= !bit(position);
            worker.previous[usize::from(position)] = 0;
        }
    }

    /// `Coordinator::begin_anew`, and the stream is gone.
    pub(super) fn begin_anew(&mut self) {
        self.feed = None;
        for worker in self.workers.iter_mut().flatten() {
            worker.delivered = 0;
        }
    }

    /// `Progress::scan_ended`, for each partition of a scan that has ended.
    pub(super) fn end_scan(&mut self, scan: usize, mutation: Mutation) {
        let Some(ended) = self.scans[scan].take() else {
            return;
        };
        for (worker, fence) in self.workers.iter_mut().zip(ended.fences) {
            if let Some(worker) = worker
                && fence == Some(worker.fence)
            {
                worker.scanning = match mutation {
                    Mutation::OneScanEndsAll => 0,
                    _ => worker.scanning.saturating_sub(1),
                };
            }
        }
        // Their order means nothing.
        self.scans.sort_unstable_by_key(|scan| std::cmp::Reverse(*scan));
    }

    /// `Progress::due`, with the partitions that have no events.
    pub(super) fn due(&self, mutation: Mutation) -> [Option<Checkpoint>; PARTITIONS] {
        self.workers.map(|worker| {
            let worker = worker?;
            let position = worker.checkpoint(self.frontier, mutation)?;
            let fence = worker.fence;
            (position > worker.saved).then_some(Checkpoint { fence, position })
        })
    }

    /// `Progress::saved`.
    pub(super) fn saved(&mut self, checkpoints: &[Option<Checkpoint>; PARTITIONS]) {
        for (worker, checkpoint) in self.workers.iter_mut().zip(checkpoints) {
            if let (Some(worker), Some(checkpoint)) = (worker, checkpoint)
                && worker.fence == checkpoint.fence
            {
                worker.saved = worker.saved.max(checkpoint.position);
            }
        }
    }
}
