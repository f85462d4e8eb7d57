//! Values that parse: whoever holds one need not check it again.
//!
//! All text is trimmed, normalised to NFC, and free of control characters (a post and a bio may hold line
//! feeds and tabs; CR LF becomes LF). Lengths are in graphemes, what a reader would call characters.

use std::fmt;
use std::str::FromStr;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use unicode_normalization::UnicodeNormalization;
use unicode_segmentation::UnicodeSegmentation;
use utoipa::ToSchema;

/// Why a text is not the value it should be. The message completes "`field` …".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidValue {
    #[error("must not be empty")]
    Empty,
    #[error("must have at most {max} {unit}, it has {actual}")]
    TooLong {
        max: usize,
        actual: usize,
        unit: &'static str,
    },
    #[error("must have at least {min} {unit}, it has {actual}")]
    TooShort {
        min: usize,
        actual: usize,
        unit: &'static str,
    },
    #[error("must not contain the control character U+{0:04X}")]
    ControlCharacter(u32),
    #[error("{0}")]
    Malformed(&'static str),
}

/// The most bytes any text may have, whatever its graphemes are made of.
pub const MAX_TEXT_BYTES: usize = 16 * 1024;

#[derive(Clone, Copy)]
struct TextRule {
    max_graphemes: usize,
    may_be_empty: bool,
    lines: bool,
}

fn parse_text(raw: &str, rule: TextRule) -> Result<String, InvalidValue> {
    // Checked before normalising, so that an absurd text costs nothing.
    if raw.len() > 4 * MAX_TEXT_BYTES {
        return Err(InvalidValue::TooLong {
            max: MAX_TEXT_BYTES,
            actual: raw.len(),
            unit: "bytes",
        });
    }
    let unix = raw.replace("\r\n", "\n");
    let text: String = unix.trim().nfc().collect();
    if let Some(c) = text
        .chars()
        .find(|&c| c.is_control() && !(rule.lines && matches!(c, '\n' | '\t')))
    {
        return Err(InvalidValue::ControlCharacter(u32::from(c)));
    }
    if text.is_empty() && !rule.may_be_empty {
        return Err(InvalidValue::Empty);
    }
    if text.len() > MAX_TEXT_BYTES {
        return Err(InvalidValue::TooLong {
            max: MAX_TEXT_BYTES,
            actual: text.len(),
            unit: "bytes",
        });
    }
    let graphemes = text.graphemes(true).count();
    if graphemes > rule.max_graphemes {
        return Err(InvalidValue::TooLong {
            max: rule.max_graphemes,
            actual: graphemes,
            unit: "characters",
        });
    }
    Ok(text)
}

