//! What decides which posts and users a viewer sees.

use std::collections::HashSet;

use chrono::{DateTime, Utc};

use super::oracle::{Oracle, PostFacts, UserFacts, UserIndex};
use super::timeline::Entry;
use model::api;
use model::ids::{EventId, PostId};
use model::values::{FilterContext, Visibility};

/// A viewer, and how the viewer stands to others.
#[derive(Debug, Clone, Default)]
pub(super) struct Sight {
    /// None: without an account.
    pub(super) viewer: Option<UserIndex>,
    pub(super) followees: HashSet<UserIndex>,
    /// In either direction.
    pub(super) blocks: HashSet<UserIndex>,
    pub(super) mutes: HashSet<UserIndex>,
    /// Whom the viewer's exclusive lists keep out of the home timeline.
    pub(super) kept_out: HashSet<UserIndex>,
    /// Those that are not over.
    pub(super) filters: Vec<api::Filter>,
    /// Those of the muted whose doings make no notifications.
    pub(super) silenced: HashSet<UserIndex>,
}

impl Sight {
    /// Whether the viewer may see a post of this author, if it was written for these.
    pub(super) fn admits(&self, author: UserIndex, visibility: Visibility, mentioned: &[UserIndex]) -> bool {
        let is_mentioned = || self.viewer.is_some_and(|viewer| mentioned.contains(&viewer));
        let admitted = || match visibility {
            Visibility::Public | Visibility::Unlisted => true,
            Visibility::Followers => self.followees.contains(&author) || is_mentioned(),
            Visibility::Mentioned => is_mentioned(),
        };
        self.viewer == Some(author) || !self.blocks.contains(&author) && admitted()
    }

    pub(super) fn mutes(&self, author: UserIndex) -> bool {
        self.viewer != Some(author) && self.mutes.contains(&author)
    }
}

impl PostFacts {
    /// Whether it was written for everybody.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.visibility, Visibility::Public | Visibility::Unlisted)
    }
}

/// What a post of this visibility counts as now.
pub(super) fn at_most(visibility: Visibility, author: &UserFacts) -> Visibility {
    match visibility {
        Visibility::Public | Visibility::Unlisted if author.protected => Visibility::Followers,
        _ => visibility,
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
            kept_out: self.kept_out_by(user),
            filters: self.filters_at(user, now),
            silenced: self.silenced_by(user, now).collect(),
        }
    }

    /// Whether a post exists and is visible to this viewer.
    pub(super) fn shows(&self, post: PostId, sight: &Sight) -> bool {
        self.seen(post, sight).is_some()
    }

    fn seen(&self, post: PostId, sight: &Sight) -> Option<&PostFacts> {
        let post = self.post(post)?;
        let author = self.live(post.author)?;
        let visibility = at_most(post.visibility, author);
        if post.hidden && sight.viewer != Some(post.author) || self.closes(post.author, sight) {
            return None;
        }
        (post.live && sight.admits(post.author, visibility, &post.mentioned)).then_some(post)
    }

    /// Whether the user is suspended, and the viewer somebody else.
    pub(super) fn closes(&self, user: UserIndex, sight: &Sight) -> bool {
        self.user(user).1.suspended && sight.viewer != Some(user)
    }

    /// The people on a list whom neither a block nor a suspension hides from this viewer.
    pub(super) fn listed(&self, list: &[(EventId, UserIndex)], sight: &Sight) -> Vec<(EventId, UserIndex)> {
        let hidden = |user| sight.blocks.contains(&user) || self.closes(user, sight);
        list.iter().copied().filter(|&(_, user)| !hidden(user)).collect()
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
        let visibility = at_most(Visibility::Public, reposter);
        let admitted = sight.admits(author, visibility, &[]) && !self.closes(author, sight);
        (admitted && original.is_open()).then_some(original.author)
    }

    /// A post that is quoted, if it is shown in the post that quotes it. Lists that leave out whom the viewer mutes do so here too.
    pub(super) fn quoted(&self, post: PostId, context: FilterContext, sight: &Sight) -> Option<&PostFacts> {
        use FilterContext::{Home, Lists, Public, Tags};
        let unmuted = [Home, Lists, Public, Tags].contains(&context);
        let shown = self.seen(post, sight);
        shown.filter(|post| !(unmuted && sight.mutes(post.author)))
    }

    /// One user who followed the user once, and does not any more.
    pub(super) fn former_follower(&self, user: UserIndex) -> Option<UserIndex> {
        self.former_followers.get(&user).copied()
    }

    /// One user who blocks this user.
    pub(super) fn blocker_of(&self, user: UserIndex) -> Option<UserIndex> {
        let blockers = self.blocked_by[user as usize].iter().copied();
        blockers.filter(|&blocker| self.live(blocker).is_some()).min()
    }

    /// One user whom a post mentions that not everybody may see. It is not its author.
    pub(super) fn mentioned(&self, post: PostId) -> Option<UserIndex> {
        let post = self.post(post).filter(|post| post.live && !post.is_open())?;
        let others = post.mentioned.iter().copied().filter(|&user| user != post.author);
        others.filter(|&user| self.live(user).is_some()).min()
    }

    /// One user whom some post of an author mentions that not everybody may see, if possible one who does not follow the author.
    pub(super) fn mentioned_by(&self, author: UserIndex) -> Option<UserIndex> {
        let followers: HashSet<UserIndex> = self.followers(author).iter().map(|&(_, user)| user).collect();
        let posts = self.entries[author as usize]
            .iter()
            .filter(|entry| entry.original.is_none());
        posts
            .filter_map(|entry| self.mentioned(entry.id))
            .min_by_key(|user| (followers.contains(user), *user))
    }

    pub(super) fn shows_entry(&self, author: UserIndex, entry: Entry, sight: &Sight) -> bool {
        self.writer_shown(author, entry, sight).is_some()
    }

    /// The same, for a list of public posts, which leaves out whom the viewer mutes. While an account is protected, it has none.
    pub(super) fn shows_in_public(&self, author: UserIndex, entry: Entry, sight: &Sight) -> bool {
        let is_public = |post: &PostFacts| at_most(post.visibility, self.user(post.author).1) == Visibility::Public;
        self.post(entry.id).is_some_and(is_public) && self.shows_unmuted(author, entry, sight)
    }

    /// The same, for a list that leaves out whom the viewer mutes.
    pub(super) fn shows_unmuted(&self, author: UserIndex, entry: Entry, sight: &Sight) -> bool {
        let writer = self.writer_shown(author, entry, sight);
        writer.is_some_and(|writer| !sight.mutes(author) && !sight.mutes(writer))
    }
}
