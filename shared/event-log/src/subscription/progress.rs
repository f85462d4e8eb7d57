//! How far each partition has come, and so which checkpoint may be written.
//!
//! Invariant: a checkpoint at `p` says that every event of the partition up to `p` is handled. It may move to the stream's frontier only
//! if no scan is under way, no event is unfinished, and the stream covers the partition: it was opened at or below the checkpoint, after
//! the lease was taken or before it was taken over. If an event is unfinished, the checkpoint may move to what the stream showed right
//! before the lowest one.
//!
//! Every checkpoint is the position of something that the stream has shown. A stream that is opened there shows it again, or the oplog no
//! longer reaches back so far.
//!
//! One lock guards the frontier and the partitions together: a frontier that was read before a stream was reopened must not be applied to
//! a partition that only the new stream covers.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};

use super::candidates::Shown;
use super::leases::{Checkpoint, Needs, Stuck};
use crate::position::Position;
use model::ids::Partition;

#[derive(Debug, Default)]
pub(super) struct Progress {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Every event up to here of every covered partition was delivered to its partition.
    frontier: Position,
    /// The stream's last change was no mark for all partitions. So checkpoints are below the position that the last command returned.
    unsettled: bool,
    partitions: BTreeMap<Partition, PartitionProgress>,
}

#[derive(Debug)]
struct PartitionProgress {
    fence: i64,
    covered: bool,
    /// How many scans are under way. If the oplog rolls over twice, a second scan may begin before the first has ended, and the first may
    /// not find what only the second finds.
    scans: u32,
    /// How many more checkpoints are written at once: two after the last event. A server may answer an insert with a time slightly above
    /// that of its change event. The second checkpoint is above that time too.
    writes_due: u8,
    /// The events that were delivered and are not handled yet.
    unfinished: BTreeMap<Position, Unfinished>,
    /// The highest checkpoint that is known to be stored.
    saved: Position,
    /// Set if this program does not know the next event.
    needs: Option<Needs>,
}

#[derive(Debug)]
struct Unfinished {
    /// What the stream showed right before.
    previous: Position,
    recorded_at: DateTime<Utc>,
}

impl Unfinished {
    fn of(shown: &Shown) -> (Position, Self) {
        let unfinished = Self {
            previous: shown.previous,
            recorded_at: shown.stored.recorded_at(shown.position),
        };
        (shown.position, unfinished)
    }
}

impl Progress {
    /// A lease was taken that no stream covers yet.
    pub(super) fn add(&self, partition: Partition, fence: i64, position: Position) {
        self.insert(partition, fence, position, None);
    }

    /// A lease was taken over that the stream covered before. The events that it has shown above `position` are about to be delivered,
    /// and the checkpoint must not pass them meanwhile.
    pub(super) fn add_prepared(&self, partition: Partition, fence: i64, position: Position, shown: &[Shown]) {
        self.insert(partition, fence, position, Some(shown));
    }

    fn insert(&self, partition: Partition, fence: i64, position: Position, shown: Option<&[Shown]>) {
        let unfinished: BTreeMap<Position, Unfinished> = shown.unwrap_or_default().iter().map(Unfinished::of).collect();
        let progress = PartitionProgress {
            fence,
            covered: shown.is_some(),
            scans: 0,
            // Somebody may wait for the last event that the former owner handled, at a time slightly above the event's.
            writes_due: if shown.is_some() { 2 } else { 0 },
            unfinished,
            saved: position,
            needs: None,
        };
        self.lock().partitions.insert(partition, progress);
    }

    /// A lease was lost or is given back.
    pub(super) fn remove(&self, partition: Partition) {
        self.lock().partitions.remove(&partition);
    }

    /// The subscription has ended here.
    pub(super) fn clear(&self) {
        *self.lock() = State::default();
    }

    /// The partition can't go on here, because this program does not know the next event.
    pub(super) fn got_stuck(&self, partition: Partition, fence: i64, needs: &Needs) {
        if let Some(progress) = self.lock().partitions.get_mut(&partition)
            && progress.fence == fence
        {
            progress.needs = Some(needs.clone());
        }
    }

