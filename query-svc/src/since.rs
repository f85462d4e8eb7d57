//! Where a client that polls continues. The text says what its pages have shown, so that no item comes again without need. It
//! is opaque to the client.
//!
//! The order of ids is not commit order. Above the settled place, an item may arrive late, with an id below one that was
//! already shown. So the text says which events the views held when the list was looked at. An item is known if it was
//! committed up to there, and lies no higher than the highest item that was looked at. A page has shown such an item, or has
//! decided not to show it. All other items are still to come.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::cursor::{Cursor, InvalidCursor};
use crate::handled::{Appearance, Handled, take};

/// The `prev` of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Since {
    /// Everything at this place or below it is known, and nothing new can appear there.
    pub(crate) settled: Cursor,
    /// What else is known. None in a text of an earlier release.
    pub(crate) seen: Option<Box<Seen>>,
}

/// What is known above the settled place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The list has been looked at up to here.
    pub(crate) up_to: Cursor,
    /// The least that the views held when the list was last looked at.
    pub(crate) handled: Handled,
    /// Where another look stopped, because its page was full or had looked at enough.
    pub(crate) resumed: Option<Resumed>,
}

/// A look for late items that takes more than one page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resumed {
    /// How far the look has come: up to a known item, or past all known items.
    pub(crate) at: Cursor,
    /// The least that the views held in the processes that made the pages of the look. Past all known items, it is the same
    /// as [`Seen::handled`].
    pub(crate) handled: Handled,
}

/// Far above what the positions of 64 partitions take twice, even if no two are alike.
const LONGEST: usize = 2_048;

impl Since {
    /// Everything up to here is known, and nothing arrives late there.
    pub(crate) fn settled(place: Cursor) -> Self {
        Self {
            settled: place,
            seen: None,
        }
    }

    /// The same, if the list was looked at up to this place.
    pub(crate) fn looked_up_to(mut self, place: Cursor) -> Self {
        if let Some(seen) = &mut self.seen {
            seen.up_to = seen.up_to.max(place);
        }
        self
    }

    /// Whether a page has shown this item, or has decided not to show it.
    pub(crate) fn knows(&self, place: Cursor, appearance: Option<Appearance>) -> bool {
        self.seen.as_ref().is_some_and(|seen| {
            let shown = appearance.is_some_and(|appearance| seen.handled.shows(&appearance));
            shown && place <= seen.up_to
        })
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.settled.to_bytes().to_vec();
        if let Some(seen) = &self.seen {
            bytes.extend_from_slice(&seen.up_to.to_bytes());
            seen.handled.encode(&mut bytes);
            if let Some(resumed) = &seen.resumed {
                bytes.extend_from_slice(&resumed.at.to_bytes());
                if resumed.at < seen.up_to {
                    resumed.handled.encode(&mut bytes);
                }
            }
        }
        bytes
    }

    fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        let bytes = &mut bytes;
        let settled = Cursor::from_bytes(take(bytes)?);
        if bytes.is_empty() {
            return Some(Self::settled(settled));
        }
        let mut seen = Seen {
            up_to: Cursor::from_bytes(take(bytes)?),
            handled: Handled::decode(bytes)?,
            resumed: None,
        };
        if !bytes.is_empty() {
            let at = Cursor::from_bytes(take(bytes)?);
            let handled = if at < seen.up_to {
                Handled::decode(bytes)?
            } else {
                seen.handled.clone()
            };
            seen.resumed = Some(Resumed { at, handled });
        }
        let at = seen.resumed.as_ref().map_or(settled, |resumed| resumed.at);
        let ordered = settled <= at && at <= seen.up_to && settled < seen.up_to && bytes.is_empty();
        ordered.then(|| Self {
            settled,
            seen: Some(Box::new(seen)),
        })
    }
}

impl fmt::Display for Since {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.to_bytes()))
    }
}

impl FromStr for Since {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        if text.len() > LONGEST {
            return Err(InvalidCursor);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidCursor)?;
        Self::from_bytes(&bytes)
            // Only one spelling is valid.
            .filter(|since| since.to_bytes() == bytes)
            .ok_or(InvalidCursor)
    }
}

impl Serialize for Since {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Since {
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
    use crate::handled::tests::{any_handled, at};

    fn place(n: u128) -> Cursor {
        Cursor::from_bytes(n.to_be_bytes())
    }

    proptest! {
        #[test]
        fn it_survives_the_way_through_a_url(
            mut places: [u128; 3],
            handled in any_handled(),
            again in proptest::option::of(any_handled()),
            plain: bool,
            past_all: bool,
        ) {
            places.sort_unstable();
            let [settled, middle, up_to] = places.map(place);
            prop_assume!(middle < up_to);
            let past = Resumed { at: up_to, handled: handled.clone() };
            let resumed = again.map(|handled| Resumed { at: middle, handled }).or(past_all.then_some(past));
            let seen = (!plain).then(|| Box::new(Seen { up_to, handled, resumed }));
            let since = Since { settled, seen };
            let text = since.to_string();
            prop_assert!(text.len() <= LONGEST);
            prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
            prop_assert_eq!(text.parse(), Ok(since));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _: Result<Since, _> = text.parse();
        }

        #[test]
        fn what_is_read_is_written_the_same(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let text = URL_SAFE_NO_PAD.encode(bytes);
            if let Ok(since) = text.parse::<Since>() {
                prop_assert_eq!(since.to_string(), text);
            }
        }
    }

    #[test]
    fn a_cursor_of_an_earlier_release_is_a_settled_place() {
        let cursor = place(77);
        assert_eq!(cursor.to_string().parse(), Ok(Since::settled(cursor)));
    }

    #[test]
    fn worst_case_fits() {
        let odd = Handled::new(|partition| at(u64::from(u32::MAX) - (u64::from(partition.number()) << 26), 1 << 31));
        let seen = Seen {
            up_to: Cursor::TOP,
            handled: odd.clone(),
            resumed: Some(Resumed {
                at: place(1),
                handled: odd,
            }),
        };
        let since = Since {
            settled: Cursor::BOTTOM,
            seen: Some(Box::new(seen)),
        };
        let text = since.to_string();
        assert!(text.len() <= LONGEST, "{}", text.len());
        assert_eq!(text.parse(), Ok(since));
    }
}
