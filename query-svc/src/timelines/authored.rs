//! Posts by given authors, found when they are read: one user's posts, and fan-out on read.

use std::cmp::Reverse;

use futures_util::{StreamExt, TryStreamExt};
use shared::ids::{PostId, UserId};

use crate::cursor::Cursor;
use crate::paging::Listing;
use crate::reading::{ReadError, Reading};
use crate::shown::{Candidate, List, ShownPost};
use crate::views::{End, Range, RelationId};

/// As many authors are asked for at once: a server merges a hundred sorted lists well, and takes another plan for many
/// more.
const CHUNK: usize = 100;

/// As many chunks of one page are asked for at a time, so that one reader does not take all connections.
const AT_ONCE: usize = 4;

/// The posts and reposts of one user.
#[derive(Debug)]
pub(crate) struct Authored<'a> {
    reading: &'a Reading,
    author: UserId,
    viewer: Option<UserId>,
    /// Whether the viewer may see posts for followers.
    all: bool,
}

impl<'a> Authored<'a> {
    pub(crate) async fn new(reading: &'a Reading, author: UserId, viewer: Option<UserId>) -> Result<Self, ReadError> {
        let all = match viewer {
            Some(viewer) if viewer == author => true,
            Some(viewer) => {
                let follow = RelationId::follow(viewer, author);
                reading.relations(vec![follow]).await?[&follow]
            }
            None => false,
        };
        Ok(Self {
            reading,
            author,
            viewer,
            all,
        })
    }

    async fn read(&self, range: Range<PostId>) -> Result<Vec<Candidate>, ReadError> {
        // A stranger's page does not step over posts that only followers see.
        let posts = &self.reading.views.posts;
        let heads = if self.all {
            self.reading.ask(posts.heads_of_authors(&[self.author], range)).await?
        } else {
            self.reading
                .ask(posts.public_heads_of_author(self.author, range))
                .await?
        };
        Ok(heads.into_iter().map(Candidate::from).collect())
    }
}

impl Listing for Authored<'_> {
    type Candidate = Candidate;
    type Item = ShownPost;

    fn place(candidate: &Candidate) -> Cursor {
        candidate.place()
    }

    async fn older(&mut self, below: Cursor, count: usize) -> Result<Vec<Candidate>, ReadError> {
        self.read(range(Cursor::BOTTOM, below, count, End::Newest)).await
    }

    async fn newer(&mut self, above: Cursor, count: usize) -> Result<Vec<Candidate>, ReadError> {
        let mut found = self.read(range(above, Cursor::TOP, count, End::Oldest)).await?;
        found.reverse();
        Ok(found)
    }

    async fn admit(&mut self, candidates: &[Candidate]) -> Result<Vec<Option<ShownPost>>, ReadError> {
        self.reading.show(candidates, self.viewer, List::Any).await
    }
}

/// The part of a list between two places.
pub(super) fn range(above: Cursor, below: Cursor, count: usize, end: End) -> Range<PostId> {
    Range {
        after: (above > Cursor::BOTTOM).then(|| above.to_post()),
        before: (below < Cursor::TOP).then(|| below.to_post()),
        limit: u32::try_from(count).unwrap_or(u32::MAX),
        end,
    }
}

/// Posts and reposts by any of these authors, newest first: in chunks, merged.
pub(super) async fn fan_out_on_read(
    reading: &Reading,
    authors: &[UserId],
    range: Range<PostId>,
) -> Result<Vec<Candidate>, ReadError> {
    // Collected: what maps lazily, across an await, is `Send` for one lifetime only, and pages are read in a task.
    let questions: Vec<_> = authors
        .chunks(CHUNK)
        .map(|chunk| reading.ask(reading.views.posts.heads_of_authors(chunk, range)))
        .collect();
    let chunks: Vec<_> = futures_util::stream::iter(questions)
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    let found = chunks.into_iter().flatten().map(Candidate::from).collect();
    Ok(merged(found, range.limit as usize, range.end))
}

/// The first `limit` of them from one end, each once, newest first.
///
/// The first items of a union are among the first items of its parts; so nothing is missing if each part gave as many.
pub(super) fn merged(mut candidates: Vec<Candidate>, limit: usize, end: End) -> Vec<Candidate> {
    candidates.sort_unstable_by_key(|candidate| Reverse(candidate.id));
    candidates.dedup_by_key(|candidate| candidate.id);
    match end {
        End::Newest => candidates.truncate(limit),
        End::Oldest => drop(candidates.drain(..candidates.len().saturating_sub(limit))),
    }
    candidates
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(n: u8) -> Candidate {
        Candidate {
            id: PostId::from_bytes([n; 16]),
            author: UserId::from_bytes([0; 16]),
            original: None,
        }
    }

    fn numbers(candidates: &[Candidate]) -> Vec<u8> {
        candidates.iter().map(|candidate| candidate.id.as_bytes()[0]).collect()
    }

    #[test]
    fn the_first_of_all_are_taken_from_either_end_and_each_once() {
        let all = || [5, 9, 2, 7, 9, 5, 1].map(candidate).to_vec();
        assert_eq!(numbers(&merged(all(), 3, End::Newest)), [9, 7, 5]);
        assert_eq!(numbers(&merged(all(), 3, End::Oldest)), [5, 2, 1]);
        assert_eq!(numbers(&merged(all(), 30, End::Newest)), [9, 7, 5, 2, 1]);
        assert_eq!(numbers(&merged(all(), 30, End::Oldest)), [9, 7, 5, 2, 1]);
    }

    #[test]
    fn a_range_without_bounds_has_none() {
        let whole = range(Cursor::BOTTOM, Cursor::TOP, 3, End::Newest);
        assert_eq!(whole, Range::newest(3));
        let cursor = Cursor::from_bytes([4; 16]);
        assert_eq!(
            range(Cursor::BOTTOM, cursor, 3, End::Newest),
            Range::before(cursor.to_post(), 3)
        );
        assert_eq!(
            range(cursor, Cursor::TOP, 3, End::Oldest),
            Range::after(cursor.to_post(), 3)
        );
    }
}
