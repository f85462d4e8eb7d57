//! Fan-out on read: the posts and reposts of given authors, found when they are read.

use std::cmp::Reverse;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::{StreamExt, TryStreamExt};
use model::ids::{PostId, UserId};

use crate::cursor::Cursor;
use crate::paging::{LONGER, Part, shortened};
use crate::read_model::{ReadError, ReadModel};
use crate::shown::Candidate;
use views::{End, Range};

/// How many authors one question names if the range may be long. A server merges a hundred sorted lists well, and stops at
/// the limit. For many more authors it chooses another plan, which reads everything in the range.
const CHUNK: usize = 100;

/// How many authors one question names if the range is short. It may name more, so that [`MOST_QUESTIONS`] are enough for all
/// authors. The stand-in for MongoDB compares with each author. For 10,000 authors, chunks of 400 took half as long as chunks
/// of 100, and a third as long as chunks of 1,000.
const LARGE_CHUNK: usize = 400;

/// The most questions that one step asks, for any number of authors.
const MOST_QUESTIONS: usize = 32;

/// How many questions of one page run at a time, so that one reader does not take all connections.
const AT_ONCE: usize = 4;

/// For more authors than this, the range is made short.
const FEW: usize = CHUNK * AT_ONCE;

/// How many posts an author writes in a day. This gives the first guess of how far back a page reaches.
const POSTS_A_DAY: i64 = 1;

/// To find a page of posts by many authors, one question reads this many pages of posts by anybody. If the authors write a large part of all
/// posts, one question or a few are enough, however many authors there are.
const LOOKED_THROUGH: usize = 4;

/// This goes on while at least one in so many posts is by one of the authors. After that, questions name the authors.
const WORTH_IT: usize = 20;

/// How close together the posts of some authors were when they were looked at last. It is a guess, so it may be old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Density {
    newest: DateTime<Utc>,
    between: TimeDelta,
}

impl Density {
    /// What candidates in the order of their places say, in either direction.
    pub(crate) fn of(candidates: &[Candidate]) -> Option<Self> {
        let [one, .., other] = candidates else { return None };
        let (one, other) = (one.id.time(), other.id.time());
        let steps = i32::try_from(candidates.len() - 1).ok()?;
        Some(Self {
            newest: one.max(other),
            // Ids tell milliseconds apart, and many posts may be of the same one.
            between: ((one - other).abs() / steps).max(TimeDelta::milliseconds(1)),
        })
    }

    /// A page that lies deeper says nothing of how long nobody has looked.
    pub(super) fn after(self, before: Option<Self>) -> Self {
        let newest = before.map_or(self.newest, |before| before.newest.max(self.newest));
        Self { newest, ..self }
    }

    /// How far below `from` a range must begin to have twice `count` posts.
    pub(super) fn span(&self, from: DateTime<Utc>, count: usize) -> TimeDelta {
        let posts = i32::try_from(count).unwrap_or(i32::MAX).saturating_mul(2);
        let silence = (from - self.newest).max(TimeDelta::zero());
        let span = self.between.checked_mul(posts).unwrap_or(TimeDelta::MAX);
        silence.checked_add(&span).unwrap_or(span)
    }
}

/// Some authors, whose posts are read from one place on.
#[derive(Debug)]
pub(super) struct Authors {
    authors: Vec<UserId>,
    /// The posts by anybody are looked through first. Then the authors are in order.
    looks_through: bool,
    density: Option<Density>,
    /// The length of the next range, once it was made short.
    span: Option<TimeDelta>,
}

impl Authors {
    pub(super) fn new(authors: Vec<UserId>) -> Self {
        Self {
            authors,
            looks_through: false,
            density: None,
            span: None,
        }
    }

    /// Authors in order, who may write much of all that is written.
    pub(super) fn looked_for(authors: Vec<UserId>) -> Self {
        Self {
            looks_through: true,
            ..Self::new(authors)
        }
    }

    /// The same. How far back a page reaches is guessed by what was found before.
    pub(super) fn with_density(self, density: Option<Density>) -> Self {
        Self { density, ..self }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.authors.is_empty()
    }

    pub(super) fn density(&self) -> Option<Density> {
        self.density
    }

    /// What the authors posted between two places, from one end on.
    pub(super) async fn part(
        &mut self,
        read_model: &ReadModel,
        between: (Cursor, Cursor),
        count: usize,
        end: End,
        now: DateTime<Utc>,
    ) -> Result<Part<Candidate>, ReadError> {
        let part = self.first_between(read_model, between, count, end, now).await?;
        if let Some(found) = Density::of(&part.candidates) {
            self.density = Some(found.after(self.density));
        }
        Ok(part)
    }

