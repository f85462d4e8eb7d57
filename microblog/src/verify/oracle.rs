//! What every user should see, by the definitions alone: the state of every aggregate after its last event, and lists that are computed
//! from it by brute force.
//!
//! It shares nothing with the views except the events. Texts are kept as hashes: 100 MB for a million posts.

mod tags;

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use chrono::{DateTime, Utc};
use model::events::{Bookmark, Event, Like, State};
use model::ids::{EventId, PostId, UserId};
use model::tags::TagKey;
use model::values::Visibility;

use self::tags::{TagFacts, TagLists};
use super::timeline::{Entry, HomeTimeline};

/// The index of a user in the oracle. It is much smaller than an id, so that half a billion follows fit in memory.
pub(super) type UserIndex = u32;

#[derive(Debug, Clone, Default)]
pub(super) struct UserFacts {
    version: i64,
    pub(super) live: bool,
    pub(super) handle: Box<str>,
    pub(super) display_name: Box<str>,
    pub(super) bio: Box<str>,
    pub(super) created_at: DateTime<Utc>,
}

#[derive(Debug, Clone)]
pub(super) struct PostFacts {
    version: i64,
    pub(super) live: bool,
    pub(super) author: UserIndex,
    pub(super) visibility: Visibility,
    pub(super) text_hash: u64,
    pub(super) tags: Box<[TagKey]>,
    pub(super) in_reply_to: Option<PostId>,
    pub(super) created_at: DateTime<Utc>,
    pub(super) edited_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Clone, Copy)]
struct FollowFacts {
    version: i64,
    active: bool,
    /// The event that set this state. Lists are ordered by it.
    event: EventId,
}

#[derive(Debug, Clone, Copy)]
struct RepostFacts {
    version: i64,
    active: bool,
    id: PostId,
    event: EventId,
}

/// A like or a bookmark.
#[derive(Debug, Clone, Copy)]
struct LikeFacts {
    version: i64,
    active: bool,
    event: EventId,
}

/// The state of all aggregates.
#[derive(Debug, Default)]
pub(super) struct Facts {
    users: Vec<(UserId, UserFacts)>,
    index: HashMap<UserId, UserIndex>,
    posts: HashMap<PostId, PostFacts>,
    follows: HashMap<(UserIndex, UserIndex), FollowFacts>,
    reposts: HashMap<(UserIndex, PostId), RepostFacts>,
    likes: HashMap<(UserIndex, PostId), LikeFacts>,
    bookmarks: HashMap<(UserIndex, PostId), LikeFacts>,
    tags: TagFacts,
}

impl Facts {
    /// Applies an event. The order does not matter: the highest version of each stream counts.
    pub(super) fn apply(&mut self, id: EventId, version: i64, event: &Event) {
        match event.state() {
            State::User(user) => {
                let index = self.user(user.id);
                let known = &mut self.users[index as usize].1;
                if known.version < version {
                    *known = UserFacts {
                        version,
                        live: !user.deleted,
                        handle: user.handle.as_str().into(),
                        display_name: user.display_name.as_deref().unwrap_or_default().into(),
                        bio: user.bio.as_deref().unwrap_or_default().into(),
                        created_at: user.created_at,
                    };
                }
            }
            State::Post(post) => {
                let facts = PostFacts {
                    version,
                    live: !post.deleted,
                    author: self.user(post.author),
                    visibility: post.visibility,
                    text_hash: post.content.as_ref().map_or(0, |content| text_hash(&content.text)),
                    tags: tags::tags_of(post),
                    in_reply_to: post.in_reply_to.map(|to| to.post),
                    created_at: post.created_at,
                    edited_at: post.edited_at,
                };
                let known = self.posts.entry(post.id).or_insert_with(|| facts.clone());
                if known.version < version {
                    *known = facts;
                }
            }
            State::Follow(follow) => {
                let key = (self.user(follow.follower), self.user(follow.followee));
                let facts = FollowFacts {
                    version,
                    active: follow.active,
                    event: id,
                };
                let known = self.follows.entry(key).or_insert(facts);
                if known.version < version {
                    *known = facts;
                }
            }
            State::Like(Like { user, post, active, .. }) | State::Bookmark(Bookmark { user, post, active }) => {
                let key = (self.user(*user), *post);
                let facts = LikeFacts {
                    version,
                    active: *active,
                    event: id,
                };
                let of_kind = match event.state() {
                    State::Like(_) => &mut self.likes,
                    _ => &mut self.bookmarks,
                };
                let known = of_kind.entry(key).or_insert(facts);
                if known.version < version {
                    *known = facts;
                }
            }
            State::TagFollow(follow) => {
                let user = self.user(follow.user);
                self.tags.apply(user, id, version, follow);
            }
            State::Repost(repost) => {
                let facts = RepostFacts {
                    version,
                    active: repost.active,
                    id: repost.id,
                    event: id,
                };
                let key = (self.user(repost.user), repost.post);
                let known = self.reposts.entry(key).or_insert(facts);
                if known.version < version {
                    *known = facts;
                }
            }
        }
    }

