//! Who may see which post.

use std::collections::HashSet;

use model::ids::PostId;
use model::values::Visibility;

use super::{Oracle, PostFacts, UserIndex};
use crate::verify::timeline::Entry;

impl PostFacts {
    /// Whether everybody may see it, while it lives.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.visibility, Visibility::Public | Visibility::Unlisted)
    }

    fn admits(&self, viewer: Option<UserIndex>, followees: &HashSet<UserIndex>) -> bool {
        let named = |viewer: UserIndex| viewer == self.author || self.mentioned.contains(&viewer);
        match self.visibility {
            Visibility::Public | Visibility::Unlisted => true,
            Visibility::Followers => viewer.is_some_and(named) || followees.contains(&self.author),
            Visibility::Mentioned => viewer.is_some_and(named),
        }
    }
}

impl Oracle {
    /// The users whom a user follows. A viewer without an account follows nobody.
    pub(in crate::verify) fn followees(&self, viewer: Option<UserIndex>) -> HashSet<UserIndex> {
        let following = viewer.map_or(&[][..], |viewer| self.following(viewer));
        following.iter().map(|&(_, followee)| followee).collect()
    }

    /// Whether a post exists and is visible to this viewer, who follows `followees`.
    pub(in crate::verify) fn shows(
        &self,
        post: PostId,
        viewer: Option<UserIndex>,
        followees: &HashSet<UserIndex>,
    ) -> bool {
        self.posts
            .get(&post)
            .is_some_and(|post| post.live && self.users[post.author as usize].1.live && post.admits(viewer, followees))
    }

    /// The same for a post of a list, or for what a repost shows.
    pub(super) fn shows_entry(&self, entry: Entry, viewer: Option<UserIndex>, followees: &HashSet<UserIndex>) -> bool {
        self.shows(entry.original.unwrap_or(entry.id), viewer, followees)
    }

    /// One user who followed the user once, and does not any more.
    pub(in crate::verify) fn former_follower(&self, user: UserIndex) -> Option<UserIndex> {
        self.former_followers.get(&user).copied()
    }

    /// One user whom a post mentions that not everybody may see. It is not its author.
    pub(in crate::verify) fn mentioned(&self, post: PostId) -> Option<UserIndex> {
        let post = self.posts.get(&post).filter(|post| post.live)?;
        let live = |user: UserIndex| self.users[user as usize].1.live;
        let others = post.mentioned.iter().copied().filter(|&user| user != post.author);
        others.filter(|&user| live(user)).min()
    }

    /// One user whom some post of an author mentions that not everybody may see, if possible one who does not follow the author.
    pub(in crate::verify) fn mentioned_by(&self, author: UserIndex) -> Option<UserIndex> {
        let followers: HashSet<UserIndex> = self.followers(author).iter().map(|&(_, user)| user).collect();
        let posts = self.entries[author as usize]
            .iter()
            .filter(|entry| entry.original.is_none());
        posts
            .filter_map(|entry| self.mentioned(entry.id))
            .min_by_key(|user| (followers.contains(user), *user))
    }
}
