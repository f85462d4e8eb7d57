//! Leases to take over from owners that live. Their events are kept until the takeover, so that nobody waits for a stream to open.
//!
//! The owner goes on until the lease moves. By then the successor has a stream that began at an earlier checkpoint, and checkpoints never
//! go back. So of the events above the checkpoint that the successor finds, some are kept here, and the stream will show the rest.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::watch;

use super::leases::Lease;
use super::room::{Room, RoomPermit};
use super::stored::Stored;
use crate::position::Position;
use model::ids::Partition;

/// The partitions whose leases can be taken over now.
pub(super) type Prepared = BTreeSet<Partition>;

/// An event that the stream has shown.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) stored: Stored,
    pub(super) position: Position,
    /// The position of what the stream showed right before.
    pub(super) previous: Position,
    pub(super) permit: RoomPermit,
}

#[derive(Debug)]
struct Candidate {
    /// All events up to here that the stream has shown are kept.
    kept: Position,
    /// A stream that began at `kept` or below was opened.
    covered: bool,
    shown: Vec<Shown>,
}

impl Candidate {
    /// No events are kept: whoever takes the lease over opens a stream, or scans the event store.
    const COLD: Self = Self {
        kept: Position::ORIGIN,
        covered: false,
        shown: Vec::new(),
    };

    fn is_cold(&self) -> bool {
        self.kept == Position::ORIGIN
    }
}

/// The leases that the keeper wants, and the events that the stream has shown for them.
#[derive(Debug)]
pub(super) struct Candidates {
    all: BTreeMap<Partition, Candidate>,
    /// The most events of one partition that are kept.
    most: usize,
    prepared: watch::Sender<Prepared>,
}

impl Candidates {
    pub(super) fn new(most: usize, prepared: watch::Sender<Prepared>) -> Self {
        Self {
            all: BTreeMap::new(),
            most,
            prepared,
        }
    }

    /// From now on, prepares these leases and no others.
    pub(super) fn want(&mut self, leases: &[Lease]) {
        let mut before = std::mem::take(&mut self.all);
        for lease in leases {
            let new = Candidate {
                kept: lease.position,
                ..Candidate::COLD
            };
            let candidate = before.remove(&lease.partition).unwrap_or(new);
            self.all.insert(lease.partition, candidate);
        }
        self.tell();
    }

    /// Whether some of them need a stream.
    pub(super) fn want_a_stream(&self) -> bool {
        self.all
            .values()
            .any(|candidate| !candidate.covered && !candidate.is_cold())
    }

    /// The partitions that a stream has to show, and from which position.
    pub(super) fn needs(&self) -> impl Iterator<Item = (Partition, Position)> {
        let warm = self.all.iter().filter(|(_, candidate)| !candidate.is_cold());
        warm.map(|(&partition, candidate)| (partition, candidate.kept))
    }

    /// A stream was opened that shows all events of these partitions above `start`.
    pub(super) fn stream_opened(&mut self, start: Position, partitions: &[Partition]) {
        for (partition, candidate) in &mut self.all {
            candidate.covered |= start <= candidate.kept && partitions.contains(partition);
        }
        self.tell();
    }

    /// The stream shows an event, right after what it showed at `previous`.
    pub(super) fn show(&mut self, stored: Stored, position: Position, previous: Position, room: &Room) {
        let Some(candidate) = self.all.get_mut(&stored.partition()) else {
            return;
        };
        if !candidate.covered || position <= candidate.kept {
            return;
        }
        // The stream does not wait for partitions that are not ours yet.
        let permit = room.take_now(stored.event());
        match permit.filter(|_| candidate.shown.len() < self.most) {
            Some(permit) => {
                candidate.kept = position;
                candidate.shown.push(Shown {
                    stored,
                    position,
                    previous,
                    permit,
                });
            }
            // The owner is far behind, the takeover takes long, or there is much other work.
            None => *candidate = Candidate::COLD,
        }
    }

    /// The oplog has rolled over: no stream shows what the candidates need.
    pub(super) fn history_lost(&mut self) {
        self.all.values_mut().for_each(|candidate| *candidate = Candidate::COLD);
        self.tell();
    }

    /// The lease of this partition was taken. Returns what the stream has shown of it, or none if that is not everything.
    pub(super) fn taken(&mut self, partition: Partition) -> Option<Vec<Shown>> {
        let candidate = self.all.remove(&partition)?;
        candidate.covered.then_some(candidate.shown)
    }

    fn tell(&self) {
        let ready = |candidate: &Candidate| candidate.covered || candidate.is_cold();
        let prepared: Prepared = self
            .all
            .iter()
            .filter(|(_, candidate)| ready(candidate))
            .map(|(&partition, _)| partition)
            .collect();
        self.prepared.send_if_modified(|told| {
            let other = *told != prepared;
            *told = prepared;
            other
        });
    }
}

#[cfg(test)]
mod tests {
    use bson::raw::RawDocumentBuf;
    use chrono::Utc;
    use uuid::Uuid;

    use super::*;
    use crate::event_store::RecordedEvent;
    use model::events::StreamId;
    use model::ids::{EventId, UserId};

