//! What users say about themselves in pairs of a name and a value.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{InvalidValue, TextRule, parse_text};

/// A name and a value in a profile. Both are one line.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct ProfileField {
    #[schema(example = "Pronouns")]
    pub name: String,
    #[schema(example = "she/her")]
    pub value: String,
}

impl ProfileField {
    /// The most of them that a profile has.
    pub const MAX: usize = 4;

    /// A name of 1 to 64 graphemes.
    pub fn parse_name(raw: &str) -> Result<String, InvalidValue> {
        parse_text(raw, line(64))
    }

    /// A value of 1 to 256 graphemes.
    pub fn parse_value(raw: &str) -> Result<String, InvalidValue> {
        parse_text(raw, line(256))
    }
}

fn line(max_graphemes: usize) -> TextRule {
    TextRule {
        max_graphemes,
        may_be_empty: false,
        lines: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_lines_of_their_length() {
        assert_eq!(ProfileField::parse_name(" Web\u{A0} ").unwrap(), "Web");
        assert!(ProfileField::parse_name(&"é".repeat(64)).is_ok());
        assert!(ProfileField::parse_name(&"é".repeat(65)).is_err());
        assert!(ProfileField::parse_value(&"é".repeat(256)).is_ok());
        assert!(ProfileField::parse_value(&"é".repeat(257)).is_err());
        for bad in ["", " ", "two\nlines", "\u{202E}turned"] {
            assert!(ProfileField::parse_name(bad).is_err(), "{bad:?}");
            assert!(ProfileField::parse_value(bad).is_err(), "{bad:?}");
        }
    }
}
