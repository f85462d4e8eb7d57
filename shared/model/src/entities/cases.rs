//! The public cases of `twitter-text` (its conformance tests for extraction) in one file of JSON:
//! `tests`, by section, each with `text`, `description` and `expected`.
//!
//! The file is not part of the project. The test looks for [`FILE`] in all parent directories, or where `TWITTER_TEXT_CASES` says.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Value, json};

use super::*;

#[derive(Deserialize)]
struct Cases {
    tests: BTreeMap<String, Vec<Case>>,
}

#[derive(Deserialize)]
struct Case {
    description: String,
    text: String,
    expected: Value,
}

/// Why this code finds something else than the case expects.
#[derive(Clone, Copy)]
enum Reason {
    /// A link needs a scheme: "that.is" is more often a typing error than an address.
    NoScheme,
    /// There are no lists of users: "@ada/friends" mentions @ada.
    NoLists,
}
use Reason::{NoLists, NoScheme};

const EXCEPTIONS: [(&str, &str, Reason); 22] = [
    ("mentions_or_lists_with_indices", "Extract a list", NoLists),
    ("mentions_or_lists_with_indices", "Extract a mention and list", NoLists),
    (
        "mentions_or_lists_with_indices",
        "Extract a list in the middle of a Japanese tweet",
        NoLists,
    ),
    (
        "urls",
        "Extract URLs without protocol on (com|org|edu|gov|net) domains",
        NoScheme,
    ),
    (
        "urls",
        "Extract URLs without protocol not on (com|org|edu|gov|net) domains",
        NoScheme,
    ),
    ("urls", "Extract URLs without protocol on ccTLD with slash", NoScheme),
    ("urls", "Extract URLs beginning with a space", NoScheme),
    (
        "urls",
        "Extract long URL without protocol surrounded by CJK characters",
        NoScheme,
    ),
    (
        "urls",
        "Extract short URL without protocol surrounded by CJK characters",
        NoScheme,
    ),
    (
        "urls",
        "Extract URLs with and without protocol surrounded by CJK characters",
        NoScheme,
    ),
    (
        "urls",
        "Extract short URLs without protocol on ccTLD domains without path",
        NoScheme,
    ),
    ("urls", "Extract URLs with a - in the middle", NoScheme),
    (
        "urls",
        "Extract some (tv|co) short URLs without protocol on ccTLD domains without path",
        NoScheme,
    ),
    (
        "urls",
        "Extract URLs beginning with a non-breaking space (U+00A0)",
        NoScheme,
    ),
    ("urls", "Extract valid URL ELPAÍS.com", NoScheme),
    ("urls", "Extract domain followed by Japanese characters", NoScheme),
    ("urls", "Extract URL before newline", NoScheme),
    ("urls_with_directional_markers", "Extract URLs from RTL text", NoScheme),
    (
        "urls_with_directional_markers",
        "Extract URLs from RTL text with embedded directional marks",
        NoScheme,
    ),
    (
        "urls_with_indices",
        "Extract URLs without protocol on ccTLD with slash",
        NoScheme,
    ),
    (
        "urls_with_indices",
        "Extract URLs without protocol surrounded by CJK characters",
        NoScheme,
    ),
    (
        "urls_with_indices",
        "Extract URLs with and without protocol surrounded by CJK characters",
        NoScheme,
    ),
];

impl Reason {
    /// Changes what the case expects, so that it allows for this exception.
    fn allow_for(self, expected: &mut Vec<Value>) {
        match self {
            NoScheme => expected.retain(|link| {
                let url = link.get("url").unwrap_or(link).as_str().expect("a link");
                url.starts_with("http://") || url.starts_with("https://")
            }),
            NoLists => {
                for mention in expected {
                    let slug = std::mem::replace(&mut mention["list_slug"], "".into());
                    let length = slug.as_str().expect("a part of the text").chars().count();
                    let end = mention["indices"][1].as_u64().expect("a place");
                    mention["indices"][1] = (end - length as u64).into();
                }
            }
        }
    }
}

const FILE: &str = "shared/data/twitter-text-extract.json";

fn file() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("TWITTER_TEXT_CASES") {
        return Some(path.into());
    }
    let here = std::env::current_dir().expect("a working directory");
    here.ancestors()
        .map(|above| above.join(FILE))
        .find(|path| path.is_file())
}

/// What is found, in the format of a section. None if the section is about something that this code does not look for.
fn found(section: &str, text: &str) -> Option<Vec<Value>> {
    let parsed = PostText::parse(text).expect("a text of the cases");
    // Our texts are trimmed, those of the cases are not.
    let trimmed = text.chars().take_while(|c| c.is_whitespace()).count();
    let entities = Entities::of(&parsed);
    let places = |start: u32, end: u32| json!([start as usize + trimmed, end as usize + trimmed]);
    let mentions = entities.mentions.iter();
    let hashtags = entities.hashtags.iter();
    let links = entities.links.iter();
    Some(match section {
        "mentions" => mentions.map(|found| json!(found.handle)).collect(),
        "mentions_with_indices" => mentions
            .map(|found| json!({ "screen_name": found.handle, "indices": places(found.start, found.end) }))
            .collect(),
        "mentions_or_lists_with_indices" => mentions
            .map(|found| json!({ "screen_name": found.handle, "list_slug": "", "indices": places(found.start, found.end) }))
            .collect(),
        "hashtags" | "hashtags_from_astral" => hashtags.map(|found| json!(found.tag)).collect(),
        "hashtags_with_indices" => hashtags
            .map(|found| json!({ "hashtag": found.tag, "indices": places(found.start, found.end) }))
            .collect(),
        "urls" | "tco_urls_with_params" => links.map(|found| json!(found.url)).collect(),
        "urls_with_indices" | "urls_with_directional_markers" => links
            .map(|found| json!({ "url": found.url, "indices": places(found.start, found.end) }))
            .collect(),
        // The field `in_reply_to` says what a post answers, not the beginning of its text. There are no cashtags.
        "replies" | "cashtags" | "cashtags_with_indices" => return None,
        other => panic!("unknown section {other}"),
    })
}

#[test]
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn the_public_cases_hold_but_for_listed_exceptions() {
    let Some(path) = file() else {
        eprintln!("skipped: {FILE} is in no directory above, and TWITTER_TEXT_CASES names no file");
        return;
    };
    let cases: Cases = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let mut exceptions = EXCEPTIONS.to_vec();
    let mut differences = Vec::new();
    for (section, cases) in &cases.tests {
        for case in cases {
            let Some(found) = found(section, &case.text) else {
                continue;
            };
            let mut expected = case.expected.as_array().unwrap().clone();
            let listed =
                |&(of, description, _): &(&str, &str, Reason)| of == section && description == case.description;
            // The exception counts only if the case still needs it.
            if found != expected
                && let Some(index) = exceptions.iter().position(listed)
            {
                exceptions.swap_remove(index).2.allow_for(&mut expected);
            }
            if found != expected {
                let (text, found, expected) = (&case.text, json!(found), json!(expected));
                differences.push(format!(
                    "{section}, {}: {text:?}: {found}, not {expected}",
                    case.description
                ));
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    let unused: Vec<_> = exceptions
        .iter()
        .map(|(section, description, _)| (section, description))
        .collect();
    assert!(unused.is_empty(), "these exceptions are not needed: {unused:?}");
}