    fn at(position: u64) -> Position {
        Position::from_u64(position)
    }

    fn partition(number: u8) -> Partition {
        Partition::new(number).unwrap()
    }

    fn lease(number: u8, position: u64) -> Lease {
        Lease {
            id: format!("views/{number:02}"),
            subscription: "views".to_owned(),
            partition: partition(number),
            owner: Some("another".to_owned()),
            session: None,
            offered_by: None,
            fence: 1,
            beat: 1,
            position: at(position),
            needs: None,
            stamp: None,
        }
    }

    fn event(number: u8) -> Stored {
        let actor = UserId::new(Utc::now());
        let event = RecordedEvent {
            id: EventId::new(Utc::now()),
            stream: StreamId::user(actor),
            version: 1,
            event_type: "unknown".to_owned(),
            schema: 1,
            partition: partition(number),
            actor,
            command_id: Uuid::new_v4(),
            correlation_id: String::new(),
            causation_id: None,
            traceparent: None,
            idempotency_key: None,
            body_hash: None,
            recorded_at: Utc::now(),
            data: RawDocumentBuf::new(),
        };
        Ok(event).into()
    }

    fn show(candidates: &mut Candidates, number: u8, position: u64, previous: u64) {
        let room = Room::new(u32::MAX);
        candidates.show(event(number), at(position), at(previous), &room);
    }

    fn candidates(most: usize) -> (Candidates, watch::Receiver<Prepared>) {
        let (prepared, told) = watch::channel(Prepared::new());
        (Candidates::new(most, prepared), told)
    }

    fn kept(taken: Option<Vec<Shown>>) -> Option<Vec<u64>> {
        taken.map(|shown| shown.iter().map(|it| it.position.as_u64()).collect())
    }

    #[test]
    fn what_a_stream_shows_is_kept_once_it_covers_the_lease() {
        let (mut candidates, told) = candidates(10);
        candidates.want(&[lease(1, 10), lease(2, 20)]);
        assert_eq!(*told.borrow(), Prepared::new());
        assert!(candidates.want_a_stream());
        show(&mut candidates, 1, 11, 10);
        // This one begins above what the first needs.
        candidates.stream_opened(at(15), &[partition(1), partition(2)]);
        assert_eq!(*told.borrow(), [partition(2)].into());
        candidates.stream_opened(at(10), &[partition(1), partition(2)]);
        assert_eq!(*told.borrow(), [partition(1), partition(2)].into());
        assert!(!candidates.want_a_stream());
        for (number, position) in [(1, 10), (1, 11), (2, 20), (1, 25), (2, 26), (3, 27)] {
            show(&mut candidates, number, position, position - 1);
        }
        // Another stream, which shows again what is kept.
        candidates.stream_opened(at(20), &[partition(1), partition(2)]);
        show(&mut candidates, 1, 25, 20);
        assert_eq!(kept(candidates.taken(partition(1))), Some(vec![11, 25]));
        assert_eq!(kept(candidates.taken(partition(2))), Some(vec![26]));
        assert_eq!(kept(candidates.taken(partition(3))), None);
    }

    #[test]
    fn what_is_no_longer_wanted_is_forgotten() {
        let (mut candidates, told) = candidates(10);
        candidates.want(&[lease(1, 10), lease(2, 10)]);
        candidates.stream_opened(at(10), &[partition(1), partition(2)]);
        candidates.want(&[lease(2, 10)]);
        assert_eq!(*told.borrow(), [partition(2)].into());
        assert_eq!(kept(candidates.taken(partition(1))), None);
        candidates.want(&[]);
        assert_eq!(candidates.needs().count(), 0);
    }

    /// Else it would never be taken over.
    #[test]
    fn what_no_stream_can_show_is_prepared_and_taken_without_its_events() {
        let (mut candidates, told) = candidates(1);
        let never_begun = Position::ORIGIN.as_u64();
        candidates.want(&[lease(1, never_begun), lease(2, 10), lease(3, 10)]);
        assert_eq!(*told.borrow(), [partition(1)].into());
        candidates.stream_opened(at(10), &[partition(2), partition(3)]);
        // More than is kept.
        show(&mut candidates, 2, 11, 10);
        show(&mut candidates, 2, 12, 11);
        assert_eq!(kept(candidates.taken(partition(2))), None);
        candidates.history_lost();
        assert_eq!(*told.borrow(), [partition(1), partition(3)].into());
        assert!(!candidates.want_a_stream());
        assert_eq!(kept(candidates.taken(partition(3))), None);
    }

    /// The stream must go on for what is held.
    #[test]
    fn what_there_is_no_room_for_is_taken_without_its_events() {
        let (mut candidates, _told) = candidates(10);
        candidates.want(&[lease(1, 10)]);
        candidates.stream_opened(at(10), &[partition(1)]);
        let room = Room::new(2_000);
        candidates.show(event(1), at(11), at(10), &room);
        assert!(room.taken() > 0);
        candidates.show(event(1), at(12), at(11), &room);
        assert_eq!(room.taken(), 0);
        assert_eq!(kept(candidates.taken(partition(1))), None);
    }
}