    fn user(&mut self, id: UserId) -> UserIndex {
        *self.index.entry(id).or_insert_with(|| {
            self.users.push((id, UserFacts::default()));
            UserIndex::try_from(self.users.len() - 1).expect("there are fewer than four billion users")
        })
    }

    /// Builds the lists, after all events are applied.
    pub(super) fn into_oracle(self) -> Oracle {
        let count = self.users.len();
        let mut entries: Vec<Vec<Entry>> = vec![Vec::new(); count];
        let mut counts = vec![Counts::default(); count];
        let mut post_counts: HashMap<PostId, PostCounts> = HashMap::new();
        let mut replies: HashMap<PostId, Vec<PostId>> = HashMap::new();
        let live = |index: UserIndex| self.users[index as usize].1.live;

        for (&id, post) in &self.posts {
            if !post.live {
                continue;
            }
            counts[post.author as usize].posts += 1;
            entries[post.author as usize].push(Entry { id, original: None });
            if let Some(parent) = post.in_reply_to {
                post_counts.entry(parent).or_default().replies += 1;
                if live(post.author) {
                    replies.entry(parent).or_default().push(id);
                }
            }
        }
        for (&(user, original), repost) in &self.reposts {
            if !repost.active {
                continue;
            }
            post_counts.entry(original).or_default().reposts += 1;
            if self
                .posts
                .get(&original)
                .is_some_and(|post| post.live && live(post.author))
            {
                entries[user as usize].push(Entry {
                    id: repost.id,
                    original: Some(original),
                });
            }
        }
        for (&(_, post), like) in &self.likes {
            if like.active {
                post_counts.entry(post).or_default().likes += 1;
            }
        }
        let mut bookmarks: Vec<Vec<(EventId, PostId)>> = vec![Vec::new(); count];
        for (&(user, post), bookmark) in self.bookmarks.iter().filter(|(_, bookmark)| bookmark.active) {
            bookmarks[user as usize].push((bookmark.event, post));
        }
        for list in &mut bookmarks {
            list.sort_unstable_by(|one, other| other.cmp(one));
        }
        let mut following: Vec<Vec<(EventId, UserIndex)>> = vec![Vec::new(); count];
        let mut followers = following.clone();
        let mut former_followers = HashMap::new();
        for (&(follower, followee), follow) in &self.follows {
            if !follow.active {
                if live(follower) && follower != followee {
                    // The order of a map is random. The minimum makes the choice the same each time.
                    let known = former_followers.entry(followee).or_insert(follower);
                    *known = follower.min(*known);
                }
                continue;
            }
            counts[follower as usize].following += 1;
            counts[followee as usize].followers += 1;
            if live(follower) && live(followee) {
                following[follower as usize].push((follow.event, followee));
                followers[followee as usize].push((follow.event, follower));
            }
        }
        // Newest first.
        for list in &mut entries {
            list.sort_unstable_by_key(|entry| std::cmp::Reverse(entry.id));
        }
        for list in replies.values_mut() {
            list.sort_unstable_by(|one, other| other.cmp(one));
        }
        for list in following.iter_mut().chain(&mut followers) {
            list.sort_unstable_by(|one, other| other.cmp(one));
        }
        Oracle {
            tags: self.tags.into_lists(&self.posts, live),
            users: self.users,
            index: self.index,
            posts: self.posts,
            reposts: self.reposts,
            likes: self.likes,
            bookmarks,
            entries,
            following,
            followers,
            former_followers,
            replies,
            counts,
            post_counts,
        }
    }
}

/// `counts` of a user.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) posts: u64,
    pub(super) followers: u64,
    pub(super) following: u64,
}

/// `counts` of a post.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct PostCounts {
    pub(super) likes: u64,
    pub(super) reposts: u64,
    pub(super) replies: u64,
}

