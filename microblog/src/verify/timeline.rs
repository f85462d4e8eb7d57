//! A home timeline, merged entry by entry from the lists of its authors, so that the whole timeline is never in memory.

use std::collections::{BTreeSet, BinaryHeap};

use model::ids::PostId;

use super::oracle::UserIndex;

/// A post, or a repost and what it reposts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Entry {
    pub(super) id: PostId,
    pub(super) original: Option<PostId>,
}

/// Entries of several authors and others, each once, newest first.
#[derive(Debug)]
pub(super) struct HomeTimeline<'a> {
    /// The next entry of each author, the newest on top.
    heads: BinaryHeap<(Entry, UserIndex, &'a [Entry])>,
    /// Entries by any authors.
    others: BTreeSet<(Entry, UserIndex)>,
}

impl<'a> HomeTimeline<'a> {
    /// Each author's entries come newest first.
    pub(super) fn merge(
        authors: impl IntoIterator<Item = (UserIndex, &'a [Entry])>,
        others: BTreeSet<(Entry, UserIndex)>,
    ) -> Self {
        let heads = authors.into_iter().filter_map(|(author, entries)| {
            let (&first, rest) = entries.split_first()?;
            Some((first, author, rest))
        });
        Self {
            heads: heads.collect(),
            others,
        }
    }
}

impl Iterator for HomeTimeline<'_> {
    type Item = (UserIndex, Entry);

    fn next(&mut self) -> Option<(UserIndex, Entry)> {
        let head = self.heads.peek().map(|&(entry, author, _)| (entry, author));
        if self.others.last().copied() > head {
            return self.others.pop_last().map(|(entry, author)| (author, entry));
        }
        let (entry, author, rest) = self.heads.pop()?;
        self.others.remove(&(entry, author));
        if let Some((&next, rest)) = rest.split_first() {
            self.heads.push((next, author, rest));
        }
        Some((author, entry))
    }
}