    /// The partitions that can't go on here.
    pub(super) fn stuck(&self) -> Vec<Stuck> {
        let state = self.lock();
        let stuck = state.partitions.iter().filter_map(|(&partition, progress)| {
            Some(Stuck {
                partition,
                fence: progress.fence,
                reached: progress.checkpoint(state.frontier),
                needs: progress.needs.clone()?,
            })
        });
        stuck.collect()
    }

    /// A scan has begun: the partition's checkpoint stays until every scan has ended.
    pub(super) fn scan_began(&self, partition: Partition) {
        if let Some(progress) = self.lock().partitions.get_mut(&partition) {
            progress.scans += 1;
        }
    }

    /// A scan has ended, and its events are handled, unless the lease has been lost since.
    pub(super) fn scan_ended(&self, partition: Partition, fence: i64) {
        if let Some(progress) = self.lock().partitions.get_mut(&partition)
            && progress.fence == fence
        {
            progress.scans = progress.scans.saturating_sub(1);
        }
    }

    /// A stream was opened that begins at `start`, at or below what each of these leases needs.
    pub(super) fn stream_opened(&self, start: Position, covers: &[(Partition, i64)]) {
        let mut state = self.lock();
        state.frontier = start;
        for (partition, fence) in covers {
            if let Some(progress) = state.partitions.get_mut(partition)
                && progress.fence == *fence
            {
                progress.covered = true;
            }
        }
    }

    /// An event is about to be delivered to its partition.
    pub(super) fn began(&self, partition: Partition, position: Position, recorded_at: DateTime<Utc>) {
        let mut state = self.lock();
        let previous = state.frontier;
        if let Some(progress) = state.partitions.get_mut(&partition) {
            let unfinished = Unfinished { previous, recorded_at };
            progress.unfinished.insert(position, unfinished);
            progress.writes_due = 2;
        }
    }

    /// The stream has shown everything up to `position`. `settles`: a mark for all partitions came last.
    pub(super) fn advance(&self, position: Position, settles: bool) {
        let mut state = self.lock();
        state.frontier = state.frontier.max(position);
        state.unsettled = !settles;
    }

    /// The frontier, if the stream's last change was no mark for all partitions.
    pub(super) fn unsettled(&self) -> Option<Position> {
        let state = self.lock();
        state.unsettled.then_some(state.frontier)
    }

    /// Events are handled, or recorded as dead letters.
    pub(super) fn finished(&self, partition: Partition, positions: impl IntoIterator<Item = Position>) {
        if let Some(progress) = self.lock().partitions.get_mut(&partition) {
            for position in positions {
                progress.unfinished.remove(&position);
            }
        }
    }

    /// The checkpoints to write: those that moved. `idle` includes partitions without events.
    pub(super) fn due(&self, idle: bool) -> Vec<Checkpoint> {
        let state = self.lock();
        state
            .partitions
            .iter()
            .filter_map(|(&partition, progress)| {
                let position = progress.checkpoint(state.frontier)?;
                let moved = position > progress.saved && (idle || progress.writes_due > 0);
                moved.then_some(Checkpoint {
                    partition,
                    fence: progress.fence,
                    position,
                })
            })
            .collect()
    }

    pub(super) fn saved(&self, checkpoints: &[Checkpoint]) {
        let mut state = self.lock();
        for checkpoint in checkpoints {
            if let Some(progress) = state.partitions.get_mut(&checkpoint.partition)
                && progress.fence == checkpoint.fence
            {
                progress.saved = progress.saved.max(checkpoint.position);
                if progress.unfinished.is_empty() {
                    progress.writes_due = progress.writes_due.saturating_sub(1);
                }
            }
        }
    }

    /// The position up to which the stream has shown everything.
    pub(super) fn frontier(&self) -> Position {
        self.lock().frontier
    }

    /// The checkpoint that is known to be stored.
    pub(super) fn stored(&self, partition: Partition) -> Position {
        self.lock()
            .partitions
            .get(&partition)
            .map(|progress| progress.saved)
            .unwrap_or_default()
    }

