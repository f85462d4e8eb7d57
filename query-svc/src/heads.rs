//! The newest part of home timelines, in memory, for owners who read them again and again.
//!
//! A head is filled from the rows of the followees' posts, and never from entries: a row is committed before the bus shows it, its entries
//! long after, and the bus shows the row once. From then on, the bus adds what appears, before the positions advance. So whoever reads a
//! head misses nothing that the positions cover.
//!
//! The order of filling: register, so that a change of what the owner follows makes the head invalid; read what the owner follows; register
//! for it, so that the bus adds what appears; read the rows.
//!
//! A head names candidates, as entries do. What is shown is decided when the page is read, so an unfollow, a block or a deletion removes
//! nothing from it. Below the place where it is complete, a page goes on with the database.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use model::ids::UserId;
use model::tags::TagKey;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use views::{Header, RelationKind};

use crate::bus::{Change, Listener, PostChange};
use crate::cursor::Cursor;
use crate::live::{Index, Key};
use crate::paging::Part;
use crate::shown::{Candidate, HomeRules, Replies};
use crate::timelines::Density;

/// How many candidates a new head has, enough for several pages. It grows to twice as many.
pub(crate) const LENGTH: usize = 120;
/// About what a place in the index takes.
const PLACE: usize = 64;
/// How many owners are remembered who have read once. The second time, they get a head.
const REMEMBERED: usize = 20_000;

/// The heads of one change stream.
#[derive(Debug)]
pub(crate) struct Heads {
    /// Those that were read longest ago make room for others. None if heads are switched off.
    heads: Option<Cache<UserId, Arc<Head>, Bytes>>,
    index: Mutex<Index<Head>>,
    once: Cache<UserId, ()>,
}

#[derive(Debug)]
pub(crate) struct Head {
    /// The owner follows somebody or something else now.
    invalid: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The owner and everybody whom the owner follows.
    sources: Arc<[UserId]>,
    tags: Vec<TagKey>,
    exclusive_lists: bool,
    last_read: Option<DateTime<Utc>>,
    /// The floor of the timeline when the head was filled. It only rises.
    floor: Cursor,
    /// In the order of their places, each once.
    candidates: Vec<Candidate>,
    /// No candidate above this place is missing.
    complete_above: Cursor,
    bytes: u64,
}

#[derive(Debug, Clone)]
struct Bytes;

impl Weighter<UserId, Arc<Head>> for Bytes {
    fn weight(&self, _: &UserId, head: &Arc<Head>) -> u64 {
        head.lock().bytes
    }
}

/// A head that is being filled.
#[derive(Debug)]
pub(crate) struct Filling<'a> {
    heads: &'a Heads,
    owner: UserId,
    head: Arc<Head>,
    sources: Arc<[UserId]>,
    places: usize,
}

impl Heads {
    /// `max_bytes`: 0 switches them off.
    pub(crate) fn new(max_bytes: u64) -> Self {
        let typical = (LENGTH * size_of::<Candidate>()) as u64;
        let items = usize::try_from(max_bytes / typical).unwrap_or(usize::MAX);
        Self {
            heads: (max_bytes > 0).then(|| Cache::with_weighter(items.max(1), max_bytes, Bytes)),
            index: Mutex::new(Index::default()),
            once: Cache::new(REMEMBERED),
        }
    }

    pub(crate) fn of(&self, owner: UserId) -> Option<Arc<Head>> {
        let head = self.heads.as_ref()?.get(&owner)?;
        head.is_valid().then_some(head)
    }

