//! Read your own writes: the token that a command returns and that a query waits for.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::position::Position;
use model::ids::{PARTITIONS, Partition};

/// The header, in answers of commands and in requests to both services.
pub const HEADER: &str = "consistency-token";

/// Identifies one event store, so that a token of another one (an older cluster, a restored one) is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StoreId(pub Uuid);

/// By partition, the highest acknowledged position that its holder has seen.
///
/// Encoding: base64url, without padding, of the store's UUID (16 bytes) and, for each partition, its number
/// (1 byte) and position (8 bytes, big-endian), in the order of the partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsistencyToken {
    store: StoreId,
    positions: BTreeMap<Partition, Position>,
}

/// The text is no token that a command returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a token that a command answered with")]
pub struct InvalidToken;

/// The token names a position in the future: a clock was wrong, or the token is forged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("names a position more than {0:?} ahead of the clock here, which no command answered with")]
pub struct TooFarAhead(pub Duration);

impl ConsistencyToken {
    pub fn new(store: StoreId) -> Self {
        Self {
            store,
            positions: BTreeMap::new(),
        }
    }

    /// Notes that the holder has seen `position` of `partition`.
    pub fn advance(&mut self, partition: Partition, position: Position) {
        let known = self.positions.entry(partition).or_default();
        *known = (*known).max(position);
    }

    /// Adds what another token has seen, if it is of the same store.
    pub fn merge(&mut self, other: &ConsistencyToken) {
        if other.store == self.store {
            for (&partition, &position) in &other.positions {
                self.advance(partition, position);
            }
        }
    }

    /// What a query of `store` has to wait for. Nothing if the token is of another store.
    ///
    /// # Errors
    /// If a position is further ahead of `now` than clocks may differ.
    pub fn requirements(
        &self,
        store: StoreId,
        now: DateTime<Utc>,
        max_skew: Duration,
    ) -> Result<Vec<(Partition, Position)>, TooFarAhead> {
        let requirements: Vec<_> = self.credible(store, now, max_skew).collect();
        if self.store == store && requirements.len() < self.positions.len() {
            return Err(TooFarAhead(max_skew));
        }
        Ok(requirements)
    }

    /// The positions of `store` that can be true, because they are no further ahead of `now` than clocks may differ.
    pub fn credible(
        &self,
        store: StoreId,
        now: DateTime<Utc>,
        max_skew: Duration,
    ) -> impl Iterator<Item = (Partition, Position)> {
        let skew = TimeDelta::from_std(max_skew).ok();
        let latest = skew
            .and_then(|skew| now.checked_add_signed(skew))
            .unwrap_or(DateTime::<Utc>::MAX_UTC);
        self.positions
            .iter()
            .filter(move |(_, position)| self.store == store && position.time() <= latest)
            .map(|(&partition, &position)| (partition, position))
    }
}

impl fmt::Display for ConsistencyToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = Vec::with_capacity(16 + 9 * self.positions.len());
        bytes.extend_from_slice(self.store.0.as_bytes());
        for (partition, position) in &self.positions {
            bytes.push(partition.number());
            bytes.extend_from_slice(&position.as_u64().to_be_bytes());
        }
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for ConsistencyToken {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        // Refused before decoding, because a token has at most one entry for each partition.
        if text.len() > (16 + 9 * usize::from(PARTITIONS)).div_ceil(3) * 4 {
            return Err(InvalidToken);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidToken)?;
        let (store, entries) = bytes.split_first_chunk::<16>().ok_or(InvalidToken)?;
        let entries = entries.chunks_exact(9);
        if !entries.remainder().is_empty() {
            return Err(InvalidToken);
        }
        let mut token = ConsistencyToken::new(StoreId(Uuid::from_bytes(*store)));
        for entry in entries {
            let &[number, a, b, c, d, e, f, g, h] = entry else {
                return Err(InvalidToken);
            };
            let partition = Partition::new(number).ok_or(InvalidToken)?;
            token.advance(
                partition,
                Position::from_u64(u64::from_be_bytes([a, b, c, d, e, f, g, h])),
            );
        }
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use bson::Timestamp;
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u32) -> Position {
        Position::from(Timestamp {
            time: seconds,
            increment: 1,
        })
    }

    #[test]
    fn merging_keeps_the_highest_and_ignores_other_stores() {
        let store = StoreId(Uuid::from_u128(1));
        let [one, two] = [1, 2].map(|n| Partition::new(n).unwrap());
        let mut token = ConsistencyToken::new(store);
        token.advance(one, at(5));
        let mut sent = ConsistencyToken::new(store);
        sent.advance(one, at(4));
        sent.advance(two, at(9));
        token.merge(&sent);
        let mut foreign = ConsistencyToken::new(StoreId(Uuid::from_u128(2)));
        foreign.advance(one, at(99));
        token.merge(&foreign);

        let now = DateTime::from_timestamp(10, 0).unwrap();
        let second = Duration::from_secs(1);
        assert_eq!(
            token.requirements(store, now, second).unwrap(),
            [(one, at(5)), (two, at(9))]
        );
        assert_eq!(token.requirements(StoreId(Uuid::from_u128(2)), now, second), Ok(vec![]));
    }

    #[test]
    fn a_position_may_lie_ahead_as_far_as_clocks_may_differ() {
        let store = StoreId(Uuid::from_u128(1));
        let [one, two] = [1, 2].map(|n| Partition::new(n).unwrap());
        let mut token = ConsistencyToken::new(store);
        token.advance(one, at(900));
        token.advance(two, at(1_000));
        let skew = Duration::from_secs(2);
        let now = DateTime::from_timestamp(997, 0).unwrap();
        assert_eq!(token.requirements(store, now, skew), Err(TooFarAhead(skew)));
        assert_eq!(token.credible(store, now, skew).collect::<Vec<_>>(), [(one, at(900))]);
        let later = now + TimeDelta::seconds(1);
        assert_eq!(token.requirements(store, later, skew).unwrap().len(), 2);
        // The clock of another store does not matter here.
        assert_eq!(token.requirements(StoreId(Uuid::from_u128(2)), now, skew), Ok(vec![]));
    }

    proptest! {
        #[test]
        fn every_token_survives_the_round_trip_through_the_header(
            store: u128,
            positions in proptest::collection::btree_map(0..PARTITIONS, any::<u64>(), 0..64),
        ) {
            let mut token = ConsistencyToken::new(StoreId(Uuid::from_u128(store)));
            for (number, position) in positions {
                token.advance(Partition::new(number).unwrap(), Position::from_u64(position));
            }
            prop_assert_eq!(token.to_string().parse(), Ok(token));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _: Result<ConsistencyToken, _> = text.parse();
        }
    }
}
