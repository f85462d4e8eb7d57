//! Which events the views held at one moment, by partition.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use event_log::position::Position;
use event_log::subscription::leases::Lease;
use model::ids::{PARTITIONS, Partition, UserId};
use views::Post;

/// More than any two clocks differ by.
const CLOCKS_AGREE: TimeDelta = TimeDelta::minutes(5);

/// For each partition, the position up to which its events were handled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Handled(Arc<[Position; PARTITIONS as usize]>);

/// The event by which an item appears in a list. It has a position in the commit order. Every reader is shown the item once
/// the partitions of `audiences` have reached that position. For a repost, these include the partition of its original, which
/// was committed before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Appearance {
    pub(crate) position: Position,
    pub(crate) audiences: [UserId; 2],
}

impl Handled {
    pub(crate) fn new(by_partition: impl Fn(Partition) -> Position) -> Self {
        let mut handled = [Position::ORIGIN; PARTITIONS as usize];
        for partition in Partition::all() {
            handled[partition.index()] = by_partition(partition);
        }
        Self(Arc::new(handled))
    }

    /// Whether everybody who looked at the list at that moment saw the item.
    pub(crate) fn shows(&self, appearance: &Appearance) -> bool {
        let of = |user: UserId| self.0[user.partition().index()];
        appearance.audiences.iter().all(|&user| appearance.position <= of(user))
    }

    /// Whether a stream that has shown this much has shown everything that the author did before this version of the post.
    pub(crate) fn covers(&self, post: &Post) -> bool {
        let at = post.edited_at.unwrap_or(post.created_at);
        self.covers_deed(post.author, post.position, at)
    }

    /// The same for an event of a user, and what the user did before it.
    pub(crate) fn covers_deed(&self, user: UserId, position: Option<Position>, at: DateTime<Utc>) -> bool {
        let shown = self.0[user.partition().index()];
        match position {
            Some(position) => position <= shown,
            // A scan has found the event. The clock that dated it is not the database's.
            None => at + CLOCKS_AGREE < shown.time(),
        }
    }

    /// Whether `leases`, which are all leases, say less than this. Checkpoints never go back. So if the leases were read
    /// later than this, these are not the views that held this.
    pub(crate) fn exceeds(&self, leases: &[Lease]) -> bool {
        let stored = Self::new(|partition| {
            let lease = leases.iter().find(|lease| lease.partition == partition);
            lease.map_or(Position::ORIGIN, |lease| lease.position)
        });
        self.0.iter().zip(stored.0.iter()).any(|(seen, stored)| seen > stored)
    }

    /// The partition has come as far as this. Positions only rise.
    pub(crate) fn raise(&mut self, partition: Partition, position: Position) {
        let known = &mut Arc::make_mut(&mut self.0)[partition.index()];
        *known = position.max(*known);
    }

    /// What both have handled.
    pub(crate) fn min(&self, other: &Self) -> Self {
        Self::new(|partition| self.0[partition.index()].min(other.0[partition.index()]))
    }

    /// The position that every partition has reached.
    pub(crate) fn slowest(&self) -> Position {
        self.0.iter().copied().min().unwrap_or(Position::ORIGIN)
    }

    /// The highest position that any partition has reached.
    pub(crate) fn highest(&self) -> Position {
        self.0.iter().copied().max().unwrap_or(Position::ORIGIN)
    }

    /// Most partitions are within seconds of each other, and idle ones are often at the same position. The encoding relies on
    /// that to be short.
    ///
    /// Encoding: first the highest position (8 bytes, big-endian). Then a bit for each partition (8 bytes). The bit is set if
    /// the position differs from that of the partition before. The first partition is compared with the highest position.
    /// Then two numbers in LEB128 for each set bit, from the lowest on: by how many seconds the position is behind the
    /// highest, and its counter. If the second is the same, the counter is also written as a distance.
    pub(crate) fn encode(&self, bytes: &mut Vec<u8>) {
        let highest = self.highest();
        let mut elsewhere = 0_u64;
        let mut distances = Vec::new();
        let mut before = highest;
        for (bit, &position) in self.0.iter().enumerate() {
            if position != before {
                elsewhere |= 1 << bit;
                let (top, at) = (highest.to_timestamp(), position.to_timestamp());
                let counter = if top.time == at.time {
                    top.increment - at.increment
                } else {
                    at.increment
                };
                put_number(&mut distances, top.time - at.time);
                put_number(&mut distances, counter);
            }
            before = position;
        }
        bytes.extend_from_slice(&highest.as_u64().to_be_bytes());
        bytes.extend_from_slice(&elsewhere.to_be_bytes());
        bytes.extend_from_slice(&distances);
    }