    async fn first_between(
        &mut self,
        read_model: &ReadModel,
        (above, below): (Cursor, Cursor),
        count: usize,
        end: End,
        now: DateTime<Utc>,
    ) -> Result<Part<Candidate>, ReadError> {
        let Some(guess) = self.span.or_else(|| self.guess(below, count, now)) else {
            return self.between(read_model, CHUNK, range(above, below, count, end)).await;
        };
        self.span = Some(guess);
        let (above, below, more) = shortened(above, below, guess, end, now);
        let part = if self.looks_through {
            let wide = range(above, below, count * LOOKED_THROUGH, end);
            self.look_through(read_model, wide, count).await?
        } else {
            let range = range(above, below, count, end);
            self.between(read_model, large_chunk(self.authors.len()), range).await?
        };
        if part.more.is_some() {
            return Ok(part);
        }
        self.span = Some(guess.checked_mul(LONGER).unwrap_or(guess));
        Ok(Part { more, ..part })
    }

    /// The length of the first range. None if the whole range is one question for each [`CHUNK`].
    fn guess(&self, below: Cursor, count: usize, now: DateTime<Utc>) -> Option<TimeDelta> {
        let assumed = first_guess(self.authors.len(), count);
        let from = below.to_post().time().min(now);
        // If nobody has looked for long, much may have been written since.
        let known = self.density.filter(|density| from - density.newest <= assumed);
        let known = known.map(|density| density.span(from, count));
        known.or((self.authors.len() > FEW).then_some(assumed))
    }

    /// The first `count` posts by the authors among the first ones by anybody. They may be fewer, and then the part ends where the look ended.
    async fn look_through(
        &mut self,
        read_model: &ReadModel,
        range: Range<PostId>,
        count: usize,
    ) -> Result<Part<Candidate>, ReadError> {
        let heads = read_model.ask(read_model.views.posts.heads_of_everybody(range)).await?;
        let looked_at = heads.len();
        let found = heads.into_iter().map(Candidate::from).collect();
        let mut part = in_direction(found, count * LOOKED_THROUGH, range.end);
        part.candidates
            .retain(|candidate| self.authors.binary_search(&candidate.author).is_ok());
        self.looks_through = part.candidates.len() * WORTH_IT >= looked_at;
        if part.candidates.len() > count {
            part.candidates.truncate(count);
            part.more = part.candidates.last().map(Candidate::place);
        }
        Ok(part)
    }

    /// Asks for the authors in chunks, and merges the answers.
    async fn between(
        &self,
        read_model: &ReadModel,
        chunk: usize,
        range: Range<PostId>,
    ) -> Result<Part<Candidate>, ReadError> {
        let count = range.limit as usize;
        // Collect first. A lazy map that is held across an await is `Send` for one lifetime only, and pages are read in a
        // task.
        let questions: Vec<_> = self
            .authors
            .chunks(chunk)
            .map(|chunk| read_model.ask(read_model.views.posts.heads_of_authors(chunk, range)))
            .collect();
        let chunks: Vec<_> = futures_util::stream::iter(questions)
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        let parts = chunks.into_iter().map(|heads| {
            let found = heads.into_iter().map(Candidate::from).collect();
            in_direction(found, count, range.end)
        });
        Ok(merged(parts.collect(), count, range.end))
    }
}

fn large_chunk(authors: usize) -> usize {
    authors.div_ceil(MOST_QUESTIONS).max(LARGE_CHUNK)
}

