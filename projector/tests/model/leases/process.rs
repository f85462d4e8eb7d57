//! One process: its keeper, its coordinator, its workers and its progress.

use super::{Entry, LOG, Lease, Mutation, Owner, Position, Set, bit, events_of};

/// The most changes that wait for the coordinator. Then the keeper waits.
pub(super) const CHANGES: usize = 2;
/// The most scans that are under way in one process.
pub(super) const SCANS: usize = 3;

/// A lease to acquire, as the keeper read it: `leases::Acquisition`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Acquisition {
    Nothing,
    /// One that has no owner, or whose owner shows no sign of life. `stale`: the lease has changed since.
    Take {
        stale: bool,
    },
    /// One of a living owner that has too many, or is about to end.
    TakeOver {
        fence: u8,
    },
}

/// What the keeper tells the coordinator about one partition: `keeper::Changes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Change {
    Nothing,
    Lost,
    Gained { fence: u8, position: Position },
}

/// What the keeper found when it read the leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Changes<const PARTITIONS: usize> {
    pub(super) of: [Change; PARTITIONS],
    /// The checkpoints of the leases to prepare, if they are others than before.
    pub(super) wanted: Option<[Option<Position>; PARTITIONS]>,
}

impl<const PARTITIONS: usize> Changes<PARTITIONS> {
    pub(super) const NONE: Self = Self {
        of: [Change::Nothing; PARTITIONS],
        wanted: None,
    };
}

/// A lease that is to be taken over: `candidates::Candidate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Candidate {
    pub(super) kept: Position,
    pub(super) covered: bool,
    pub(super) shown: Set,
    pub(super) previous: [Position; LOG],
}

impl Candidate {
    fn new(kept: Position) -> Self {
        Self {
            kept,
            covered: false,
            shown: 0,
            previous: [0; LOG],
        }
    }

    fn is_cold(&self) -> bool {
        self.kept == 0
    }

    pub(super) fn is_prepared(&self) -> bool {
        self.covered || self.is_cold()
    }
}

/// The coordinator's handle of a partition task, and the partition's progress, which is made and removed with it: `Worker` and
/// `PartitionProgress`.
///
/// Events of a partition may belong to different audiences, so they are handled in any order.
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
    /// `Worker::deliver` and `Progress::began`.
    fn begin(&mut self, position: Position, previous: Position) {
        self.delivered = position;
        self.unfinished |= bit(position);
        self.previous[usize::from(position)] = previous;
    }

    /// `Worker::start_prepared`, with `Progress::add_prepared`.
    fn prepare(&mut self, candidate: &Candidate, frontier: Position, mutation: Mutation) {
        self.covered = true;
        let checkpoint = self.delivered;
        for position in (1u8..).take(LOG - 1).filter(|&it| candidate.shown & bit(it) != 0) {
            if position <= checkpoint || mutation == Mutation::KeptIsForgotten {
                continue;
            }
            let previous = match mutation {
                Mutation::KeptIsPutBehindTheFrontier => frontier,
                _ => candidate.previous[usize::from(position)],
            };
            self.begin(position, previous);
        }
    }

    /// `PartitionProgress::checkpoint`.
    pub(super) fn checkpoint(&self, frontier: Position, mutation: Mutation) -> Option<Position> {
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
}

/// A stream that is being opened: `Opening`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Opening<const PARTITIONS: usize> {
    pub(super) start: Position,
    partitions: [bool; PARTITIONS],
}

/// A scan of the event store that is under way: `scan::scan`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Scan<const PARTITIONS: usize> {
    /// The fencing numbers of the partitions that it is for.
    pub(super) fences: [Option<u8>; PARTITIONS],
    /// The events that are not handled yet.
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
    /// The leases that the keeper holds, with their fencing numbers: `Holdings::held`.
    pub(super) held: [Option<u8>; PARTITIONS],
    /// The leases that the keeper wants to be prepared: `Keeper::wanted`.
    pub(super) wanted: [bool; PARTITIONS],
    /// It is about to end: `Holdings::leaving`.
    pub(super) leaving: bool,
    /// It knows every event type.
    pub(super) knows: bool,
    /// It has met an event that it does not know: `Holdings::outdated`.
    pub(super) outdated: bool,
    /// After the keeper has read the leases and before it takes some: those to acquire, and those that were lost.
    pub(super) taking: Option<([Acquisition; PARTITIONS], Changes<PARTITIONS>)>,
    /// On their way from the keeper to the coordinator.
    pub(super) changes: [Option<Changes<PARTITIONS>>; CHANGES],
    pub(super) workers: [Option<Worker>; PARTITIONS],
    pub(super) candidates: [Option<Candidate>; PARTITIONS],
    pub(super) feed: Option<Feed<PARTITIONS>>,
    pub(super) opening: Option<Opening<PARTITIONS>>,
    /// Every event up to here of every covered partition was delivered to its partition.
    pub(super) frontier: Position,
    /// Checkpoints on their way to the database.
    pub(super) saving: [Option<Checkpoint>; PARTITIONS],
    pub(super) scans: [Option<Scan<PARTITIONS>>; SCANS],
}

