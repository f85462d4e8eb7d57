//! The definition of the home timeline, computed only from events.

use std::collections::{BTreeSet, HashMap, HashSet};

use event_log::subscription::Delivery;
use model::events::Event;
use model::ids::{PostId, UserId};
use model::tags::TagKey;
use model::values::Visibility;

/// Every live post and repost of a live post, by the owner or somebody the owner follows, and every live public post with a tag that the
/// owner follows, newest first. A post for those whom it mentions is among them only if it is by the owner or mentions the owner.
pub(crate) fn home_timeline(log: &[Delivery], owner: UserId) -> Vec<PostId> {
    let state = State::of(log);
    let shown: BTreeSet<PostId> = state
        .posts
        .iter()
        .filter(|(_, post)| state.sees(owner, post.author) && post.admits(owner) || state.finds(owner, post))
        .filter(|(_, post)| post.original.is_none_or(|original| state.is_live(original)))
        .map(|(&id, _)| id)
        .collect();
    shown.into_iter().rev().collect()
}

/// Users who have not been deleted.
pub(crate) fn live_users(log: &[Delivery]) -> Vec<UserId> {
    let mut users: Vec<UserId> = State::of(log).users.into_iter().collect();
    users.sort();
    users
}

struct Shown {
    author: UserId,
    original: Option<PostId>,
    /// Whom the post mentions, if nobody else sees it.
    only_for: Option<HashSet<UserId>>,
    /// Those of a public post.
    tags: BTreeSet<TagKey>,
}

impl Shown {
    fn admits(&self, owner: UserId) -> bool {
        owner == self.author
            || self
                .only_for
                .as_ref()
                .is_none_or(|mentioned| mentioned.contains(&owner))
    }
}

#[derive(Default)]
struct State {
    users: HashSet<UserId>,
    follows: HashSet<(UserId, UserId)>,
    followed_tags: HashSet<(UserId, TagKey)>,
    posts: HashMap<PostId, Shown>,
}

impl State {
    fn of(log: &[Delivery]) -> Self {
        let mut last: HashMap<&str, &Delivery> = HashMap::new();
        for delivery in log {
            last.insert(delivery.recorded.stream.as_str(), delivery);
        }
        let mut state = State::default();
        for delivery in last.into_values() {
            match &delivery.event {
                Event::UserRegistered(user)
                | Event::UserProfileChanged(user)
                | Event::UserCredentialsChanged(user)
                | Event::UserProtected(user)
                | Event::UserUnprotected(user) => {
                    state.users.insert(user.id);
                }
                Event::PostCreated(post) | Event::PostEdited(post) => {
                    let mentions = post.content.iter().flat_map(|content| &content.entities.mentions);
                    let mentioned = mentions.filter_map(|mention| mention.user).collect();
                    let content = post.content.as_ref();
                    let tags = content.filter(|_| post.visibility == Visibility::Public);
                    state.posts.insert(
                        post.id,
                        Shown {
                            author: post.author,
                            original: None,
                            only_for: (post.visibility == Visibility::Mentioned).then_some(mentioned),
                            tags: tags.map(|content| content.entities.tags()).unwrap_or_default(),
                        },
                    );
                }
                Event::Followed(follow) | Event::FollowAccepted(follow) => {
                    state.follows.insert((follow.follower, follow.followee));
                }
                Event::TagFollowed(follow) => {
                    state.followed_tags.insert((follow.user, TagKey::of(&follow.tag)));
                }
                Event::PostReposted(repost) => {
                    state.posts.insert(
                        repost.id,
                        Shown {
                            author: repost.user,
                            original: Some(repost.post),
                            only_for: None,
                            tags: BTreeSet::new(),
                        },
                    );
                }
                _ => {}
            }
        }
        state
    }

    fn is_live(&self, post: PostId) -> bool {
        self.posts
            .get(&post)
            .is_some_and(|post| self.users.contains(&post.author))
    }

    fn finds(&self, owner: UserId, post: &Shown) -> bool {
        let followed = |tag: &TagKey| self.followed_tags.contains(&(owner, tag.clone()));
        self.users.contains(&post.author) && post.tags.iter().any(followed)
    }

    fn sees(&self, owner: UserId, author: UserId) -> bool {
        self.users.contains(&author) && (owner == author || self.follows.contains(&(owner, author)))
    }
}
