//! How far the views are, by partition, as the change stream has shown it.

use shared::ids::Partition;
use shared::position::Position;
use shared::subscription::leases::Lease;
use tokio::sync::watch;

use crate::handled::Handled;

/// The checkpoints of the views' subscription that the stream has shown, and those who wait for one.
///
/// Each partition has a channel of its own, so that a checkpoint wakes only who waits for that partition.
#[derive(Debug)]
pub(crate) struct Positions(Vec<watch::Sender<Position>>);

impl Positions {
    pub(crate) fn new() -> Self {
        Self(Partition::all().map(|_| watch::Sender::new(Position::ORIGIN)).collect())
    }

    /// Everything up to `position` has been seen. A lower position than known changes nothing.
    pub(crate) fn advance(&self, partition: Partition, position: Position) {
        self.0[partition.index()].send_if_modified(|known| {
            let higher = position > *known;
            if higher {
                *known = position;
            }
            higher
        });
    }

    /// Waits, for ever if need be, until all of these have been seen.
    pub(crate) async fn reached(&self, requirements: &[(Partition, Position)]) {
        for &(partition, required) in requirements {
            let mut position = self.0[partition.index()].subscribe();
            // The sender lives in `self`, so the channel can't be closed.
            let _ = position.wait_for(|known| *known >= required).await;
        }
    }

    /// Whether all of these have been seen by now.
    pub(crate) fn have_reached(&self, requirements: &[(Partition, Position)]) -> bool {
        requirements
            .iter()
            .all(|&(partition, required)| *self.0[partition.index()].borrow() >= required)
    }

    /// How many partitions are filled: a checkpoint stands at the origin until the first scan of all events is over.
    pub(crate) fn filled(&self) -> usize {
        let filled = |position: &&watch::Sender<Position>| *position.borrow() > Position::ORIGIN;
        self.0.iter().filter(filled).count()
    }

    /// Whether these leases, all that there are, say less than was seen. Checkpoints never go back, so the views are not those that were
    /// read before.
    pub(crate) fn exceed(&self, leases: &[Lease]) -> bool {
        let stored = Self::new();
        for lease in leases {
            stored.advance(lease.partition, lease.position);
        }
        let mut pairs = self.0.iter().zip(&stored.0);
        pairs.any(|(seen, stored)| *seen.borrow() > *stored.borrow())
    }

    /// The highest that was seen, of any partition.
    pub(crate) fn highest(&self) -> Position {
        let all = self.0.iter().map(|position| *position.borrow());
        all.max().unwrap_or(Position::ORIGIN)
    }

    /// How far each partition is by now.
    pub(crate) fn handled(&self) -> Handled {
        Handled::new(|partition| *self.0[partition.index()].borrow())
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;
    use futures_util::FutureExt;

    use super::*;

    fn partition(number: u8) -> Partition {
        Partition::new(number).unwrap()
    }

    #[test]
    fn positions_only_rise() {
        let positions = Positions::new();
        positions.advance(partition(3), Position::from_u64(5));
        positions.advance(partition(3), Position::from_u64(4));
        assert!(positions.have_reached(&[(partition(3), Position::from_u64(5))]));
        assert!(!positions.have_reached(&[(partition(3), Position::from_u64(6))]));
    }

    #[test]
    fn leases_that_say_less_or_are_missing_are_told() {
        let lease = |number: i32, position: u64| -> Lease {
            let lease = doc! {
                "_id": "", "subscription": "", "partition": number, "owner": null, "fence": 0_i64, "beat": 0_i64,
                "position": Position::from_u64(position),
            };
            bson::deserialize_from_document(lease).unwrap()
        };
        let positions = Positions::new();
        assert!(!positions.exceed(&[]), "nothing was seen");
        positions.advance(partition(1), Position::from_u64(5));
        assert_eq!(positions.filled(), 1);
        assert!(!positions.exceed(&[lease(1, 5), lease(2, 9)]));
        assert!(!positions.exceed(&[lease(1, 6)]));
        assert!(positions.exceed(&[lease(1, 4)]));
        assert!(positions.exceed(&[lease(2, 9)]));
    }

    #[test]
    fn who_waits_for_two_partitions_needs_both() {
        let positions = Positions::new();
        let required = [
            (partition(1), Position::from_u64(10)),
            (partition(2), Position::from_u64(20)),
        ];
        let mut waiting = Box::pin(positions.reached(&required));
        assert_eq!((&mut waiting).now_or_never(), None);
        positions.advance(partition(2), Position::from_u64(20));
        assert_eq!((&mut waiting).now_or_never(), None);
        positions.advance(partition(1), Position::from_u64(11));
        assert_eq!((&mut waiting).now_or_never(), Some(()));
    }
}