impl<const PARTITIONS: usize> Process<PARTITIONS> {
    pub(super) fn new(runs: bool, knows: bool) -> Self {
        Self {
            runs,
            knows,
            outdated: false,
            held: [None; PARTITIONS],
            wanted: [false; PARTITIONS],
            leaving: false,
            taking: None,
            changes: [None; CHANGES],
            workers: [None; PARTITIONS],
            candidates: [None; PARTITIONS],
            feed: None,
            opening: None,
            frontier: 0,
            saving: [None; PARTITIONS],
            scans: [None; SCANS],
        }
    }

    /// The same program, started again.
    pub(super) fn reborn(&self, runs: bool) -> Self {
        Self::new(runs, self.knows)
    }

    /// `Holdings::acquisitions`: available leases up to a fair share, then those of owners that have more than theirs.
    pub(super) fn acquisitions(
        &self,
        me: Owner,
        leases: &[Lease; PARTITIONS],
        is_free: impl Fn(usize) -> bool,
    ) -> [Acquisition; PARTITIONS] {
        let mut acquisitions = [Acquisition::Nothing; PARTITIONS];
        if self.leaving {
            return acquisitions;
        }
        let free_or_offered = |partition: usize| is_free(partition) || leases[partition].offered;
        let is_available = |partition: usize| free_or_offered(partition) && (self.knows || !leases[partition].needs);
        let mut others: Vec<Owner> = (0..PARTITIONS)
            .filter(|&partition| !free_or_offered(partition) && leases[partition].owner != me)
            .map(|partition| leases[partition].owner)
            .collect();
        let of_others = others.clone();
        others.sort_unstable();
        others.dedup();
        let owners = others.len() + 1;
        let (most, least) = (PARTITIONS.div_ceil(owners), PARTITIONS / owners);
        let held = self.held.iter().flatten().count();

        let taken_over = |partition: usize| Acquisition::TakeOver {
            fence: leases[partition].fence,
        };
        let mut acquired = 0;
        for partition in (0..PARTITIONS).filter(|&it| is_available(it) && leases[it].needs) {
            acquisitions[partition] = Acquisition::Take { stale: false };
            acquired += 1;
        }
        let others_left = (0..PARTITIONS).filter(|&partition| is_available(partition) && !leases[partition].needs);
        for partition in others_left.take(most.saturating_sub(held)) {
            acquisitions[partition] = match is_free(partition) {
                true => Acquisition::Take { stale: false },
                false => taken_over(partition),
            };
            acquired += 1;
        }
        let mut missing = match self.outdated {
            true => 0,
            false => least.saturating_sub(held + acquired),
        };
        for owner in others {
            let count = of_others.iter().filter(|&&of| of == owner).count();
            let spare = count.saturating_sub(most).min(missing);
            let theirs =
                (0..PARTITIONS).filter(|&partition| leases[partition].owner == owner && !free_or_offered(partition));
            for partition in theirs.take(spare) {
                acquisitions[partition] = taken_over(partition);
            }
            missing -= spare;
        }
        acquisitions
    }

    /// The leases of living owners that were not taken are to be prepared, or stay so.
    pub(super) fn want(&mut self, takeovers: [Option<Position>; PARTITIONS], changes: &mut Changes<PARTITIONS>) {
        let partitions = takeovers.map(|position| position.is_some());
        if self.wanted != partitions {
            self.wanted = partitions;
            changes.wanted = Some(takeovers);
        }
    }

    /// `Keeper::tell`.
    pub(super) fn tell(&mut self, changes: Changes<PARTITIONS>) {
        if changes != Changes::NONE {
            let place = self.changes.iter_mut().find(|place| place.is_none()).unwrap();
            *place = Some(changes);
        }
    }