    /// Begins to fill the head of an owner who reads again. None if the owner reads for the first time.
    pub(crate) fn fill(&self, owner: UserId) -> Option<Filling<'_>> {
        self.heads.as_ref()?;
        if self.once.get(&owner).is_none() {
            self.once.insert(owner, ());
            return None;
        }
        let head = Arc::new(Head {
            invalid: AtomicBool::new(false),
            state: Mutex::default(),
        });
        // Until the rows are read, everything is kept.
        self.index().add(&head, &[Key::Home(owner)]);
        Some(Filling {
            heads: self,
            owner,
            head,
            sources: Arc::default(),
            places: 1,
        })
    }

    fn index(&self) -> MutexGuard<'_, Index<Head>> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Filling<'_> {
    /// From now on, the bus adds what these users post, and what has these tags.
    pub(crate) fn follow(&mut self, sources: &[UserId], tags: &[TagKey]) {
        self.sources = sources.into();
        let authors = sources.iter().copied().map(Key::Author);
        let keys: Vec<Key> = authors.chain(tags.iter().map(|tag| Key::Tag(tag.prefix()))).collect();
        self.places += keys.len();
        self.heads.index().add(&self.head, &keys);
    }

    /// Takes the newest rows, newest first, which were read after [`Self::follow`].
    pub(crate) fn finish(self, newest: &Part<Candidate>, rules: &HomeRules, header: &Header) -> Arc<Head> {
        let mut state = self.head.lock();
        state.complete_above = newest.more.map_or(Cursor::BOTTOM, Cursor::below);
        let complete_above = state.complete_above;
        state.candidates.retain(|it| it.place() > complete_above);
        for &candidate in newest.candidates.iter().rev() {
            state.insert(candidate);
        }
        state.tags = rules.tags.clone();
        state.exclusive_lists = rules.exclusive_lists;
        state.last_read = header.last_read;
        state.floor = header.floor.map_or(Cursor::BOTTOM, Cursor::from);
        let bytes =
            size_of::<Head>() + 2 * LENGTH * size_of::<Candidate>() + size_of_val(&*self.sources) + self.places * PLACE;
        state.sources = self.sources;
        state.bytes = bytes as u64;
        drop(state);
        if let Some(heads) = &self.heads.heads {
            heads.insert(self.owner, self.head.clone());
        }
        self.head
    }
}

impl State {
    /// Adds a candidate at its place, once.
    fn insert(&mut self, candidate: Candidate) {
        if candidate.place() <= self.complete_above {
            return;
        }
        // Most are the newest of all.
        let at = self.candidates.partition_point(|it| it.place() < candidate.place());
        if self.candidates.get(at).is_none_or(|it| it.place() != candidate.place()) {
            self.candidates.insert(at, candidate);
        }
        if self.candidates.len() > 2 * LENGTH {
            let oldest = self.candidates.len() - LENGTH;
            self.complete_above = self.candidates[oldest - 1].place();
            self.candidates.drain(..oldest);
        }
    }
}

impl Head {
    fn is_valid(&self) -> bool {
        !self.invalid.load(Ordering::Acquire)
    }

    /// The newest candidates below a place. None if the head does not reach below it.
    pub(crate) fn older(&self, below: Cursor, count: usize) -> Option<Part<Candidate>> {
        let state = self.lock();
        if below <= state.complete_above.above() {
            return None;
        }
        let end = state.candidates.partition_point(|it| it.place() < below);
        let candidates: Vec<Candidate> = state.candidates[..end].iter().rev().take(count).copied().collect();
        let more = match candidates.last() {
            Some(last) if candidates.len() == count => Some(last.place()),
            _ => (state.complete_above > Cursor::BOTTOM).then(|| state.complete_above.above()),
        };
        Some(Part { candidates, more })
    }

    /// The oldest candidates above a place. None if the head is not complete above it.
    pub(crate) fn newer(&self, above: Cursor, count: usize) -> Option<Part<Candidate>> {
        let state = self.lock();
        if above < state.complete_above {
            return None;
        }
        let begin = state.candidates.partition_point(|it| it.place() <= above);
        let candidates = state.candidates[begin..].iter().take(count).copied().collect();
        Some(Part::of(candidates, count, Candidate::place))
    }

    pub(crate) fn rules(&self, replies: Replies) -> HomeRules {
        let state = self.lock();
        HomeRules {
            tags: state.tags.clone(),
            exclusive_lists: state.exclusive_lists,
            replies,
        }
    }

    /// Whose posts the timeline has, for what lies below the head.
    pub(crate) fn sources(&self) -> (Arc<[UserId]>, Option<Density>) {
        let state = self.lock();
        (state.sources.clone(), Density::of(&state.candidates))
    }

    pub(crate) fn floor(&self) -> Cursor {
        self.lock().floor
    }

    /// When the owner was here, as it is recorded.
    pub(crate) fn last_read(&self) -> Option<DateTime<Utc>> {
        self.lock().last_read
    }