macro_rules! text_value {
    ($(#[$doc:meta])* $name:ident, $rule:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            pub fn parse(raw: &str) -> Result<Self, InvalidValue> {
                parse_text(raw, $rule).map(Self)
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }

            pub fn into_string(self) -> String {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_value! {
    /// The text of a post: 1 to 500 graphemes.
    PostText, TextRule { max_graphemes: 500, may_be_empty: false, lines: true }
}
text_value! {
    /// The name shown beside the handle: 1 to 50 graphemes, one line.
    DisplayName, TextRule { max_graphemes: 50, may_be_empty: false, lines: false }
}
text_value! {
    /// What people say of themselves: up to 300 graphemes.
    Bio, TextRule { max_graphemes: 300, may_be_empty: true, lines: true }
}

impl From<&Handle> for DisplayName {
    /// Who gives no display name is shown by handle.
    fn from(handle: &Handle) -> Self {
        Self(handle.as_str().to_owned())
    }
}

/// A user's unchangeable name: `[a-z0-9_]{1,30}`. Capitals are taken as small letters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Handle(String);

impl Handle {
    pub const MAX_LEN: usize = 30;

    pub fn parse(raw: &str) -> Result<Self, InvalidValue> {
        let handle = raw.trim().to_ascii_lowercase();
        if handle.is_empty() {
            return Err(InvalidValue::Empty);
        }
        if !handle
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        {
            return Err(InvalidValue::Malformed(
                "may contain only letters a to z, digits and underscores",
            ));
        }
        if handle.len() > Self::MAX_LEN {
            return Err(InvalidValue::TooLong {
                max: Self::MAX_LEN,
                actual: handle.len(),
                unit: "characters",
            });
        }
        Ok(Self(handle))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Handle {
    type Err = InvalidValue;

    fn from_str(raw: &str) -> Result<Self, InvalidValue> {
        Self::parse(raw)
    }
}

impl<'de> Deserialize<'de> for Handle {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = String::deserialize(deserializer)?;
        Self::parse(&raw).map_err(de::Error::custom)
    }
}

/// An e-mail address, in small letters; it never leaves the credentials.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Email(String);

impl Email {
    pub fn parse(raw: &str) -> Result<Self, InvalidValue> {
        let email = raw.trim().nfc().collect::<String>().to_lowercase();
        if email.is_empty() {
            return Err(InvalidValue::Empty);
        }
        if email.len() > 254 {
            return Err(InvalidValue::TooLong {
                max: 254,
                actual: email.len(),
                unit: "bytes",
            });
        }
        let malformed = InvalidValue::Malformed("must be an e-mail address such as name@example.org");
        let Some((local, domain)) = email.rsplit_once('@') else {
            return Err(malformed);
        };
        let local_is_fine = !local.is_empty()
            && local.len() <= 64
            && !local.contains(|c: char| c.is_whitespace() || c.is_control() || "@<>()[],;:\\\"".contains(c));
        let domain_is_fine = domain.contains('.')
            && domain.split('.').all(|label| {
                !label.is_empty()
                    && label.len() <= 63
                    && !label.starts_with('-')
                    && !label.ends_with('-')
                    && label.chars().all(|c| c.is_alphanumeric() || c == '-')
            });
        if local_is_fine && domain_is_fine {
            Ok(Self(email))
        } else {
            Err(malformed)
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Email(***)")
    }
}

/// A password in the clear: 8 to 256 characters, never printed.
///
/// It is compared as RFC 8265 has it (`OpaqueString`, section 4.2.2): every space is the ASCII space, and the text is NFC, so
/// that the same keys give the same password on every keyboard and system. Nothing is trimmed, and case matters. Of what the
/// profile's class leaves out (RFC 8264, section 4.3) only control characters are refused: whether a character is
/// assigned changes with every version of Unicode, and a password must not.
#[derive(Debug, Clone)]
pub struct Password(SecretString);

impl Password {
    pub fn parse(raw: &str) -> Result<Self, InvalidValue> {
        let spaces = raw.chars().map(|c| if is_space_separator(c) { ' ' } else { c });
        let password: SecretString = spaces.nfc().collect::<String>().into();
        let text = password.expose_secret();
        if let Some(c) = text.chars().find(|c| c.is_control()) {
            return Err(InvalidValue::ControlCharacter(u32::from(c)));
        }
        let characters = text.chars().count();
        match characters {
            0..8 => Err(InvalidValue::TooShort {
                min: 8,
                actual: characters,
                unit: "characters",
            }),
            8..=256 => Ok(Self(password)),
            _ => Err(InvalidValue::TooLong {
                max: 256,
                actual: characters,
                unit: "characters",
            }),
        }
    }

    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

/// The general category Zs.
fn is_space_separator(c: char) -> bool {
    matches!(
        c,
        ' ' | '\u{A0}' | '\u{1680}' | '\u{2000}'..='\u{200A}' | '\u{202F}' | '\u{205F}' | '\u{3000}'
    )
}

/// Who may see a post. It never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    /// Everybody.
    #[default]
    Public,
    /// The author and who follows the author now.
    Followers,
}

/// A text that only its own bytes identify, such as an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    pub fn parse(raw: &str) -> Result<Self, InvalidValue> {
        match raw.len() {
            0 => Err(InvalidValue::Empty),
            1..=128 if raw.bytes().all(|b| b.is_ascii_graphic()) => Ok(Self(raw.to_owned())),
            1..=128 => Err(InvalidValue::Malformed("must be visible ASCII characters")),
            actual => Err(InvalidValue::TooLong {
                max: 128,
                actual,
                unit: "characters",
            }),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Serialize for IdempotencyKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for IdempotencyKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_and_a_letter_with_marks_count_as_one_character() {
        assert!(PostText::parse(&"👨‍👩‍👧‍👦".repeat(500)).is_ok());
        assert!(PostText::parse(&"e\u{301}\u{323}".repeat(500)).is_ok());
        assert_eq!(
            PostText::parse(&"x".repeat(501)),
            Err(InvalidValue::TooLong {
                max: 500,
                actual: 501,
                unit: "characters"
            })
        );
    }

    #[test]
    fn few_graphemes_of_many_bytes_are_refused() {
        let zalgo = format!("a{}", "\u{301}".repeat(MAX_TEXT_BYTES));
        assert!(matches!(
            PostText::parse(&zalgo),
            Err(InvalidValue::TooLong { unit: "bytes", .. })
        ));
    }

    #[test]
    fn text_is_trimmed_normalised_and_has_unix_lines() {
        assert_eq!(
            PostText::parse("  cafe\u{301}\r\nbar\t ").unwrap().as_str(),
            "café\nbar"
        );
        assert_eq!(PostText::parse(" \n "), Err(InvalidValue::Empty));
        assert_eq!(PostText::parse("a\u{0}b"), Err(InvalidValue::ControlCharacter(0)));
        assert_eq!(PostText::parse("a\rb"), Err(InvalidValue::ControlCharacter(0x0D)));
        assert_eq!(DisplayName::parse("a\nb"), Err(InvalidValue::ControlCharacter(0x0A)));
        assert_eq!(Bio::parse("").unwrap().as_str(), "");
    }

    #[test]
    fn handles_ignore_case_and_refuse_everything_else() {
        assert_eq!(Handle::parse("Ada_99").unwrap().as_str(), "ada_99");
        for bad in ["", "a b", "ä", "a-b", "@ada", &"a".repeat(31)] {
            assert!(Handle::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn emails() {
        assert_eq!(Email::parse(" Ada@Example.ORG ").unwrap().as_str(), "ada@example.org");
        for bad in [
            "",
            "ada",
            "ada@",
            "@example.org",
            "a b@example.org",
            "ada@example",
            "ada@-x.org",
            "a@b..c",
        ] {
            assert!(Email::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn passwords_are_8_to_256_characters_and_stay_secret() {
        assert!(Password::parse("1234567").is_err());
        assert!(Password::parse(&"p".repeat(257)).is_err());
        // Counted as they are compared.
        assert!(Password::parse(&"e\u{301}".repeat(7)).is_err());
        assert!(Password::parse(&"e\u{301}".repeat(256)).is_ok());
        let password = Password::parse("correct horse").unwrap();
        assert!(!format!("{password:?}").contains("horse"));
    }

    #[test]
    fn passwords_are_the_same_however_they_were_typed() {
        let parsed = |raw: &str| Password::parse(raw).map(|password| password.expose().to_owned());
        for (raw, expected) in [
            // The examples of RFC 8265, section 4.3, as far as they are long enough.
            ("correct horse battery staple", "correct horse battery staple"),
            ("Correct Horse Battery Staple", "Correct Horse Battery Staple"),
            ("\u{3C0}\u{DF}\u{E5}12345", "\u{3C0}\u{DF}\u{E5}12345"),
            ("Jack of \u{2666}s", "Jack of \u{2666}s"),
            ("foo\u{1680}bar baz", "foo bar baz"),
            // What one system composes, another takes apart.
            ("Cafe\u{301} Zu\u{308}rich", "Caf\u{E9} Z\u{FC}rich"),
            ("\u{1100}\u{1161}\u{11A8} 1234567", "\u{AC01} 1234567"),
            ("\u{212B}ngstr\u{F6}m", "\u{C5}ngstr\u{F6}m"),
            // Neither width nor blanks at the ends are changed.
            ("\u{FF21}\u{3000}1234567", "\u{FF21} 1234567"),
            ("  correct  ", "  correct  "),
        ] {
            assert_eq!(parsed(raw), Ok(expected.to_owned()), "{raw:?}");
        }
        for bad in ["my cat is a \u{9}by", "12345678\u{0}", "12345678\u{85}"] {
            assert!(matches!(parsed(bad), Err(InvalidValue::ControlCharacter(_))), "{bad:?}");
        }
        assert!(parsed("").is_err());
    }
}