/// The state of all aggregates, and who should see what.
#[derive(Debug)]
pub(super) struct Oracle {
    users: Vec<(UserId, UserFacts)>,
    index: HashMap<UserId, UserIndex>,
    posts: HashMap<PostId, PostFacts>,
    reposts: HashMap<(UserIndex, PostId), RepostFacts>,
    likes: HashMap<(UserIndex, PostId), LikeFacts>,
    /// The bookmarks of each user, the latest first.
    bookmarks: Vec<Vec<(EventId, PostId)>>,
    tags: TagLists,
    /// What each user wrote and reposted, newest first, without anything deleted.
    entries: Vec<Vec<Entry>>,
    following: Vec<Vec<(EventId, UserIndex)>>,
    followers: Vec<Vec<(EventId, UserIndex)>>,
    /// One user who followed this user once, and does not any more.
    former_followers: HashMap<UserIndex, UserIndex>,
    /// The replies to a post that are not deleted, newest first.
    replies: HashMap<PostId, Vec<PostId>>,
    counts: Vec<Counts>,
    post_counts: HashMap<PostId, PostCounts>,
}

impl Oracle {
    pub(super) fn users(&self) -> std::ops::Range<UserIndex> {
        0..UserIndex::try_from(self.users.len()).expect("users are numbered by this type")
    }

    pub(super) fn user(&self, index: UserIndex) -> (UserId, &UserFacts) {
        let (id, facts) = &self.users[index as usize];
        (*id, facts)
    }

    pub(super) fn find_user(&self, id: UserId) -> Option<UserIndex> {
        self.index.get(&id).copied()
    }

    pub(super) fn post(&self, id: PostId) -> Option<&PostFacts> {
        self.posts.get(&id)
    }

    pub(super) fn counts(&self, user: UserIndex) -> Counts {
        self.counts[user as usize]
    }

    pub(super) fn post_counts(&self, post: PostId) -> PostCounts {
        self.post_counts.get(&post).copied().unwrap_or_default()
    }

    pub(super) fn likes(&self, user: UserIndex, post: PostId) -> bool {
        self.likes.get(&(user, post)).is_some_and(|like| like.active)
    }

    pub(super) fn reposts(&self, user: UserIndex, post: PostId) -> bool {
        self.reposts.get(&(user, post)).is_some_and(|repost| repost.active)
    }

