//! Values that are checked when they are parsed. Whoever has one need not check it again.
//!
//! All text is trimmed, normalised to NFC, and free of control characters. (A post and a bio may have line feeds and tabs; CR LF becomes
//! LF.) Lengths are in graphemes, which a reader would call characters. Text without any visible character counts as empty.
//!
//! The rules become stricter with time. So stored text is never parsed again: events hold plain texts.

use std::fmt;
use std::str::FromStr;

use icu_properties::CodePointSetData;
use icu_properties::props::DefaultIgnorableCodePoint;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use unicode_normalization::UnicodeNormalization;
use unicode_segmentation::UnicodeSegmentation;
use utoipa::ToSchema;

use crate::ids::UserId;

mod email;
mod filter;
mod language;
mod notification;
mod profile_field;

pub use self::email::Email;
pub use self::filter::{FilterAction, FilterContext, InvalidPhrases, Phrases};
pub use self::language::Language;
pub use self::notification::{InvalidKind, NotificationKind};
pub use self::profile_field::ProfileField;

/// Why a text is not valid. The message completes "`field` …".
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

/// The most bytes that any text may have, whatever its graphemes are made of.
pub const MAX_TEXT_BYTES: usize = 16 * 1024;

#[derive(Clone, Copy)]
struct TextRule {
    max_graphemes: usize,
    may_be_empty: bool,
    lines: bool,
}

