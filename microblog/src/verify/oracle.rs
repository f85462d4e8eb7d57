//! What every user should see, by the definitions alone: the state of every aggregate after its last event, and lists that are computed
//! from it by brute force.
//!
//! It shares nothing with the views except the events. Texts are kept as hashes: 100 MB for a million posts. Only if
//! somebody has a filter are they kept in full.

mod filters;
mod lists;
mod notifications;
mod reports;
mod tags;

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use model::api;
use model::events::{Bookmark, Event, Like, Post, State};
use model::ids::{EventId, PostId, ReportId, UserId};
use model::tags::TagKey;
use model::values::{FilterContext, ProfileField, ReportState, Visibility};

use self::filters::FilterFacts;
use self::lists::{AllListFacts, OwnList};
pub(super) use self::notifications::{Group, Told};
use self::notifications::{NotificationFacts, NotificationLists};
use self::reports::ReportFacts;
use self::tags::{TagFacts, TagLists};
use super::said::Said;
use super::sight::Sight;
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
    pub(super) protected: bool,
    pub(super) suspended: bool,
    pub(super) fields: Box<[ProfileField]>,
    pub(super) created_at: DateTime<Utc>,
}

#[derive(Debug, Clone)]
pub(super) struct PostFacts {
    version: i64,
    pub(super) live: bool,
    pub(super) author: UserIndex,
    pub(super) visibility: Visibility,
    pub(super) said: Said,
    /// Whom it mentions. They may see it even if its author is protected.
    pub(super) mentioned: Box<[UserIndex]>,
    pub(super) tags: Box<[TagKey]>,
    /// The texts in which filters look. Empty if nobody has a filter.
    sought_in: Box<[Box<[char]>]>,
    pub(super) in_reply_to: Option<PostId>,
    pub(super) quote: Option<Quote>,
    pub(super) created_at: DateTime<Utc>,
    pub(super) edited_at: Option<DateTime<Utc>>,
    pub(super) hidden: bool,
}

/// The post that another one quotes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quote {
    pub(super) post: PostId,
    pub(super) detached: bool,
}

impl PostFacts {
    /// The post that it quotes, unless the quote is detached.
    pub(super) fn quoted(&self) -> Option<PostId> {
        let quote = self.quote.filter(|quote| !quote.detached);
        quote.map(|quote| quote.post)
    }
}

#[derive(Debug, Clone, Copy)]
struct FollowFacts {
    version: i64,
    active: bool,
    requested: bool,
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

#[derive(Debug, Clone, Copy)]
struct MuteFacts {
    state: LikeFacts,
    until: Option<DateTime<Utc>>,
    notifications: bool,
}

/// A like, a bookmark or a block.
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
    blocks: HashMap<(UserIndex, UserIndex), LikeFacts>,
    mutes: HashMap<(UserIndex, UserIndex), MuteFacts>,
    tags: TagFacts,
    /// The version, and the posts that a user has pinned.
    pins: HashMap<UserId, (i64, Vec<PostId>)>,
    lists: AllListFacts,
    filters: FilterFacts,
    /// Whether somebody has a filter.
    filtered: bool,
    reports: ReportFacts,
    notifications: NotificationFacts,
}

impl Facts {
    pub(super) fn new(filtered: bool) -> Self {
        Self {
            filtered,
            ..Self::default()
        }
    }

