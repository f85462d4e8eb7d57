//! The language of a text, as a tag of BCP 47.

use language_tags::LanguageTag;

use super::InvalidValue;

/// A language, with its script, region and variants where they are given: `de`, `zh-Hant-TW`. Its subtags are in IANA's registry, and it is
/// in canonical form (RFC 5646, section 4.5), so that two spellings of a language are equal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Language(String);

impl Language {
    /// As long as a tag may need to be (RFC 5646, section 4.4.1).
    pub const MAX_LEN: usize = 35;

    /// Extensions and private use are refused: they say nothing of the language.
    pub fn parse(raw: &str) -> Result<Self, InvalidValue> {
        let raw = raw.trim();
        if raw.is_empty() {
            return Err(InvalidValue::Empty);
        }
        let actual = raw.chars().count();
        if actual > Self::MAX_LEN {
            return Err(InvalidValue::TooLong {
                max: Self::MAX_LEN,
                actual,
                unit: "characters",
            });
        }
        canonical(raw).map(Self).ok_or(InvalidValue::Malformed(
            "must be a language tag of BCP 47 without extensions, such as `en` or `zh-Hant-TW`",
        ))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn into_string(self) -> String {
        self.0
    }
}

fn canonical(raw: &str) -> Option<String> {
    let tag = LanguageTag::parse(raw).ok()?;
    tag.validate().ok()?;
    let tag = tag.canonicalize().ok()?;
    let names_a_language = tag.is_language_range() && tag.primary_language() != "und";
    names_a_language.then(|| tag.into_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_language_has_one_spelling() {
        for (raw, expected) in [
            ("en", "en"),
            (" DE-at ", "de-AT"),
            ("ZH-hANT-tw", "zh-Hant-TW"),
            ("es-419", "es-419"),
            ("sl-Rozaj-biske", "sl-rozaj-biske"),
            ("gsw", "gsw"),
            // The registry prefers these.
            ("iw", "he"),
            ("zh-yue", "yue"),
            ("en-Latn-GB", "en-GB"),
            ("i-klingon", "tlh"),
        ] {
            assert_eq!(Language::parse(raw).unwrap().as_str(), expected, "{raw:?}");
        }
    }

    #[test]
    fn what_names_no_language_is_refused() {
        assert_eq!(Language::parse(" "), Err(InvalidValue::Empty));
        for bad in [
            "e",
            "english",
            "en_US",
            "en-",
            "-en",
            "und",
            "und-Latn",
            "x-elvish",
            "en-u-ca-buddhist",
            "en-x-mine",
            "en-XX-nowhere",
            "日本",
            "en\u{0}",
        ] {
            assert!(
                matches!(Language::parse(bad), Err(InvalidValue::Malformed(_))),
                "{bad:?}"
            );
        }
        let long = format!("en{}", "-abcde".repeat(6));
        assert!(matches!(
            Language::parse(&long),
            Err(InvalidValue::TooLong { actual: 38, .. })
        ));
    }
}