    pub(crate) fn note_visit(&self, at: DateTime<Utc>) {
        self.lock().last_read = Some(at);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener for Heads {
    fn hear(&self, change: &Change) {
        let mut index = self.index();
        if index.is_empty() {
            return;
        }
        match change {
            Change::Post(id, PostChange::Appeared(it)) => {
                let candidate = it.candidate(*id);
                index.visit(Key::Author(it.author), |head| head.lock().insert(candidate));
            }
            &Change::Tagged(tag, post, author) => {
                let candidate = Candidate::of(post, author);
                index.visit(Key::Tag(tag), |head| head.lock().insert(candidate));
            }
            Change::Relation(id) if id.kind() == RelationKind::Follow => {
                index.visit(Key::Home(id.viewer()), Head::invalidate);
            }
            &Change::FollowedTag(user) | &Change::ExclusiveLists(user) => {
                index.visit(Key::Home(user), Head::invalidate);
            }
            _ => {}
        }
    }
}

impl Head {
    fn invalidate(&self) {
        self.invalid.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use model::ids::PostId;
    use proptest::prelude::*;

    use super::*;

    fn candidate(number: u8) -> Candidate {
        let mut id = [0; 16];
        id[15] = number;
        Candidate::of(PostId::from_bytes(id), UserId::from_bytes([1; 16]))
    }

    fn part(numbers: &[u8], ends: bool) -> Part<Candidate> {
        let candidates: Vec<Candidate> = numbers.iter().rev().map(|&number| candidate(number)).collect();
        let more = candidates.last().filter(|_| !ends).map(Candidate::place);
        Part { candidates, more }
    }

    fn filled(heads: &Heads, newest: &Part<Candidate>) -> Arc<Head> {
        let owner = UserId::from_bytes([9; 16]);
        assert!(heads.fill(owner).is_none(), "the first visit");
        let mut filling = heads.fill(owner).unwrap();
        filling.follow(&[UserId::from_bytes([1; 16])], &[]);
        filling.finish(newest, &HomeRules::default(), &Header::default())
    }

    #[test]
    fn a_follow_makes_it_invalid_even_while_it_is_filled() {
        let heads = Heads::new(1_000_000);
        let owner = UserId::from_bytes([9; 16]);
        let follow = Change::Relation(views::RelationId::follow(owner, UserId::from_bytes([2; 16])));
        filled(&heads, &part(&[1], true));
        assert!(heads.of(owner).is_some());
        heads.hear(&follow);
        assert!(heads.of(owner).is_none());
        let filling = heads.fill(owner).unwrap();
        heads.hear(&follow);
        filling.finish(&part(&[1], true), &HomeRules::default(), &Header::default());
        assert!(heads.of(owner).is_none());
        assert!(Heads::new(0).fill(owner).is_none(), "switched off");
    }

    proptest! {
        /// It shows what a list of all candidates would, as far as it is complete.
        #[test]
        fn it_is_the_newest_part_of_the_list(
            rows in proptest::collection::btree_set(1_u8..100, 0..40),
            ends: bool,
            meanwhile in proptest::collection::vec(1_u8..=255, 0..10),
            later in proptest::collection::vec(1_u8..=255, 0..300),
            place: u8,
            count in 1_usize..30,
        ) {
            let heads = Heads::new(1_000_000);
            let rows: Vec<u8> = rows.into_iter().collect();
            let owner = UserId::from_bytes([9; 16]);
            prop_assert!(heads.fill(owner).is_none());
            let filling = heads.fill(owner).unwrap();
            for &number in &meanwhile {
                filling.head.lock().insert(candidate(number));
            }
            let head = filling.finish(&part(&rows, ends), &HomeRules::default(), &Header::default());
            let mut all: Vec<u8> = rows.iter().chain(&meanwhile).chain(&later).copied().collect();
            for &number in &later {
                head.lock().insert(candidate(number));
            }
            all.sort_unstable();
            all.dedup();
            let complete_above = head.lock().complete_above;
            let known = |number: &u8| candidate(*number).place() > complete_above;
            let places = |numbers: Vec<u8>| numbers.into_iter().map(|it| candidate(it).place()).collect::<Vec<_>>();
            let shown = |part: Part<Candidate>| part.candidates.iter().map(Candidate::place).collect::<Vec<_>>();
            let at = candidate(place).place();
            if let Some(part) = head.older(at, count) {
                let expected = all.iter().rev().copied().filter(|it| known(it) && *it < place).take(count).collect();
                prop_assert_eq!(shown(part), places(expected));
            }
            match head.newer(at, count) {
                Some(part) => {
                    let expected = all.iter().copied().filter(|it| *it > place).take(count).collect();
                    prop_assert_eq!(shown(part), places(expected));
                }
                None => prop_assert!(at < complete_above),
            }
        }
    }
}
