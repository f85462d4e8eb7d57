//! Where a page begins: an id, opaque to clients.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use model::ids::{EventId, ListId, PostId};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A place in a list that is sorted newest first. Ids order by time, and their bytes order as the ids do. So one number
/// serves every list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor(u128);

impl Cursor {
    /// Above every item.
    pub const TOP: Cursor = Cursor(u128::MAX);
    /// Below every item.
    pub const BOTTOM: Cursor = Cursor(0);

    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// The place right above this one. What is below it includes the item at this place.
    pub fn above(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The place right below this one. What is above it includes the item at this place.
    pub fn below(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    pub fn to_post(self) -> PostId {
        PostId::from_bytes(self.0.to_be_bytes())
    }

    pub fn to_event(self) -> EventId {
        EventId::from_bytes(self.0.to_be_bytes())
    }

    pub fn to_list(self) -> ListId {
        ListId::from_bytes(self.0.to_be_bytes())
    }

    /// For the versions of a post: numbers that count from 1.
    pub fn to_version(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }

    pub fn of_version(version: i64) -> Self {
        Self(u128::try_from(version).unwrap_or(0))
    }
}

impl From<PostId> for Cursor {
    fn from(id: PostId) -> Self {
        Self::from_bytes(*id.as_bytes())
    }
}

impl From<EventId> for Cursor {
    fn from(id: EventId) -> Self {
        Self::from_bytes(*id.as_bytes())
    }
}

impl From<ListId> for Cursor {
    fn from(id: ListId) -> Self {
        Self::from_bytes(*id.as_bytes())
    }
}

/// The text is not a cursor from any page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a cursor from a page")]
pub struct InvalidCursor;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0_u8; 22];
        // 16 bytes make exactly 22 characters of the alphabet.
        match URL_SAFE_NO_PAD.encode_slice(self.0.to_be_bytes(), &mut text) {
            Ok(22) => f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?),
            _ => Err(fmt::Error),
        }
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        if text.len() != 22 {
            return Err(InvalidCursor);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidCursor)?;
        <[u8; 16]>::try_from(bytes)
            .map(Self::from_bytes)
            .map_err(|_| InvalidCursor)
    }
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<str>::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_cursor_survives_the_way_through_a_url(place: u128) {
            let text = Cursor(place).to_string();
            prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
            prop_assert_eq!(text.parse(), Ok(Cursor(place)));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _: Result<Cursor, _> = text.parse();
        }

        #[test]
        fn cursors_order_as_ids_do(a: [u8; 16], b: [u8; 16]) {
            let order = PostId::from_bytes(a).cmp(&PostId::from_bytes(b));
            prop_assert_eq!(Cursor::from_bytes(a).cmp(&Cursor::from_bytes(b)), order);
            prop_assert_eq!(Cursor::from_bytes(a).to_post(), PostId::from_bytes(a));
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "x",
            "!!!!!!!!!!!!!!!!!!!!!!",
            "AAAAAAAAAAAAAAAAAAAAAAA",
            "AAAAAAAAAAAAAAAAAAAAA=",
        ] {
            assert_eq!(text.parse::<Cursor>(), Err(InvalidCursor), "{text}");
        }
    }
}