fn parse_text(raw: &str, rule: TextRule) -> Result<String, InvalidValue> {
    // Checked before normalising, so that a huge text costs nothing.
    if raw.len() > 4 * MAX_TEXT_BYTES {
        return Err(InvalidValue::TooLong {
            max: MAX_TEXT_BYTES,
            actual: raw.len(),
            unit: "bytes",
        });
    }
    let unix = raw.replace("\r\n", "\n");
    let text: String = unix.trim().nfc().collect();
    let breaks_the_rule = |c: char| match c {
        '\n' | '\t' => !rule.lines,
        '\u{2028}' | '\u{2029}' => !rule.lines,
        _ => c.is_control(),
    };
    if let Some(c) = text.chars().find(|&c| breaks_the_rule(c)) {
        return Err(InvalidValue::ControlCharacter(u32::from(c)));
    }
    if !rule.may_be_empty && text.chars().all(is_invisible) {
        return Err(InvalidValue::Empty);
    }
    if !rule.lines && !is_bidi_balanced(&text) {
        return Err(InvalidValue::Malformed(
            "must close each bidirectional control character that it opens, and no other",
        ));
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

/// Whether nothing is visible for this character when it stands alone.
fn is_invisible(c: char) -> bool {
    c.is_whitespace()
        || CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c)
        // These have a blank glyph: for Braille, musical notation, annotations, and hieroglyphs.
        || matches!(c, '\u{2800}' | '\u{1D159}' | '\u{FFF9}'..='\u{FFFB}' | '\u{13441}' | '\u{13442}')
}

/// Whether the text leaves the direction of the text around it unchanged. It must close all embeddings, overrides and isolates that it
/// opens, as the Unicode Bidirectional Algorithm pairs them (UAX #9, X1 to X8), and must close no others.
fn is_bidi_balanced(text: &str) -> bool {
    let mut open = Vec::new();
    for c in text.chars() {
        match c {
            // LRE, RLE, LRO, RLO; LRI, RLI, FSI
            '\u{202A}' | '\u{202B}' | '\u{202D}' | '\u{202E}' => open.push('\u{202C}'),
            '\u{2066}'..='\u{2068}' => open.push('\u{2069}'),
            // PDF closes the last embedding or override, but not one outside the current isolate.
            '\u{202C}' if open.last() == Some(&c) => {
                open.pop();
            }
            // PDI closes its isolate, and everything that was opened inside it.
            '\u{2069}' => match open.iter().rposition(|&closer| closer == c) {
                Some(isolate) => open.truncate(isolate),
                None => return false,
            },
            '\u{202C}' => return false,
            _ => {}
        }
    }
    open.is_empty()
}

macro_rules! text_value {
    ($(#[$doc:meta])* $name:ident, $rule:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            const RULE: TextRule = $rule;
            pub const MAX_GRAPHEMES: usize = Self::RULE.max_graphemes;

            pub fn parse(raw: &str) -> Result<Self, InvalidValue> {
                parse_text(raw, Self::RULE).map(Self)
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
    /// The name beside the handle: 1 to 50 graphemes, one line. It does not change the direction of the text after it.
    DisplayName, TextRule { max_graphemes: 50, may_be_empty: false, lines: false }
}
text_value! {
    /// What a post warns of. Its text is shown to those who want to see it: 1 to 500 graphemes.
    Warning, TextRule { max_graphemes: 500, may_be_empty: false, lines: true }
}
text_value! {
    /// What users say about themselves: up to 300 graphemes.
    Bio, TextRule { max_graphemes: 300, may_be_empty: true, lines: true }
}
text_value! {
    /// The name of a list: 1 to 100 graphemes, one line.
    ListTitle, TextRule { max_graphemes: 100, may_be_empty: false, lines: false }
}
text_value! {
    /// What a filter looks for: 1 to 100 graphemes, one line.
    Phrase, TextRule { max_graphemes: 100, may_be_empty: false, lines: false }
}
text_value! {
    /// What a reporter tells the moderators: up to 1,000 graphemes.
    ReportComment, TextRule { max_graphemes: 1000, may_be_empty: true, lines: true }
}

impl From<&Handle> for DisplayName {
    /// A user without a display name is shown by handle.
    fn from(handle: &Handle) -> Self {
        Self(handle.as_str().to_owned())
    }
}

/// A user's unchangeable name: `[a-z0-9_]{1,30}`. Capitals become lower-case letters.
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

/// A password in plain text: 8 to 256 characters, never printed.
///
/// It is compared as RFC 8265 says (`OpaqueString`, section 4.2.2): every space becomes the ASCII space, and the text is NFC. So the same
/// keys give the same password on every keyboard and system. Nothing is trimmed, and case matters. The profile excludes classes of
/// characters (RFC 8264, section 4.3). Of these, only control characters are refused: whether a character is assigned changes with every
/// version of Unicode, but a valid password must stay valid.
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

/// Who may see a post. It never changes, and the author always sees the post. `public`: everybody. `unlisted`: everybody, but it is not in
/// the public timeline. `followers`: who follows the author now, and whom the post mentions. `mentioned`: whom the post mentions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    /// Everybody.
    #[default]
    Public,
    /// Everybody, but it is not in the public timeline.
    Unlisted,
    /// Users who follow the author now, and those whom the post mentions.
    Followers,
    /// Those whom the post mentions.
    Mentioned,
}

impl Visibility {
    /// Whether everybody sees the post, whoever they are.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Public | Self::Unlisted)
    }
}

/// Who may register.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", try_from = "String")]
pub enum RegistrationPolicy {
    /// Everybody.
    #[default]
    Open,
    /// Whoever has a code of `microblog invite`.
    Invite,
    /// Nobody.
    Closed,
}

impl TryFrom<String> for RegistrationPolicy {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        match name.as_str() {
            "open" => Ok(Self::Open),
            "invite" => Ok(Self::Invite),
            "closed" => Ok(Self::Closed),
            _ => Err("must be open, invite or closed"),
        }
    }
}

/// Whether a moderator has dealt with a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReportState {
    Open,
    Resolved,
}

impl ReportState {
    pub fn of(resolved_by: Option<UserId>) -> Self {
        match resolved_by {
            Some(_) => Self::Resolved,
            None => Self::Open,
        }
    }
}

/// What a user may do that others may not. A higher role may do everything that a lower one may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads reports, hides posts, and suspends accounts.
    Moderator,
    /// Does so to moderators too.
    Admin,
}

/// A text that is compared byte by byte, such as an idempotency key.
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
mod tests;
