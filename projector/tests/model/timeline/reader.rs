//! What a page shows, and what it should.

use super::{AUTHORS, Event, POSTS, Set, State, bit, members};

impl State {
    pub(super) fn all_is_handled(&self) -> bool {
        self.lanes.iter().all(|lane| lane.handled == bit(lane.last) - 1)
    }

    /// Whether a client has written the post, and not deleted it.
    pub(super) fn should_be_live(&self, author: usize, post: u8) -> bool {
        let log = &self.lanes[author].log;
        log.contains(&Event::Post(post)) && !log.contains(&Event::Delete(post))
    }

    /// What the history says: the posts that are not deleted, by authors whom the owner follows now.
    pub(super) fn expected(&self) -> Set {
        let followed = (0..AUTHORS).filter(|&author| self.lanes[author].owner_should_follow());
        let live = |author| (0..self.created).filter(move |&post| self.should_be_live(author, post));
        followed.flat_map(live).map(bit).sum()
    }

    /// The posts above the floor. All of an idle owner's lie below.
    pub(super) fn covered(&self) -> Set {
        let above = |&post: &usize| !self.home.idle && self.posts[post].id > self.home.floor;
        (0..POSTS).filter(above).map(|post| 1 << post).sum()
    }

    /// What the owner's page shows, without an end: `Home::older` and `Home::admit`.
    ///
    /// Above the floor there are the entries, and the posts by large authors whom the owner follows
    /// (`Home::with_large`); below it the posts by all whom the owner follows (`Home::by_all_sources`). Of these, what
    /// is live is shown (`Reading::show`).
    pub(super) fn shown(&self) -> Set {
        let by = |wanted: &dyn Fn(usize) -> bool| -> Set {
            let posts = (0..POSTS).filter(|&post| wanted(usize::from(self.posts[post].author)));
            posts.map(|post| 1 << post).sum()
        };
        let follows = |author: usize| self.lanes[author].owner_follows();
        let (above, followed) = (self.covered(), by(&follows));
        let large = by(&|author| follows(author) && self.home.large[author]);
        let candidates = (above & (self.home.entries | large)) | (!above & followed);
        let live = (0..POSTS).filter(|&post| self.posts[post].is_live());
        candidates & followed & live.map(|post| 1 << post).sum::<Set>()
    }

    /// Whether a page that shows a post also shows what the same author wrote earlier, with a lower id.
    pub(super) fn has_no_hole(&self) -> bool {
        let shown = self.shown();
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