    /// `Coordinator::apply`. The stream continues for the partitions that it covers.
    pub(super) fn apply(&mut self, log: &[Entry; LOG], mutation: Mutation) {
        let Some(changes) = self.changes[0].take() else {
            return;
        };
        self.changes.rotate_left(1);
        for (partition, change) in changes.of.into_iter().enumerate() {
            if change != Change::Nothing {
                self.let_go(partition, log);
            }
            let Change::Gained { fence, position } = change else {
                continue;
            };
            let mut worker = Worker {
                fence,
                delivered: position,
                covered: mutation == Mutation::CoveredBeforeTheStreamIs,
                scanning: 0,
                saved: position,
                unfinished: 0,
                previous: [0; LOG],
            };
            if let Some(candidate) = self.candidates[partition].take().filter(|it| it.covered) {
                worker.prepare(&candidate, self.frontier, mutation);
            }
            self.workers[partition] = Some(worker);
        }
        let Some(wanted) = changes.wanted else { return };
        for (candidate, wanted) in self.candidates.iter_mut().zip(wanted) {
            *candidate = wanted.map(|position| candidate.unwrap_or(Candidate::new(position)));
        }
    }

    /// Whether to open a stream: there is none, or it does not cover everything.
    pub(super) fn wants_stream(&self, mutation: Mutation) -> bool {
        let mut workers = self.workers.iter().flatten();
        let mut candidates = self.candidates.iter().flatten().filter(|it| !it.is_cold());
        match self.feed {
            _ if self.opening.is_some() => false,
            None => workers.next().is_some() || candidates.next().is_some(),
            Some(_) if mutation == Mutation::TakeoverWithoutReopening => false,
            Some(_) => workers.any(|worker| !worker.covered) || candidates.any(|candidate| !candidate.covered),
        }
    }

    /// `Coordinator::let_go`.
    ///
    /// The batches under way are finished nevertheless. For the checkpoints that is the same as if the process had handled them right
    /// before, or not at all. So there is no such step here.
    fn let_go(&mut self, partition: usize, log: &[Entry; LOG]) {
        let Some(worker) = self.workers[partition].take() else {
            return;
        };
        // No task receives what scans deliver: `ScanEntry::deliver`.
        for scan in self.scans.iter_mut().flatten() {
            if scan.fences[partition] == Some(worker.fence) {
                scan.open &= !events_of(partition, log);
            }
        }
    }

    /// `Coordinator::open`, after scans have begun for what no stream reaches.
    pub(super) fn open(&mut self, mutation: Mutation) {
        let held = self.workers.map(|worker| worker.map(|it| it.delivered));
        let wanted = self
            .candidates
            .map(|it| it.filter(|it| !it.is_cold()).map(|it| it.kept));
        let needs: [Option<Position>; PARTITIONS] =
            std::array::from_fn(|partition| held[partition].or(wanted[partition]));
        let start = match mutation {
            Mutation::OpenedAtTheHighest => needs.iter().flatten().max(),
            _ => needs.iter().flatten().min(),
        };
        self.opening = Some(Opening {
            start: start.copied().unwrap_or_default(),
            partitions: needs.map(|position| position.is_some()),
        });
    }

    /// `Coordinator::stream_opened`, with `Progress::stream_opened`. The stream has shown the document at its start.
    pub(super) fn opened(&mut self, mutation: Mutation) {
        let Some(Opening { start, partitions }) = self.opening.take() else {
            return;
        };
        for (partition, is_shown) in partitions.into_iter().enumerate() {
            if let Some(worker) = &mut self.workers[partition] {
                let covers = is_shown && (start <= worker.delivered || mutation == Mutation::OpenedAtTheHighest);
                worker.covered |= covers || mutation == Mutation::OpeningCoversAll;
            }
            if let Some(candidate) = &mut self.candidates[partition] {
                candidate.covered |= is_shown && start <= candidate.kept;
            }
        }
        self.frontier = start;
        self.feed = Some(Feed {
            next: start + 1,
            partitions,
        });
    }

    /// `Coordinator::deliver`, with `Worker::deliver`, `Candidates::show`, `Progress::began` and `Progress::advance`.
    pub(super) fn deliver(&mut self, entry: Entry, position: Position, mutation: Mutation) {
        if let Some(feed) = &mut self.feed {
            feed.next = position + 1;
        }
        if let Entry::Event(partition) | Entry::Unknown(partition) = entry {
            let partition = usize::from(partition);
            if let Some(worker) = &mut self.workers[partition] {
                if (worker.covered || mutation == Mutation::HandedOverBeforeTheStreamCovers)
                    && position > worker.delivered
                {
                    worker.begin(position, self.frontier);
                }
            } else if let Some(candidate) = &mut self.candidates[partition]
                && candidate.covered
                && position > candidate.kept
            {
                candidate.kept = position;
                candidate.shown |= bit(position);
                candidate.previous[usize::from(position)] = self.frontier;
            }
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

    /// `Coordinator::history_lost`, and the stream is closed.
    pub(super) fn begin_anew(&mut self) {
        (self.feed, self.opening) = (None, None);
        for candidate in self.candidates.iter_mut().flatten() {
            *candidate = Candidate::new(0);
        }
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
        // The order of scans means nothing.
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
