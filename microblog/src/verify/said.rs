//! What a post says, as hashes: texts are compared without keeping them. They do not resist deliberate collisions.

use std::hash::{DefaultHasher, Hash, Hasher};

use model::events::PostContent;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) text: u64,
    pub(super) warning: u64,
    pub(super) language: u64,
}

impl Said {
    pub(super) fn of(text: &str, warning: Option<&str>, language: Option<&str>) -> Self {
        Self {
            text: hash(text),
            warning: warning.map_or(0, hash),
            language: language.map_or(0, hash),
        }
    }
}

impl From<&PostContent> for Said {
    fn from(content: &PostContent) -> Self {
        Self::of(&content.text, content.warning.as_deref(), content.language.as_deref())
    }
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}