    /// Applies an event. The order does not matter: the highest version of each stream counts.
    pub(super) fn apply(&mut self, id: EventId, version: i64, event: &Event) {
        self.notifications.apply(id, version, event);
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
                        protected: user.protected,
                        suspended: user.is_suspended(),
                        fields: user.fields.clone().into(),
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
                    said: post.content.as_ref().map(Said::from).unwrap_or_default(),
                    mentioned: self.mentioned_by(post),
                    tags: tags::tags_of(post),
                    sought_in: match &post.content {
                        Some(content) if self.filtered => filters::sought_in(content),
                        _ => Box::default(),
                    },
                    in_reply_to: post.in_reply_to.map(|to| to.post),
                    quote: post.quote_of.map(|quote| Quote {
                        post: quote.post,
                        detached: quote.detached,
                    }),
                    created_at: post.created_at,
                    edited_at: post.edited_at,
                    hidden: post.is_hidden(),
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
                    requested: follow.requested,
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
            State::Block(block) => {
                let key = (self.user(block.blocker), self.user(block.blocked));
                let facts = LikeFacts {
                    version,
                    active: block.active,
                    event: id,
                };
                let known = self.blocks.entry(key).or_insert(facts);
                if known.version < version {
                    *known = facts;
                }
            }
            State::Mute(mute) => {
                let key = (self.user(mute.muter), self.user(mute.muted));
                let state = LikeFacts {
                    version,
                    active: mute.active,
                    event: id,
                };
                let facts = MuteFacts {
                    state,
                    until: mute.until,
                    notifications: mute.notifications,
                };
                let known = self.mutes.entry(key).or_insert(facts);
                if known.state.version < version {
                    *known = facts;
                }
            }
            State::TagFollow(follow) => {
                let user = self.user(follow.user);
                self.tags.apply(user, id, version, follow);
            }
            State::Filter(filter) => {
                let owner = self.user(filter.owner);
                self.filters.apply(owner, version, filter);
            }
            State::Pins(pins) => {
                let known = self.pins.entry(pins.user).or_default();
                if known.0 < version {
                    *known = (version, pins.posts.clone());
                }
            }
            State::List(list) => {
                let owner = self.user(list.owner);
                self.lists.apply(owner, version, list);
            }
            State::ListMember(member) => {
                let user = self.user(member.user);
                self.lists.apply_member(user, id, version, member);
            }
            State::ListTag(tag) => self.lists.apply_tag(id, version, tag),
            State::UserRole(role) => {
                let user = self.user(role.user);
                self.reports.apply_role(user, version, role);
            }
            State::Report(report) => self.reports.apply(version, report),
            // Applied above.
            State::NotificationsRead(_) | State::NotificationDismissed(_) => {}
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

    fn mentioned_by(&mut self, post: &Post) -> Box<[UserIndex]> {
        let mentions = post.content.iter().flat_map(|content| &content.entities.mentions);
        let mentioned = mentions.filter_map(|mention| mention.user);
        mentioned.map(|id| self.user(id)).collect()
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
        let mut quotes: HashMap<PostId, Vec<PostId>> = HashMap::new();
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
            if let Some(quoted) = post.quoted() {
                post_counts.entry(quoted).or_default().quotes += 1;
                quotes.entry(quoted).or_default().push(id);
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
                .is_some_and(|post| post.live && live(post.author) && post.is_open())
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
        let (mut requests_to, mut requests_of) = (following.clone(), following.clone());
        let mut former_followers = HashMap::new();
        for (&(follower, followee), follow) in &self.follows {
            if follow.requested && live(follower) && live(followee) {
                requests_of[follower as usize].push((follow.event, followee));
                requests_to[followee as usize].push((follow.event, follower));
            }
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
        for list in replies.values_mut().chain(quotes.values_mut()) {
            list.sort_unstable_by(|one, other| other.cmp(one));
        }
        let mut blocking: Vec<Vec<(EventId, UserIndex)>> = vec![Vec::new(); count];
        let mut blocked_by: Vec<Vec<UserIndex>> = vec![Vec::new(); count];
        for (&(blocker, blocked), block) in self.blocks.iter().filter(|(_, block)| block.active) {
            blocked_by[blocked as usize].push(blocker);
            blocking[blocker as usize].push((block.event, blocked));
        }
        let mut muting: Vec<Vec<Mute>> = vec![Vec::new(); count];
        for (&(muter, muted), mute) in self.mutes.iter().filter(|(_, mute)| mute.state.active) {
            muting[muter as usize].push((mute.state.event, muted, mute.until, mute.notifications));
        }
        for list in &mut muting {
            list.sort_unstable_by(|one, other| other.cmp(one));
        }
        let people = following.iter_mut().chain(&mut followers);
        for list in people
            .chain(&mut blocking)
            .chain(&mut requests_to)
            .chain(&mut requests_of)
        {
            list.sort_unstable_by(|one, other| other.cmp(one));
        }
        Oracle {
            tags: self.tags.into_lists(&self.posts, live),
            lists: self.lists.into_lists(),
            filters: self.filters.into_lists(),
            reports: self.reports,
            notifications: self.notifications.into_lists(),
            users: self.users,
            index: self.index,
            posts: self.posts,
            reposts: self.reposts,
            likes: self.likes,
            bookmarks,
            entries,
            following,
            followers,
            requests_to,
            requests_of,
            blocking,
            blocked_by,
            muting,
            former_followers,
            replies,
            quotes,
            pins: self.pins.into_iter().map(|(user, (_, posts))| (user, posts)).collect(),
            counts,
            post_counts,
        }
    }
}

/// The event of a mute, whom it mutes, when it is over, and whether the muter is still told what they do.
type Mute = (EventId, UserIndex, Option<DateTime<Utc>>, bool);

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
    pub(super) quotes: u64,
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
    /// The lists of each user, the last one made first.
    lists: HashMap<UserIndex, Vec<OwnList>>,
    filters: HashMap<UserIndex, Vec<api::Filter>>,
    reports: ReportFacts,
    notifications: NotificationLists,
    /// What each user wrote and reposted, newest first, without anything deleted.
    pub(super) entries: Vec<Vec<Entry>>,
    following: Vec<Vec<(EventId, UserIndex)>>,
    followers: Vec<Vec<(EventId, UserIndex)>>,
    requests_to: Vec<Vec<(EventId, UserIndex)>>,
    requests_of: Vec<Vec<(EventId, UserIndex)>>,
    blocking: Vec<Vec<(EventId, UserIndex)>>,
    pub(super) blocked_by: Vec<Vec<UserIndex>>,
    muting: Vec<Vec<Mute>>,
    /// One user who followed this user once, and does not any more.
    pub(super) former_followers: HashMap<UserIndex, UserIndex>,
    /// The replies to a post that are not deleted, newest first.
    replies: HashMap<PostId, Vec<PostId>>,
    /// The posts that quote a post, newest first, without deleted and detached ones.
    quotes: HashMap<PostId, Vec<PostId>>,
    /// The posts that a user has pinned, the last one first.
    pins: HashMap<UserId, Vec<PostId>>,
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

    /// The reports in this state, newest first.
    pub(super) fn reports(&self, state: ReportState, moderator: UserIndex) -> Vec<ReportId> {
        self.reports.in_state(state, self.user(moderator).0)
    }

    /// One user with a role, who is not suspended.
    pub(super) fn moderator(&self) -> Option<UserIndex> {
        let moderators = self.reports.moderators();
        let in_office = |user: &UserFacts| user.live && !user.suspended;
        moderators.filter(|&user| in_office(self.user(user).1)).min()
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

    /// Every post and repost by the viewer or by whom the viewer follows, and every public post with a tag that the viewer follows, without
    /// what the viewer may not see, mutes, keeps out by an exclusive list, or hides by a filter. Empty without an account.
    pub(super) fn home_timeline<'o>(&'o self, sight: &'o Sight) -> impl Iterator<Item = (UserIndex, Entry)> + 'o {
        let followees = sight.followees.iter().copied();
        let authors = sight
            .viewer
            .into_iter()
            .chain(followees.filter(|&followee| Some(followee) != sight.viewer));
        let entries = authors.map(|author| (author, self.entries[author as usize].as_slice()));
        let merged = HomeTimeline::merge(entries, self.found_by_tags(sight));
        merged.filter(|&(author, entry)| {
            self.shows_unmuted(author, entry, sight)
                && !self.is_kept_out(author, entry, sight)
                && self.wants(FilterContext::Home, author, entry, sight)
        })
    }

    /// The posts that a user shows first, and that this viewer may see.
    pub(super) fn pinned_by(&self, user: UserIndex, sight: &Sight) -> Vec<PostId> {
        let pins = self.pins.get(&self.user(user).0).map_or(&[][..], Vec::as_slice);
        let entry = |&id: &PostId| (user, Entry { id, original: None });
        let shown = pins.iter().map(entry).filter(|&(author, entry)| {
            self.shows(entry.id, sight) && self.wants(FilterContext::Profile, author, entry, sight)
        });
        shown.map(|(_, entry)| entry.id).collect()
    }

    /// A user's posts and reposts that this viewer may see.
    pub(super) fn posts_of<'o>(
        &'o self,
        user: UserIndex,
        sight: &'o Sight,
    ) -> impl Iterator<Item = (UserIndex, Entry)> + 'o {
        let entries = self.entries[user as usize].iter().map(move |&entry| (user, entry));
        let shown = entries.filter(|&(user, entry)| self.shows_entry(user, entry, sight));
        shown.filter(|&(user, entry)| self.wants(FilterContext::Profile, user, entry, sight))
    }

    /// The bookmarks of the viewer that the viewer may see. The latest is first.
    pub(super) fn bookmarks<'o>(&'o self, sight: &'o Sight) -> impl Iterator<Item = (EventId, PostId)> + 'o {
        let bookmarks = sight.viewer.map_or(&[][..], |viewer| &self.bookmarks[viewer as usize]);
        bookmarks.iter().copied().filter(|&(_, post)| self.shows(post, sight))
    }

    /// The direct replies to a post that this viewer may see, newest first.
    pub(super) fn replies<'o>(
        &'o self,
        post: PostId,
        sight: &'o Sight,
    ) -> impl Iterator<Item = (UserIndex, Entry)> + 'o {
        self.shown_among(self.replies.get(&post), sight)
    }

    /// The same, of posts that quote a post.
    pub(super) fn quotes<'o>(
        &'o self,
        post: PostId,
        sight: &'o Sight,
    ) -> impl Iterator<Item = (UserIndex, Entry)> + 'o {
        self.shown_among(self.quotes.get(&post), sight)
    }

    fn shown_among<'o>(
        &'o self,
        posts: Option<&'o Vec<PostId>>,
        sight: &'o Sight,
    ) -> impl Iterator<Item = (UserIndex, Entry)> + 'o {
        let posts = posts.map_or(&[][..], Vec::as_slice).iter().copied();
        posts
            .filter(|&post| self.shows(post, sight))
            .filter_map(|id| Some((self.posts.get(&id)?.author, Entry { id, original: None })))
            .filter(|&(author, entry)| self.wants(FilterContext::Thread, author, entry, sight))
    }

    /// The posts above this one, the oldest first. The list ends at the first post that the viewer may not see, or hides by a filter.
    pub(super) fn ancestors(&self, post: PostId, sight: &Sight, most: usize) -> Vec<(UserIndex, Entry)> {
        let parent = |post: &PostId| self.posts.get(post)?.in_reply_to;
        let chain = std::iter::successors(parent(&post), parent);
        let mut ancestors: Vec<_> = chain
            .take_while(|&id| self.shows(id, sight))
            .filter_map(|id| Some((self.posts.get(&id)?.author, Entry { id, original: None })))
            .take_while(|&(author, entry)| self.wants(FilterContext::Thread, author, entry, sight))
            .take(most)
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

    /// All public posts and replies that this viewer may see and of authors whom the viewer does not mute, newest first, without reposts.
    pub(super) fn public_timeline(&self, sight: &Sight) -> Vec<(UserIndex, Entry)> {
        let entries = self.posts.iter();
        let entries = entries.map(|(&id, post)| (post.author, Entry { id, original: None }));
        let mut shown: Vec<_> = entries
            .filter(|&(author, entry)| self.shows_in_public(author, entry, sight))
            .filter(|&(author, entry)| self.wants(FilterContext::Public, author, entry, sight))
            .collect();
        shown.sort_unstable_by_key(|(_, entry)| std::cmp::Reverse(entry.id));
        shown
    }

    /// Who has asked to follow the user, and waits.
    pub(super) fn requests_to(&self, user: UserIndex) -> &[(EventId, UserIndex)] {
        &self.requests_to[user as usize]
    }

    /// Whom the user has asked to follow.
    pub(super) fn requests_of(&self, user: UserIndex) -> &[(EventId, UserIndex)] {
        &self.requests_of[user as usize]
    }

    pub(super) fn blocked_by(&self, user: UserIndex) -> &[(EventId, UserIndex)] {
        &self.blocking[user as usize]
    }

    /// Whom a user blocks, and who blocks the user.
    pub(super) fn blocked_with(&self, user: UserIndex) -> impl Iterator<Item = UserIndex> {
        let blocking = self.blocking[user as usize].iter().map(|&(_, blocked)| blocked);
        blocking.chain(self.blocked_by[user as usize].iter().copied())
    }

    /// Whom a user mutes at this time, the last mute first.
    pub(super) fn muted_by(&self, user: UserIndex, now: DateTime<Utc>) -> impl Iterator<Item = (EventId, UserIndex)> {
        self.mutes_of(user, now).map(|&(event, muted, ..)| (event, muted))
    }

    /// Those of them whose doings make no notifications.
    pub(super) fn silenced_by(&self, user: UserIndex, now: DateTime<Utc>) -> impl Iterator<Item = UserIndex> {
        let silenced = self.mutes_of(user, now).filter(|(.., notifications)| !notifications);
        silenced.map(|&(_, muted, ..)| muted)
    }

    fn mutes_of(&self, user: UserIndex, now: DateTime<Utc>) -> impl Iterator<Item = &Mute> {
        let mutes = self.muting[user as usize].iter();
        mutes.filter(move |(_, _, until, _)| until.is_none_or(|end| now < end))
    }

    pub(super) fn following(&self, user: UserIndex) -> &[(EventId, UserIndex)] {
        &self.following[user as usize]
    }

    pub(super) fn followers(&self, user: UserIndex) -> &[(EventId, UserIndex)] {
        &self.followers[user as usize]
    }
}

/// The lists of people that belong to a post.
#[derive(Debug, Default)]
pub(super) struct PostPeople {
    pub(super) likers: Vec<(EventId, UserIndex)>,
    pub(super) reposters: Vec<(EventId, UserIndex)>,
}

#[cfg(test)]
#[path = "oracle_tests.rs"]
mod tests;
