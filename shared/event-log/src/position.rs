//! The event store's commit order.

use std::fmt;

use bson::{Bson, Timestamp};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A point in the event store's commit order: MongoDB's own logical time (seconds, then a counter).
///
/// It is the `operationTime` of an insert, and the `clusterTime` of its change event. No program counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(u64);

impl Position {
    /// Before everything. It is not zero, because a server replaces a zero timestamp in an inserted document by its own time.
    pub const ORIGIN: Position = Position(1);

    pub const fn from_u64(value: u64) -> Self {
        Self(value)
    }

    pub const fn as_u64(self) -> u64 {
        self.0
    }

    pub fn to_timestamp(self) -> Timestamp {
        let bytes = self.0.to_be_bytes();
        let [a, b, c, d, e, f, g, h] = bytes;
        Timestamp {
            time: u32::from_be_bytes([a, b, c, d]),
            increment: u32::from_be_bytes([e, f, g, h]),
        }
    }

    /// The time of day of the position, to the second.
    pub fn time(self) -> DateTime<Utc> {
        DateTime::from_timestamp(i64::from(self.to_timestamp().time), 0).unwrap_or(DateTime::UNIX_EPOCH)
    }
}

impl Default for Position {
    fn default() -> Self {
        Self::ORIGIN
    }
}

impl From<Timestamp> for Position {
    fn from(timestamp: Timestamp) -> Self {
        Self(u64::from(timestamp.time) << 32 | u64::from(timestamp.increment))
    }
}

impl From<Position> for Bson {
    fn from(position: Position) -> Bson {
        Bson::Timestamp(position.to_timestamp())
    }
}

impl Serialize for Position {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_timestamp().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Timestamp::deserialize(deserializer).map(Position::from)
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let timestamp = self.to_timestamp();
        write!(f, "{}.{}", timestamp.time, timestamp.increment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_order_before_the_counter_and_survive_the_round_trip() {
        let early = Position::from(Timestamp {
            time: 5,
            increment: u32::MAX,
        });
        let late = Position::from(Timestamp { time: 6, increment: 0 });
        assert!(early < late);
        assert_eq!(Position::from(early.to_timestamp()), early);
    }
}
