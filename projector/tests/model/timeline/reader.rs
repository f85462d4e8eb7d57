//! What a page shows, and what it should show.

use super::{AUTHORS, Event, Home, Id, Mutation, POSTS, Set, State, bit, members};

/// The part of a header that a page needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Seen {
    floor: Id,
    idle: bool,
    large: [bool; AUTHORS],
}

impl From<Home> for Seen {
    fn from(home: Home) -> Self {
        Self {
            floor: home.floor,
            idle: home.idle,
            large: home.large,
        }
    }
}

/// A page that is read step by step, in a visit that does not count: `Home::look`, then the rest of `Home::older`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Page {
    /// `HomeTimelines::page` reads the entries.
    entries: Option<Set>,
    /// It has the entries, and reads the header.
    header: Option<Seen>,
    /// Everything was handled when it began, and nothing was written since.
    pub(super) settled: bool,
}

/// The verdict on a page that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum PageRead {
    Nothing,
    UnderWay(Page),
    Done {
        /// It shows what it should, as far as that can be expected.
        exact: bool,
        has_no_hole: bool,
        above_and_below: bool,
    },
}

impl State {
    /// The next step of [`PageRead`].
    pub(super) fn read(&mut self, mutation: Mutation) {
        let PageRead::UnderWay(mut page) = self.reading else {
            self.left.pages -= 1;
            self.reading = PageRead::UnderWay(Page {
                entries: None,
                header: None,
                settled: self.all_is_handled(),
            });
            return;
        };
        let header_first = mutation == Mutation::HeaderBeforeEntries;
        self.reading = match (page.entries, page.header) {
            (Some(entries), Some(header)) => {
                let (shown, above) = (self.shown_of(entries, header), self.above_the_floor(header));
                PageRead::Done {
                    exact: !page.settled || shown == self.expected(),
                    has_no_hole: self.has_no_hole(shown),
                    above_and_below: shown & above != 0 && shown & !above != 0,
                }
            }
            (None, header) if header.is_some() || !header_first => {
                page.entries = Some(self.home.entries);
                PageRead::UnderWay(page)
            }
            _ => {
                page.header = Some(self.home.into());
                PageRead::UnderWay(page)
            }
        };
    }

    pub(super) fn all_is_handled(&self) -> bool {
        self.lanes.iter().all(|lane| lane.handled == bit(lane.last) - 1)
    }

    /// Whether a client has written the post, and not deleted it.
    pub(super) fn should_be_live(&self, author: usize, post: u8) -> bool {
        let log = &self.lanes[author].log;
        log.contains(&Event::Post(post)) && !log.contains(&Event::Delete(post))
    }

    /// What the events say: the posts that are not deleted, by authors whom the owner follows now.
    pub(super) fn expected(&self) -> Set {
        let followed = (0..AUTHORS).filter(|&author| self.lanes[author].owner_should_follow());
        let live = |author| (0..self.created).filter(move |&post| self.should_be_live(author, post));
        followed.flat_map(live).map(bit).sum()
    }

    /// The posts above the floor. For an idle owner, all are below.
    pub(super) fn covered(&self) -> Set {
        self.above_the_floor(self.home.into())
    }

    fn above_the_floor(&self, header: Seen) -> Set {
        let above = |&post: &usize| !header.idle && self.posts[post].id > header.floor;
        (0..POSTS).filter(above).map(|post| 1 << post).sum()
    }

    /// What the owner's page shows if it is read in one step.
    pub(super) fn shown(&self) -> Set {
        self.shown_of(self.home.entries, self.home.into())
    }

    /// What the owner's page shows if it has no end: `Home::older` and `Home::admit`.
    ///
    /// Above the floor it has the entries, and the posts of large authors whom the owner follows (`Home::with_large`). Below the floor it
    /// has the posts of all whom the owner follows (`Home::by_all_sources`). It shows those that are live (`show`).
    fn shown_of(&self, entries: Set, header: Seen) -> Set {
        let by = |wanted: &dyn Fn(usize) -> bool| -> Set {
            let posts = (0..POSTS).filter(|&post| wanted(usize::from(self.posts[post].author)));
            posts.map(|post| 1 << post).sum()
        };
        let follows = |author: usize| self.lanes[author].owner_follows();
        let (above, followed) = (self.above_the_floor(header), by(&follows));
        let large = by(&|author| follows(author) && header.large[author]);
        let candidates = (above & (entries | large)) | (!above & followed);
        let live = (0..POSTS).filter(|&post| self.posts[post].is_live());
        candidates & followed & live.map(|post| 1 << post).sum::<Set>()
    }

    /// Whether a page that shows a post also shows what the same author wrote earlier, with a lower id.
    pub(super) fn has_no_hole(&self, shown: Set) -> bool {
        members(shown).all(|newer| {
            let author = usize::from(self.posts[newer].author);
            (0..newer).all(|older| {
                let (older_post, newer_post) = (&self.posts[older], &self.posts[newer]);
                let precedes = usize::from(older_post.author) == author && older_post.id < newer_post.id;
                !precedes || !older_post.is_live() || shown & 1 << older != 0
            })
        })
    }
}