/// Twice the time in which so many authors write a page.
fn first_guess(authors: usize, count: usize) -> TimeDelta {
    let authors = i64::try_from(authors).unwrap_or(i64::MAX);
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    let day = TimeDelta::days(1).num_milliseconds();
    let span = day.saturating_mul(count).saturating_mul(2) / authors.saturating_mul(POSTS_A_DAY).max(1);
    TimeDelta::milliseconds(span.max(1_000))
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

/// The answer to a question for `count`, which is newest first, in the direction in which it was asked.
pub(super) fn in_direction(mut found: Vec<Candidate>, count: usize, end: End) -> Part<Candidate> {
    if end == End::Oldest {
        found.reverse();
    }
    Part::of(found, count, Candidate::place)
}

/// The first `count` candidates of all parts, each once.
///
/// The first items of a union are among the first items of its parts. So nothing is missing up to where the shortest part
/// ends.
pub(super) fn merged(parts: Vec<Part<Candidate>>, count: usize, end: End) -> Part<Candidate> {
    let ends = parts.iter().filter_map(|part| part.more);
    let mut more = match end {
        End::Newest => ends.max(),
        End::Oldest => ends.min(),
    };
    let complete = |candidate: &Candidate| {
        more.is_none_or(|more| match end {
            End::Newest => candidate.place() >= more,
            End::Oldest => candidate.place() <= more,
        })
    };
    let mut candidates: Vec<Candidate> = parts
        .into_iter()
        .flat_map(|part| part.candidates)
        .filter(complete)
        .collect();
    match end {
        End::Newest => candidates.sort_unstable_by_key(|candidate| Reverse(candidate.id)),
        End::Oldest => candidates.sort_unstable_by_key(|candidate| candidate.id),
    }
    candidates.dedup_by_key(|candidate| candidate.id);
    if candidates.len() >= count {
        candidates.truncate(count);
        more = candidates.last().map(Candidate::place);
    }
    Part { candidates, more }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidate(n: u8) -> Candidate {
        Candidate {
            id: PostId::from_bytes([n; 16]),
            author: UserId::from_bytes([0; 16]),
            original: None,
            position: None,
        }
    }

    proptest! {
        /// The result is what one list that has all of them would have given.
        #[test]
        fn parts_are_merged_into_what_the_whole_list_would_have_given(
            lists in proptest::collection::vec(proptest::collection::btree_set(1_u8.., 0..12), 1..4),
            asked in 1_usize..8,
            count in 1_usize..8,
            newest: bool,
        ) {
            let end = if newest { End::Newest } else { End::Oldest };
            let first_of = |all: &std::collections::BTreeSet<u8>, count: usize| {
                let all = all.iter().copied();
                if newest { all.rev().take(count).collect::<Vec<_>>() } else { all.take(count).collect() }
            };
            let parts = lists.iter().map(|list| {
                Part::of(first_of(list, asked).into_iter().map(candidate).collect(), asked, Candidate::place)
            });
            let part = merged(parts.collect(), count, end);
            let found: Vec<u8> = part.candidates.iter().map(|candidate| candidate.id.as_bytes()[0]).collect();
            let whole = lists.iter().flatten().copied().collect();
            let expected = first_of(&whole, found.len());
            prop_assert_eq!(&found, &expected, "without a gap");
            prop_assert!(found.len() >= asked.min(count).min(whole.len()));
            prop_assert!(part.more.is_some() || found.len() == whole.len());
        }
    }

    #[test]
    fn the_first_range_is_as_long_as_a_page_was_before() {
        let now = DateTime::from_timestamp(1_764_000_000, 0).unwrap();
        let ago = |seconds| now - TimeDelta::seconds(seconds);
        let found =
            [60, 70, 80, 90].map(|seconds| Candidate::of(PostId::new(ago(seconds)), UserId::from_bytes([0; 16])));
        let authors = |number, density| Authors::new(vec![UserId::from_bytes([0; 16]); number]).with_density(density);
        let guess = |number, density, below, now| authors(number, density).guess(below, 21, now);
        let density = Density::of(&found);
        assert_eq!(
            density,
            Density::of(&[found[3], found[2], found[1], found[0]]),
            "in either direction"
        );
        let page = TimeDelta::seconds(2 * 21 * 10);
        for number in [1, FEW + 1] {
            let since_then = Some(page + TimeDelta::seconds(60));
            assert_eq!(
                guess(number, density, Cursor::TOP, now),
                since_then,
                "and what is newer"
            );
            assert_eq!(guess(number, density, found[2].place(), now), Some(page));
        }
        let later = now + TimeDelta::days(365);
        for density in [None, density] {
            assert_eq!(guess(1, density, Cursor::TOP, later), None);
            let assumed = first_guess(FEW + 1, 21);
            assert_eq!(guess(FEW + 1, density, Cursor::TOP, later), Some(assumed));
        }
        assert_eq!(Density::of(&found[..1]), None);
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

    #[test]
    fn the_questions_of_a_step_are_bounded() {
        for authors in [401_usize, 10_000, 100_000, 1_000_000] {
            assert!(authors.div_ceil(large_chunk(authors)) <= MOST_QUESTIONS);
        }
        assert_eq!(10_000_usize.div_ceil(large_chunk(10_000)), 25);
    }

    /// From one end to the other, every place lies in one part of the range.
    #[test]
    fn short_ranges_follow_each_other_without_a_gap_and_end() {
        let now = DateTime::from_timestamp(1_764_000_000, 0).unwrap();
        let mut span = first_guess(10_000, 21);
        assert!(span < TimeDelta::minutes(10), "{span}");
        let (mut below, mut steps) = (Cursor::TOP, 0);
        loop {
            let (above, _, more) = shortened(Cursor::BOTTOM, below, span, End::Newest, now);
            steps += 1;
            let Some(more) = more else { break };
            // The next question asks for what is below `more`. This one asked for what is above `above`.
            assert!(more == above.above() && more < below);
            (below, span) = (more, span * LONGER);
        }
        assert!(steps <= 9, "{steps}");
        let (_, below, more) = shortened(below, Cursor::TOP, TimeDelta::hours(1), End::Oldest, now);
        assert_eq!(more, Some(below.below()));
        let newest = Cursor::from(PostId::new(now - TimeDelta::minutes(1)));
        let whole = shortened(newest, Cursor::TOP, TimeDelta::hours(1), End::Oldest, now);
        assert_eq!(whole, (newest, Cursor::TOP, None));
    }
}
