//! What a text refers to: hashtags, mentions and links, with their positions in the text.
//!
//! `twitter-text` finds hashtags and links. This module finds mentions, because that library ends a name after 20 characters, but a
//! [`Handle`] may have 30. The rules for the characters beside a mention are those of the library (`validMentionPrecedingChars` and
//! `endMentionMatch` of <https://github.com/twitter/twitter-text>), with two exceptions: a slash before the mention, and letters of scripts
//! that have capitals. These make another name of it, or an address. Scripts that are written without spaces have no capitals.

use serde::{Deserialize, Serialize};
use twitter_text::ParserBackend;
use twitter_text::entity::Type;
use twitter_text::extractor::{Extract, Extractor};
use unicode_normalization::char::is_combining_mark;
use utoipa::ToSchema;

use crate::ids::UserId;
use crate::values::{Handle, PostText};

/// The position of an entity in the text, in Unicode scalar values: from `start` up to, but not including, `end`. The sign before the name
/// (`#`, `@`) is part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Span {
    pub start: u32,
    pub end: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Hashtag {
    /// Without the `#`, spelled as in the text.
    pub tag: String,
    pub start: u32,
    pub end: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Mention {
    /// Without the `@`, in lower case. Such a user need not exist.
    pub handle: String,
    pub start: u32,
    pub end: u32,
    /// The user who had this handle when the text was written. Null if there was none.
    #[serde(default)]
    pub user: Option<UserId>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Link {
    pub url: String,
    pub start: u32,
    pub end: u32,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Entities {
    pub hashtags: Vec<Hashtag>,
    pub mentions: Vec<Mention>,
    pub links: Vec<Link>,
}

impl Entities {
    pub fn of(text: &PostText) -> Self {
        let text = text.as_str();
        let mut entities = Entities::default();
        let mut taken = Vec::new();
        // Most texts have neither a hashtag nor a link, and the library takes longer than the rest of a command.
        if text.contains(['#', '＃']) || text.contains("://") {
            taken = entities.add_hashtags_and_links(text);
        }
        entities.mentions = mentions(text, &taken);
        entities
    }

    /// Whether the text mentions this user.
    pub fn mention(&self, user: UserId) -> bool {
        self.mentioned().any(|mentioned| mentioned == user)
    }

    /// The users whom the text mentions. A user may occur twice.
    pub fn mentioned(&self) -> impl Iterator<Item = UserId> {
        self.mentions.iter().filter_map(|mention| mention.user)
    }

    /// Returns the spans that they take.
    fn add_hashtags_and_links(&mut self, text: &str) -> Vec<Span> {
        // The library's default parser cuts a character into pieces if it stands right before an `@`.
        let mut extractor = Extractor::with_parser_backend(ParserBackend::External);
        extractor.set_extract_url_without_protocol(false);
        let mut taken: Vec<Span> = Vec::new();
        let offsets = ScalarOffsets::of(text);
        for entity in extractor.extract_entities_with_indices(text) {
            let (Some(start), Some(end)) = (offsets.at(entity.start), offsets.at(entity.end)) else {
                continue;
            };
            match entity.t {
                Type::HASHTAG => {
                    self.hashtags.push(Hashtag {
                        tag: entity.value.to_owned(),
                        start,
                        end,
                    });
                }
                Type::URL => {
                    self.links.push(Link {
                        url: entity.value.to_owned(),
                        start,
                        end,
                    });
                }
                _ => continue,
            }
            taken.push(Span { start, end });
        }
        taken
    }
}

/// Converts offsets in UTF-16 code units, in which `twitter-text` counts, to offsets in Unicode scalar values.
struct ScalarOffsets(Vec<u32>);

impl ScalarOffsets {
    fn of(text: &str) -> Self {
        let mut offsets = Vec::with_capacity(text.len() + 1);
        let mut count = 0;
        for c in text.chars() {
            offsets.extend(std::iter::repeat_n(count, c.len_utf16()));
            count += 1;
        }
        offsets.push(count);
        Self(offsets)
    }

    fn at(&self, utf16: i32) -> Option<u32> {
        self.0.get(usize::try_from(utf16).ok()?).copied()
    }
}

fn mentions(text: &str, taken: &[Span]) -> Vec<Mention> {
    let characters: Vec<char> = text.chars().collect();
    let mut found = Vec::new();
    let mut at = 0;
    while at < characters.len() {
        let start = at;
        at += 1;
        if !is_at_sign(characters[start]) || !may_precede_a_mention(&characters[..start]) {
            continue;
        }
        let end = start
            + 1
            + characters[start + 1..]
                .iter()
                .take_while(|&&c| is_handle_character(c))
                .count();
        at = end.max(at);
        // "@ada@example.org" and "@adaé" name somebody else. "@http://example.org" names nobody.
        let after = &characters[end..];
        if after
            .first()
            .is_some_and(|&c| is_at_sign(c) || is_letter_as_in_names(c) || is_combining_mark(c))
            || after.starts_with(&[':', '/', '/'])
        {
            continue;
        }
        let name: String = characters[start + 1..end].iter().collect();
        let (Ok(handle), Ok(start), Ok(end)) = (Handle::parse(&name), u32::try_from(start), u32::try_from(end)) else {
            continue;
        };
        if !taken.iter().any(|span| span.start < end && start < span.end) {
            found.push(Mention {
                handle: handle.as_str().to_owned(),
                start,
                end,
                user: None,
            });
        }
    }
    found
}

fn may_precede_a_mention(before: &[char]) -> bool {
    let ends_a_word = |c: char| is_handle_character(c) || is_letter_as_in_names(c);
    match before {
        // "RT@ada", as people wrote before reposts existed.
        [earlier @ .., 'r' | 'R', 't' | 'T'] => earlier.last().is_none_or(|&c| !ends_a_word(c) && !"+~.-".contains(c)),
        [.., c] => !ends_a_word(*c) && !is_at_sign(*c) && !"!#$%&*/".contains(*c),
        [] => true,
    }
}

fn is_at_sign(c: char) -> bool {
    matches!(c, '@' | '＠')
}

fn is_handle_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// A letter that a reader could take for a letter of a handle, or for its continuation: a letter of a script with capitals, or another
/// Latin letter (such as U+02BB in "Hawaiʻi"). Latin ends at U+0370.
fn is_letter_as_in_names(c: char) -> bool {
    c.is_lowercase() || c.is_uppercase() || (c.is_alphabetic() && c < '\u{370}')
}

#[cfg(test)]
mod cases;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Entities {
        Entities::of(&PostText::parse(text).unwrap())
    }

    fn handles(text: &str) -> Vec<String> {
        of(text).mentions.into_iter().map(|mention| mention.handle).collect()
    }

    #[test]
    fn finds_all_three_with_offsets_in_characters() {
        let text = "👨‍👩‍👧 @Ada see #Rüst at https://example.org/@bob?x=1 ok";
        let entities = of(text);
        let piece = |start: u32, end: u32| {
            text.chars()
                .skip(start as usize)
                .take((end - start) as usize)
                .collect::<String>()
        };
        assert_eq!(entities.mentions.len(), 1);
        assert_eq!(entities.mentions[0].handle, "ada");
        assert_eq!(piece(entities.mentions[0].start, entities.mentions[0].end), "@Ada");
        assert_eq!(entities.hashtags[0].tag, "Rüst");
        assert_eq!(piece(entities.hashtags[0].start, entities.hashtags[0].end), "#Rüst");
        assert_eq!(
            piece(entities.links[0].start, entities.links[0].end),
            entities.links[0].url
        );
    }

    proptest::proptest! {
        #[test]
        fn every_entity_stands_where_it_says(words in proptest::collection::vec(
            proptest::prop_oneof![
                "\\PC{1,8}", "#[a-zäöü]{1,8}", "@[a-z_]{1,12}",
                proptest::strategy::Just("https://example.org/a?b=c".to_owned()),
                proptest::strategy::Just("👩‍🚀".to_owned()),
                "[ \n.:/]{1,2}",
            ], 1..12))
        {
            let Ok(text) = PostText::parse(&words.concat()) else { return Ok(()) };
            let entities = Entities::of(&text);
            let piece = |start: u32, end: u32| {
                text.as_str().chars().skip(start as usize).take((end - start) as usize).collect::<String>()
            };
            for tag in &entities.hashtags {
                let piece = piece(tag.start, tag.end);
                proptest::prop_assert_eq!(piece.trim_start_matches(['#', '＃']), &tag.tag);
            }
            for link in &entities.links {
                proptest::prop_assert_eq!(&piece(link.start, link.end), &link.url);
            }
            for mention in &entities.mentions {
                let piece = piece(mention.start, mention.end).to_ascii_lowercase();
                proptest::prop_assert_eq!(piece.trim_start_matches(['@', '＠']), &mention.handle);
            }
        }
    }

    #[test]
    fn a_character_of_several_bytes_may_stand_before_a_mention() {
        assert_eq!(handles("ꦍ@ada"), ["ada"]);
        assert_eq!(handles("“@ada” ꦍd@bob 中@ada"), ["ada", "ada"]);
        assert_eq!(of("。@ada #中").hashtags.len(), 1);
    }

    #[test]
    fn a_mention_may_have_thirty_characters_and_no_more() {
        let long = "a".repeat(30);
        assert_eq!(of(&format!("@{long}!")).mentions[0].handle, long);
        assert_eq!(of(&format!("@{long}b")).mentions, []);
    }

    #[test]
    fn an_address_is_no_mention() {
        for text in [
            "mail ada@example.org or @ada@example.org",
            "josé@example.org",
            "анна@example.org",
            "@@ada",
            "@http://example.com",
            "https://example.org/@ada",
            "example.org/@ada",
        ] {
            assert_eq!(handles(text), [""; 0], "{text}");
        }
        assert_eq!(handles(".@ada, (@bob) RT@eve rt:@zoe"), ["ada", "bob", "eve", "zoe"]);
        assert_eq!(handles("art@ada .rt@ada"), [""; 0]);
    }

    #[test]
    fn scripts_without_spaces_may_touch_a_mention() {
        for text in [
            "@adaさん",
            "@ada님",
            "交给@ada处理",
            "の@ada",
            "ถาม@adaครับ",
            "ขอบใจแม่@ada",
            "ל@ada",
            "@ada❤️",
            "❤️@ada",
        ] {
            assert_eq!(handles(text), ["ada"], "{text}");
        }
    }

    #[test]
    fn a_name_with_letters_of_another_alphabet_is_another_name() {
        // The first two end and begin with a Cyrillic letter. The fifth has a mark that does not combine with its letter.
        for text in ["@adа", "@аda", "@adaé", "@adaα", "@adx\u{301}", "@hawaiʻi"] {
            assert_eq!(handles(text), [""; 0], "{text}");
        }
    }
}