    /// Takes from the beginning of `bytes` what [`Handled::encode`] wrote. From other bytes, the result may be anything or
    /// nothing.
    pub(crate) fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let highest = u64::from_be_bytes(take(bytes)?);
        let elsewhere = u64::from_be_bytes(take(bytes)?);
        let (seconds, counter) = (highest >> 32, highest & u64::from(u32::MAX));
        let mut handled = [Position::ORIGIN; PARTITIONS as usize];
        let mut before = highest;
        for (bit, position) in handled.iter_mut().enumerate() {
            if elsewhere >> bit & 1 == 1 {
                let behind = u64::from(number(bytes)?);
                let told = u64::from(number(bytes)?);
                let own = if behind == 0 { counter.checked_sub(told)? } else { told };
                before = seconds.checked_sub(behind)? << 32 | own;
            }
            *position = Position::from_u64(before);
        }
        Some(Self(Arc::new(handled)))
    }
}

const _: () = assert!(PARTITIONS == 64, "a bit for each");

pub(crate) fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*taken)
}

fn put_number(bytes: &mut Vec<u8>, mut number: u32) {
    while number >= 0x80 {
        // The lowest seven bits, and a bit that says that more follow.
        bytes.push((number & 0x7F) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn number(bytes: &mut &[u8]) -> Option<u32> {
    let mut number = 0_u32;
    for shift in (0..u32::BITS).step_by(7) {
        let [byte] = take(bytes)?;
        let part = u32::from(byte & 0x7F);
        let shifted = part << shift;
        if shifted >> shift != part {
            return None;
        }
        number |= shifted;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
pub(crate) mod tests {
    use bson::doc;
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn at(seconds: u64, counter: u64) -> Position {
        Position::from_u64(seconds << 32 | counter)
    }

    /// Positions within a few seconds, most of them the same, and a few arbitrary ones.
    pub(crate) fn any_handled() -> impl Strategy<Value = Handled> {
        let position = prop_oneof![
            3 => Just(at(1_764_000_000, 7)),
            3 => (0_u64..10, 0_u64..5_000).prop_map(|(behind, counter)| at(1_764_000_000 - behind, counter)),
            1 => any::<u64>().prop_map(Position::from_u64),
        ];
        proptest::collection::vec(position, 64).prop_map(|all| Handled::new(|partition| all[partition.index()]))
    }

    proptest! {
        #[test]
        fn what_was_handled_survives_its_encoding(handled in any_handled(), rest: Vec<u8>) {
            let mut bytes = Vec::new();
            handled.encode(&mut bytes);
            bytes.extend_from_slice(&rest);
            let mut left = bytes.as_slice();
            prop_assert_eq!(Handled::decode(&mut left), Some(handled));
            prop_assert_eq!(left, rest);
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = Handled::decode(&mut bytes.as_slice());
        }
    }

    #[test]
    fn a_busy_store_takes_three_bytes_a_partition_and_a_quiet_one_next_to_none() {
        let size = |handled: &Handled| {
            let mut bytes = Vec::new();
            handled.encode(&mut bytes);
            bytes.len()
        };
        let busy = Handled::new(|partition| {
            at(
                1_764_000_000 - u64::from(partition.number()) % 5,
                1_000 + u64::from(partition.number()),
            )
        });
        assert!(size(&busy) <= 16 + 3 * 64, "{}", size(&busy));
        assert_eq!(size(&Handled::new(|_| at(1_764_000_000, 5))), 16);
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
        assert!(!Handled::new(|_| Position::ORIGIN).exceeds(&[]), "nothing was seen");
        let handled = Handled::new(|partition| Position::from_u64(if partition.number() == 1 { 5 } else { 0 }));
        assert!(!handled.exceeds(&[lease(1, 5), lease(2, 9)]));
        assert!(!handled.exceeds(&[lease(1, 6)]));
        assert!(handled.exceeds(&[lease(1, 4)]));
        assert!(handled.exceeds(&[lease(2, 9)]));
    }

    #[test]
    fn every_partition_that_has_to_be_there_counts() {
        let user = |last: u8| {
            let mut bytes = [0; 16];
            bytes[15] = last;
            UserId::from_bytes(bytes)
        };
        let handled = Handled::new(|partition| at(if partition.number() == 3 { 5 } else { 9 }, 0));
        let shows = |position, one, other| {
            handled.shows(&Appearance {
                position,
                audiences: [user(one), user(other)],
            })
        };
        assert!(shows(at(9, 0), 1, 2) && shows(at(5, 0), 3, 3));
        assert!(!shows(at(9, 1), 1, 1) && !shows(at(6, 0), 1, 3) && !shows(at(6, 0), 3, 1));
        assert_eq!(handled.slowest(), at(5, 0));
    }
}