    /// When the oldest unfinished event was recorded, and how many there are.
    pub(super) fn backlog(&self) -> (Option<DateTime<Utc>>, usize) {
        let state = self.lock();
        let recorded = || {
            let partitions = state.partitions.values();
            partitions.flat_map(|progress| progress.unfinished.values().map(|event| event.recorded_at))
        };
        (recorded().min(), recorded().count())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that holds the lock can panic in the middle of a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PartitionProgress {
    fn checkpoint(&self, frontier: Position) -> Option<Position> {
        if !self.covered || self.scans > 0 {
            return None;
        }
        match self.unfinished.first_key_value() {
            Some((_, lowest)) => Some(lowest.previous),
            None => Some(frontier),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(position: u64) -> Position {
        Position::from_u64(position)
    }

    fn partition(number: u8) -> Partition {
        Partition::new(number).unwrap()
    }

    fn due(progress: &Progress) -> Vec<(u8, u64)> {
        progress
            .due(true)
            .iter()
            .map(|c| (c.partition.number(), c.position.as_u64()))
            .collect()
    }

    #[test]
    fn a_checkpoint_stays_below_the_lowest_unfinished_event() {
        let progress = Progress::default();
        progress.add(partition(1), 1, at(10));
        progress.stream_opened(at(10), &[(partition(1), 1)]);
        for position in [11, 13, 15] {
            progress.began(partition(1), at(position), Utc::now());
            progress.advance(at(position), false);
        }
        progress.finished(partition(1), [at(11), at(15)]);
        assert_eq!(due(&progress), [(1, 11)]);
        progress.finished(partition(1), [at(13)]);
        assert_eq!(due(&progress), [(1, 15)]);
    }

    #[test]
    fn an_idle_partition_follows_the_frontier() {
        let progress = Progress::default();
        progress.add(partition(1), 1, at(10));
        progress.add(partition(2), 1, at(5));
        progress.stream_opened(at(5), &[(partition(1), 1), (partition(2), 1)]);
        progress.advance(at(20), false);
        assert_eq!(due(&progress), [(1, 20), (2, 20)]);
        assert_eq!(progress.due(false), []);
        progress.saved(&progress.due(true));
        assert_eq!(due(&progress), []);
    }

    /// Otherwise the events between a new lease's checkpoint and the start of an older stream would be lost.
    #[test]
    fn a_partition_that_the_stream_does_not_cover_yet_has_no_checkpoint() {
        let progress = Progress::default();
        progress.add(partition(1), 1, at(100));
        progress.stream_opened(at(100), &[(partition(1), 1)]);
        progress.advance(at(200), false);
        progress.add(partition(2), 7, at(50));
        assert_eq!(due(&progress), [(1, 200)]);
        // The first stream began to open before the lease was taken, the second for an earlier lease.
        progress.stream_opened(at(190), &[(partition(1), 1)]);
        progress.stream_opened(at(190), &[(partition(1), 1), (partition(2), 6)]);
        progress.advance(at(201), false);
        assert_eq!(due(&progress), [(1, 201)]);
        progress.stream_opened(at(50), &[(partition(1), 1), (partition(2), 7)]);
        assert_eq!(due(&progress), []);
        progress.advance(at(60), false);
        assert_eq!(due(&progress), [(2, 60)]);
    }

    #[test]
    fn no_checkpoint_moves_during_a_scan_of_the_same_lease() {
        let progress = Progress::default();
        progress.add(partition(1), 1, at(0));
        progress.scan_began(partition(1));
        progress.stream_opened(at(100), &[(partition(1), 1)]);
        assert_eq!(due(&progress), []);
        progress.scan_ended(partition(1), 0);
        assert_eq!(due(&progress), []);
        progress.scan_ended(partition(1), 1);
        assert_eq!(due(&progress), [(1, 100)]);
    }

    /// The oplog rolled over again during the first scan: only the second scan finds what was committed after the first one's horizon.
    #[test]
    fn the_end_of_one_scan_is_not_the_end_of_another() {
        let progress = Progress::default();
        progress.add(partition(1), 1, at(0));
        progress.scan_began(partition(1));
        progress.stream_opened(at(100), &[(partition(1), 1)]);
        progress.scan_began(partition(1));
        progress.stream_opened(at(200), &[(partition(1), 1)]);
        progress.scan_ended(partition(1), 1);
        assert_eq!(due(&progress), []);
        progress.scan_ended(partition(1), 1);
        assert_eq!(due(&progress), [(1, 200)]);
    }
}
