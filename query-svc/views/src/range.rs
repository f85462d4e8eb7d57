//! The part of an ordered list that a query reads.

use bson::{Bson, Document};

/// The end of the range from which items are taken, if there are more than the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum End {
    #[default]
    Newest,
    /// For the page right after a cursor.
    Oldest,
}

/// A part of a list that is ordered by `I`. The result always begins with the newest item, even if it is taken from the oldest end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range<I> {
    /// Only older items.
    pub before: Option<I>,
    /// Only newer items.
    pub after: Option<I>,
    pub limit: u32,
    pub end: End,
}

impl<I> Range<I> {
    /// The newest `limit` items of all.
    pub fn newest(limit: u32) -> Self {
        Self {
            before: None,
            after: None,
            limit,
            end: End::Newest,
        }
    }

    /// The newest `limit` items that are older than `cursor`.
    pub fn before(cursor: I, limit: u32) -> Self {
        Self {
            before: Some(cursor),
            after: None,
            limit,
            end: End::Newest,
        }
    }

    /// The oldest `limit` items that are newer than `cursor`.
    pub fn after(cursor: I, limit: u32) -> Self {
        Self {
            before: None,
            after: Some(cursor),
            limit,
            end: End::Oldest,
        }
    }
}

impl<I: Copy + Ord> Range<I> {
    pub(super) fn has(&self, place: I) -> bool {
        self.before.is_none_or(|before| place < before) && self.after.is_none_or(|after| after < place)
    }
}

impl<I: Copy + Into<Bson>> Range<I> {
    /// Adds the bounds of `field` to a filter.
    pub(super) fn bound(&self, filter: &mut Document, field: &str) {
        let mut bounds = Document::new();
        if let Some(before) = self.before {
            bounds.insert("$lt", before);
        }
        if let Some(after) = self.after {
            bounds.insert("$gt", after);
        }
        if !bounds.is_empty() {
            filter.insert(field, bounds);
        }
    }
}

impl<I> Range<I> {
    /// The direction in which the list is read. -1 means from the newest item to the oldest.
    pub(super) fn direction(&self) -> i32 {
        match self.end {
            End::Newest => -1,
            End::Oldest => 1,
        }
    }

    /// Of items within the range, newest first: those that the limit leaves.
    pub(super) fn first_of<T>(&self, mut items: Vec<T>) -> Vec<T> {
        let over = items.len().saturating_sub(self.limit as usize);
        match self.end {
            End::Newest => items.truncate(self.limit as usize),
            End::Oldest => drop(items.drain(..over)),
        }
        items
    }

    /// Reorders items that were read in [`Range::direction`], so that the newest comes first.
    pub(super) fn newest_first<T>(&self, mut items: Vec<T>) -> Vec<T> {
        if self.end == End::Oldest {
            items.reverse();
        }
        items
    }
}