    /// Every undeleted post that this user may see, and every repost of one, by the user or by their followees, and every public post with a
    /// tag that the user follows.
    pub(super) fn home_timeline(&self, user: UserIndex) -> HomeTimeline<'_> {
        let followees = self.following[user as usize].iter().map(|&(_, followee)| followee);
        // A follower of an author, and the author, may see all posts of the author. Followers-only posts are never reposted.
        let authors = std::iter::once(user).chain(followees.filter(|&followee| followee != user));
        let entries = authors.map(|author| (author, self.entries[author as usize].as_slice()));
        HomeTimeline::merge(entries, self.found_by_tags(user))
    }

    /// The users whom a user follows. A viewer without an account follows nobody.
    pub(super) fn followees(&self, viewer: Option<UserIndex>) -> HashSet<UserIndex> {
        let following = viewer.map_or(&[][..], |viewer| self.following(viewer));
        following.iter().map(|&(_, followee)| followee).collect()
    }

    /// Whether a post exists and is visible to this viewer, who follows `followees`.
    pub(super) fn shows(&self, post: PostId, viewer: Option<UserIndex>, followees: &HashSet<UserIndex>) -> bool {
        self.posts.get(&post).is_some_and(|post| {
            let admitted = || viewer == Some(post.author) || followees.contains(&post.author);
            let live = post.live && self.users[post.author as usize].1.live;
            live && (post.visibility == Visibility::Public || admitted())
        })
    }

    /// A user's posts and reposts that this viewer, who follows `followees`, may see.
    pub(super) fn posts_of<'o>(
        &'o self,
        user: UserIndex,
        viewer: Option<UserIndex>,
        followees: &'o HashSet<UserIndex>,
    ) -> impl Iterator<Item = (UserIndex, Entry)> + 'o {
        let entries = self.entries[user as usize].iter().copied();
        entries
            .filter(move |entry| self.shows(entry.original.unwrap_or(entry.id), viewer, followees))
            .map(move |entry| (user, entry))
    }

    /// The bookmarks of a user that the user may see, who follows `followees`. The latest is first.
    pub(super) fn bookmarks<'o>(
        &'o self,
        user: UserIndex,
        followees: &'o HashSet<UserIndex>,
    ) -> impl Iterator<Item = (EventId, PostId)> + 'o {
        let bookmarks = self.bookmarks[user as usize].iter().copied();
        bookmarks.filter(move |&(_, post)| self.shows(post, Some(user), followees))
    }

    /// The direct replies to a post that this viewer may see, newest first.
    pub(super) fn replies<'o>(
        &'o self,
        post: PostId,
        viewer: Option<UserIndex>,
        followees: &'o HashSet<UserIndex>,
    ) -> impl Iterator<Item = (UserIndex, Entry)> + 'o {
        let replies = self.replies.get(&post).map_or(&[][..], Vec::as_slice).iter().copied();
        replies
            .filter(move |&reply| self.shows(reply, viewer, followees))
            .filter_map(|id| Some((self.posts.get(&id)?.author, Entry { id, original: None })))
    }

    /// The chain of posts that a post replies to, the oldest first. It ends at the beginning, at a post that this viewer may not see, or
    /// after `most` posts.
    pub(super) fn ancestors(
        &self,
        post: PostId,
        viewer: Option<UserIndex>,
        followees: &HashSet<UserIndex>,
        most: usize,
    ) -> Vec<(UserIndex, Entry)> {
        let parent = |post: &PostId| self.posts.get(post)?.in_reply_to;
        let chain = std::iter::successors(parent(&post), parent);
        let mut ancestors: Vec<_> = chain
            .take_while(|&id| self.shows(id, viewer, followees))
            .take(most)
            .filter_map(|id| Some((self.posts.get(&id)?.author, Entry { id, original: None })))
            .collect();
        ancestors.reverse();
        ancestors
    }

    /// Who likes these posts, and who reposted them, newest first. One pass over all likes and reposts serves all posts.
    pub(super) fn people_of(&self, posts: &[PostId]) -> HashMap<PostId, PostPeople> {
        let mut people: HashMap<PostId, PostPeople> = posts.iter().map(|&id| (id, PostPeople::default())).collect();
        let live = |user: UserIndex| self.users[user as usize].1.live;
        for (&(user, post), like) in self.likes.iter().filter(|(_, like)| like.active) {
            if let Some(people) = people.get_mut(&post).filter(|_| live(user)) {
                people.likers.push((like.event, user));
            }
        }
        for (&(user, post), repost) in self.reposts.iter().filter(|(_, repost)| repost.active) {
            if let Some(people) = people.get_mut(&post).filter(|_| live(user)) {
                people.reposters.push((repost.event, user));
            }
        }
        for people in people.values_mut() {
            for list in [&mut people.likers, &mut people.reposters] {
                list.sort_unstable_by(|one, other| other.cmp(one));
            }
        }
        people
    }

    /// Every post that ever existed, in order.
    pub(super) fn posts(&self) -> Vec<PostId> {
        let mut posts: Vec<PostId> = self.posts.keys().copied().collect();
        posts.sort_unstable();
        posts
    }

    /// All public posts and replies of everybody, newest first, without reposts.
    pub(super) fn public_timeline(&self) -> Vec<(UserIndex, Entry)> {
        let shown = |post: &PostFacts| {
            post.live && post.visibility == Visibility::Public && self.users[post.author as usize].1.live
        };
        let posts = self.posts.iter().filter(|(_, post)| shown(post));
        let mut entries: Vec<_> = posts
            .map(|(&id, post)| (post.author, Entry { id, original: None }))
            .collect();
        entries.sort_unstable_by_key(|(_, entry)| std::cmp::Reverse(entry.id));
        entries
    }

    pub(super) fn following(&self, user: UserIndex) -> &[(EventId, UserIndex)] {
        &self.following[user as usize]
    }

    pub(super) fn followers(&self, user: UserIndex) -> &[(EventId, UserIndex)] {
        &self.followers[user as usize]
    }

    /// One user who followed the user once, and does not any more.
    pub(super) fn former_follower(&self, user: UserIndex) -> Option<UserIndex> {
        self.former_followers.get(&user).copied()
    }
}

/// The lists of people that belong to a post.
#[derive(Debug, Default)]
pub(super) struct PostPeople {
    pub(super) likers: Vec<(EventId, UserIndex)>,
    pub(super) reposters: Vec<(EventId, UserIndex)>,
}

/// Compares texts without keeping them. It does not resist deliberate collisions.
pub(super) fn text_hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
#[path = "oracle_tests.rs"]
mod tests;
