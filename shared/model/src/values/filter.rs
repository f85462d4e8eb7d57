//! What a filter looks for, what it does, and where.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{InvalidValue, Phrase};
use crate::phrases::folded;

/// The kinds of lists in which a filter looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FilterContext {
    Home,
    /// The timelines of lists.
    Lists,
    /// The timelines of tags.
    Tags,
    Public,
    /// A single post, and what is above and below it.
    Thread,
    /// The posts of one user.
    Profile,
    Notifications,
    Search,
}

/// What happens to a post in which a filter finds a phrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FilterAction {
    /// It is left out.
    Hide,
    /// It is shown, and names the filter.
    Warn,
}

/// The phrases of one filter, as its owner has written them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phrases(Vec<String>);

/// Why these can't be the phrases of a filter. The message completes "`field` …".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPhrases {
    #[error("must have 1 to {max} phrases, it has {0}", max = Phrases::MAX)]
    Count(usize),
    /// The phrase with this index.
    #[error("{1}")]
    Phrase(usize, InvalidValue),
    #[error("are too long together: they must have at most {max} bytes in the form in which they compare, they have {0}", max = Phrases::MAX_BYTES)]
    TooLong(usize),
}

impl Phrases {
    /// The most phrases of a filter.
    pub const MAX: usize = 50;
    /// The most bytes of all phrases of a filter in the form in which they compare ([`folded`]). It bounds the memory of whoever looks for them.
    pub const MAX_BYTES: usize = 4096;

    pub fn parse(raw: &[String]) -> Result<Self, InvalidPhrases> {
        if raw.is_empty() || raw.len() > Self::MAX {
            return Err(InvalidPhrases::Count(raw.len()));
        }
        let parsed = raw.iter().enumerate().map(|(index, raw)| {
            let phrase = Phrase::parse(raw).map_err(|error| InvalidPhrases::Phrase(index, error))?;
            Ok(phrase.into_string())
        });
        let phrases: Vec<String> = parsed.collect::<Result<_, _>>()?;
        let bytes = phrases.iter().map(|phrase| folded(phrase).len()).sum();
        if bytes > Self::MAX_BYTES {
            return Err(InvalidPhrases::TooLong(bytes));
        }
        Ok(Self(phrases))
    }

    pub fn into_strings(self) -> Vec<String> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phrases_are_bounded_in_number_and_length() {
        let parse = |phrases: Vec<String>| Phrases::parse(&phrases).map(Phrases::into_strings);
        let many = |count: usize, phrase: &str| vec![phrase.to_owned(); count];
        assert_eq!(parse(vec![" Two words ".to_owned()]), Ok(many(1, "Two words")));
        assert_eq!(parse(Vec::new()), Err(InvalidPhrases::Count(0)));
        assert!(parse(many(50, "a")).is_ok());
        assert_eq!(parse(many(51, "a")), Err(InvalidPhrases::Count(51)));
        let empty = parse(vec!["a".to_owned(), " ".to_owned()]);
        assert_eq!(empty, Err(InvalidPhrases::Phrase(1, InvalidValue::Empty)));
        assert!(matches!(
            parse(many(1, &"a".repeat(101))),
            Err(InvalidPhrases::Phrase(0, _))
        ));
        assert!(parse(many(50, &"a".repeat(81))).is_ok());
        assert_eq!(parse(many(50, &"a".repeat(82))), Err(InvalidPhrases::TooLong(4100)));
        // One character that compares as 33 bytes.
        assert_eq!(
            parse(many(2, &"\u{FDFA}".repeat(100))),
            Err(InvalidPhrases::TooLong(6600))
        );
    }
}
