//! How far the views are, by partition, as the change stream has shown it.

use event_log::position::Position;
use model::ids::Partition;
use tokio::sync::watch;

use crate::bus::{Change, Listener};
use crate::handled::Handled;

/// The checkpoints of the views' subscription that the stream has shown, and those who wait for one.
///
/// Each partition has a channel of its own, so that a checkpoint wakes only those who wait for that partition.
#[derive(Debug)]
pub(crate) struct Positions(Vec<watch::Sender<Position>>);

impl Positions {
    pub(crate) fn new() -> Self {
        Self(Partition::all().map(|_| watch::Sender::new(Position::ORIGIN)).collect())
    }

    /// The stream has shown everything up to `position`. A position below the known one changes nothing.
    pub(crate) fn advance(&self, partition: Partition, position: Position) {
        self.0[partition.index()].send_if_modified(|known| {
            let higher = position > *known;
            if higher {
                *known = position;
            }
            higher
        });
    }

    /// Waits without a time limit until all of these positions are reached.
    pub(crate) async fn reached(&self, requirements: &[(Partition, Position)]) {
        for &(partition, required) in requirements {
            let mut position = self.0[partition.index()].subscribe();
            // The sender lives in `self`, so the channel can't be closed.
            let _ = position.wait_for(|known| *known >= required).await;
        }
    }

    /// Whether all of these positions are reached now.
    pub(crate) fn have_reached(&self, requirements: &[(Partition, Position)]) -> bool {
        requirements
            .iter()
            .all(|&(partition, required)| *self.0[partition.index()].borrow() >= required)
    }

    /// How many partitions are filled. A checkpoint stands at the origin until the first scan of all events is over.
    pub(crate) fn filled(&self) -> usize {
        let filled = |position: &&watch::Sender<Position>| *position.borrow() > Position::ORIGIN;
        self.0.iter().filter(filled).count()
    }

    /// How far each partition is now.
    pub(crate) fn handled(&self) -> Handled {
        Handled::new(|partition| *self.0[partition.index()].borrow())
    }
}

impl Listener for Positions {
    fn hear(&self, change: &Change) {
        if let Change::Checkpoint(partition, position) = change {
            self.advance(*partition, *position);
        }
    }
}

#[cfg(test)]
mod tests {
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
        assert_eq!(positions.filled(), 1);
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
