//! What decides which posts and users a viewer sees.

use std::collections::HashSet;

use chrono::{DateTime, Utc};

use super::oracle::{Oracle, PostFacts, UserFacts, UserIndex};
use super::timeline::Entry;
use model::ids::PostId;
use model::values::Visibility;

/// A viewer, and how the viewer stands to others.
#[derive(Debug, Clone, Default)]
pub(super) struct Sight {
    /// None: without an account.
    pub(super) viewer: Option<UserIndex>,
    pub(super) followees: HashSet<UserIndex>,
    /// In either direction.
    pub(super) blocks: HashSet<UserIndex>,
    pub(super) mutes: HashSet<UserIndex>,
}

impl Sight {
    /// Whether the viewer may see a post of this author. `closed`: only followers may.
    fn admits(&self, author: UserIndex, closed: bool) -> bool {
        let open = !self.blocks.contains(&author) && (!closed || self.followees.contains(&author));
        self.viewer == Some(author) || open
    }

    pub(super) fn mutes(&self, author: UserIndex) -> bool {
        self.viewer != Some(author) && self.mutes.contains(&author)
    }
}

impl Oracle {
    /// How things stand for a viewer at this time.
    pub(super) fn sight(&self, viewer: Option<UserIndex>, now: DateTime<Utc>) -> Sight {
        let Some(user) = viewer else {
            return Sight::default();
        };
        Sight {
            viewer,
            followees: self.following(user).iter().map(|&(_, followee)| followee).collect(),
            blocks: self.blocked_with(user).collect(),
            mutes: self.muted_by(user, now).map(|(_, muted)| muted).collect(),
        }
    }

    /// Whether a post exists and is visible to this viewer.
    pub(super) fn shows(&self, post: PostId, sight: &Sight) -> bool {
        self.seen(post, sight).is_some()
    }

    fn seen(&self, post: PostId, sight: &Sight) -> Option<&PostFacts> {
        let post = self.post(post)?;
        let author = self.live(post.author)?;
        let closed = post.visibility == Visibility::Followers || author.protected;
        (post.live && sight.admits(post.author, closed)).then_some(post)
    }

    fn live(&self, user: UserIndex) -> Option<&UserFacts> {
        Some(self.user(user).1).filter(|user| user.live)
    }

    /// The author of what an entry of this author shows, if it is visible to this viewer.
    fn writer_shown(&self, author: UserIndex, entry: Entry, sight: &Sight) -> Option<UserIndex> {
        let Some(original) = entry.original else {
            return self.seen(entry.id, sight).map(|post| post.author);
        };
        let reposter = self.live(author)?;
        let original = self.seen(original, sight)?;
        let shown = sight.admits(author, reposter.protected) && original.visibility == Visibility::Public;
        shown.then_some(original.author)
    }

    pub(super) fn shows_entry(&self, author: UserIndex, entry: Entry, sight: &Sight) -> bool {
        self.writer_shown(author, entry, sight).is_some()
    }

    /// The same, for a list that leaves out whom the viewer mutes.
    pub(super) fn shows_unmuted(&self, author: UserIndex, entry: Entry, sight: &Sight) -> bool {
        let writer = self.writer_shown(author, entry, sight);
        writer.is_some_and(|writer| !sight.mutes(author) && !sight.mutes(writer))
    }
}
