//! Tags: how people write them, and how they compare.
//!
//! A tag is the name of a hashtag, without the sign before it. It shows as it was written. Two tags are the same if their [`TagKey`]s are.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Deserializer, Serialize, de};
use unicode_normalization::UnicodeNormalization;

use crate::entities::{Entities, Hashtag};
use crate::phrases::folded;
use crate::values::PostText;

/// The form in which tags compare ([`folded`]).
///
/// The folding knows no language. So `İstanbul` and `istanbul` differ: the dotted capital folds to an `i` with a combining dot.
///
/// Unicode promises that neither step ever changes for characters that exist. So a stored key stays right.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TagKey(Box<str>);

/// The beginning of a key's hash. The keys of two tags may have the same beginning, so whoever finds something by it compares the keys.
pub type TagPrefix = [u8; 8];

impl TagKey {
    pub fn of(tag: &str) -> Self {
        Self(folded(tag).into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The SHA-256 of the key. It stays the same on every machine and in every version, and nobody can find two tags with the same one.
    pub fn sha256(&self) -> [u8; 32] {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, self.0.as_bytes()).as_ref());
        hash
    }

    pub fn prefix(&self) -> TagPrefix {
        let [a, b, c, d, e, f, g, h, ..] = self.sha256();
        [a, b, c, d, e, f, g, h]
    }
}

impl From<&Hashtag> for TagKey {
    fn from(hashtag: &Hashtag) -> Self {
        Self::of(&hashtag.tag)
    }
}

impl Entities {
    /// The tags of a text, each once.
    pub fn tags(&self) -> BTreeSet<TagKey> {
        self.hashtags.iter().map(TagKey::from).collect()
    }
}

/// The text can't stand after a `#`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a tag without the sign before it: letters, digits and underscores, and not only digits")]
pub struct InvalidTag;

/// A tag that somebody names outside a text, as written. In a text, it would be the same tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag(String);

impl Tag {
    pub fn parse(raw: &str) -> Result<Self, InvalidTag> {
        let text = PostText::parse(&format!("#{raw}")).map_err(|_| InvalidTag)?;
        let written: String = raw.nfc().collect();
        match &Entities::of(&text).hashtags[..] {
            [hashtag] if hashtag.tag == written => Ok(Self(written)),
            _ => Err(InvalidTag),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn key(&self) -> TagKey {
        TagKey::of(&self.0)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Tag {
    type Err = InvalidTag;

    fn from_str(raw: &str) -> Result<Self, InvalidTag> {
        Self::parse(raw)
    }
}

impl<'de> Deserialize<'de> for Tag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(tag: &str) -> String {
        TagKey::of(tag).as_str().to_owned()
    }

    fn tags(text: &str) -> Vec<String> {
        let tags = Entities::of(&PostText::parse(text).unwrap()).tags();
        tags.iter().map(|tag| tag.as_str().to_owned()).collect()
    }

    #[test]
    fn tags_compare_by_their_normal_form_in_every_script() {
        for (tag, expected) in [
            ("Rust", "rust"),
            ("RÜST", "rüst"),
            ("Straße", "strasse"),
            ("STRASSE", "strasse"),
            ("ẞ", "ss"),
            // One folding for all languages: the dotted capital keeps its dot, and the dotless letter stays.
            ("İstanbul", "i\u{307}stanbul"),
            ("istanbul", "istanbul"),
            ("ISTANBUL", "istanbul"),
            ("ıstanbul", "ıstanbul"),
            // Both forms of the small sigma.
            ("ΟΔΟΣ", "οδοσ"),
            ("οδος", "οδοσ"),
            ("Москва", "москва"),
            ("ԵՐԵՎԱՆ", "երեվան"),
            ("ᏣᎳᎩ", "ᏣᎳᎩ"),
            ("ꮳꮃꭹ", "ᏣᎳᎩ"),
            ("თბილისი", "თბილისი"),
            ("ᲗᲑᲘᲚᲘᲡᲘ", "თბილისი"),
            // Full-width and half-width forms, ligatures.
            ("Ｒｕｓｔ１", "rust1"),
            ("ﾄｳｷｮｳ", "トウキョウ"),
            ("ﬁn", "fin"),
            ("東京", "東京"),
            // A letter and its mark, composed or not; two Korean ways to write a syllable.
            ("Cafe\u{301}", "café"),
            ("CAFÉ", "café"),
            ("\u{1112}\u{1161}\u{11AB}글", "한글"),
            // Folding decomposes it, and it is composed again.
            ("\u{390}", "\u{390}"),
            ("עברית", "עברית"),
            ("हिन्दी", "हिन्दी"),
        ] {
            assert_eq!(key(tag), expected, "{tag}");
        }
    }

    #[test]
    fn a_text_has_each_of_its_tags_once() {
        assert_eq!(
            tags("#Rust #rust ＃ＲＵＳＴ and ＃東京, #İstanbul"),
            ["i\u{307}stanbul", "rust", "東京"]
        );
        assert_eq!(tags("C# is #1, and https://example.org/#anchor"), [""; 0]);
    }

    #[test]
    fn what_would_be_no_tag_in_a_text_is_refused() {
        for tag in ["rust", "Rust_2024", "東京", "İstanbul", "ﾄｳｷｮｳ", "cafe\u{301}", "हिन्दी"]
        {
            let written: String = tag.nfc().collect();
            assert_eq!(Tag::parse(tag).map(|tag| tag.to_string()), Ok(written), "{tag}");
        }
        let long = "a".repeat(500);
        for bad in [
            "",
            " ",
            "#rust",
            "＃rust",
            "two words",
            "rust ",
            "a-b",
            "2024",
            "a/b",
            "rust\n",
            "a#b",
            "@ada",
            "\0",
            &long,
        ] {
            assert_eq!(Tag::parse(bad), Err(InvalidTag), "{bad:?}");
        }
    }

    #[test]
    fn the_hash_of_a_key_never_changes() {
        let key = TagKey::of("Rust");
        // `printf rust | sha256sum`
        assert_eq!(key.prefix(), [0x52, 0x1f, 0xe5, 0xc9, 0xec, 0xe1, 0xaa, 0x1f]);
        assert_eq!(key.sha256()[..8], key.prefix());
    }

    proptest::proptest! {
        #[test]
        fn a_key_is_its_own_key(tag in "\\PC{0,8}") {
            let once = TagKey::of(&tag);
            proptest::prop_assert_eq!(TagKey::of(once.as_str()), once);
        }

        #[test]
        fn each_tag_of_a_text_can_be_named(words in proptest::collection::vec("[#＃@ ./:]{0,2}\\PC{0,6}", 1..8)) {
            let Ok(text) = PostText::parse(&words.concat()) else { return Ok(()) };
            for hashtag in Entities::of(&text).hashtags {
                let tag = Tag::parse(&hashtag.tag);
                proptest::prop_assert_eq!(tag.map(|tag| tag.key()), Ok(TagKey::from(&hashtag)));
            }
        }
    }
}
