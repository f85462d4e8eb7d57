//! What a transaction reads before it decides, and what it reads it for.

use std::collections::{BTreeSet, HashMap};

use shared::events::Event;
use shared::ids::{EventId, PostId, UserId};
use shared::position::Position;

use crate::views::profiles::Audience;
use crate::views::relations::RelationId;

/// What is known of a row before it is written. A row that is not there is as a stub.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::views) struct RowState {
    pub(in crate::views) exists: bool,
    pub(in crate::views) version: i64,
    pub(in crate::views) live: bool,
}

impl RowState {
    /// Removed, or without the text that a removal took: nothing that people wrote may come back.
    pub(super) fn is_tombstone(self) -> bool {
        self.version > 0 && !self.live
    }
}

/// The rows that events may replace, or whose state decides what follows from them; counts need no look.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::views) struct Keys {
    pub(in crate::views) profiles: BTreeSet<UserId>,
    pub(in crate::views) posts: BTreeSet<PostId>,
    pub(in crate::views) relations: BTreeSet<RelationId>,
}

impl Keys {
    pub(in crate::views) fn of<'a>(events: impl Iterator<Item = &'a Recorded>) -> Self {
        let mut keys = Keys::default();
        for recorded in events {
            match &recorded.event {
                Event::UserRegistered(user)
                | Event::UserProfileChanged(user)
                | Event::UserCredentialsChanged(user)
                | Event::UserDeleted(user) => {
                    keys.profiles.insert(user.id);
                }
                Event::PostCreated(post) | Event::PostEdited(post) | Event::PostDeleted(post) => {
                    keys.profiles.insert(post.author);
                    keys.posts.insert(post.id);
                }
                Event::Followed(follow) | Event::Unfollowed(follow) => {
                    keys.profiles.insert(follow.followee);
                    keys.relations
                        .insert(RelationId::follow(follow.follower, follow.followee));
                }
                Event::PostLiked(like) | Event::PostUnliked(like) => {
                    keys.relations.insert(RelationId::like(like.user, like.post));
                }
                Event::PostReposted(repost) | Event::PostUnreposted(repost) => {
                    keys.profiles.insert(repost.user);
                    keys.relations.insert(RelationId::repost(repost.user, repost.post));
                    keys.posts.insert(repost.id);
                }
            }
        }
        keys
    }
}

/// As much of a recorded event as rows are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::views) struct Recorded {
    pub(in crate::views) id: EventId,
    pub(in crate::views) version: i64,
    /// Unknown in a scan.
    pub(in crate::views) position: Option<Position>,
    pub(in crate::views) event: Event,
}

/// How what an account posts reaches its followers, as a transaction has seen it.
///
/// A follow writes its followee's profile, and so do the first step of crossing and the first post. Whatever a
/// transaction that follows has not seen here was therefore committed after its edge, and finds it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::views) struct Reach {
    /// Those included that the transaction itself adds.
    pub(in crate::views) followers: i64,
    pub(in crate::views) audience: Option<Audience>,
    /// There is a post or repost, or was one.
    pub(in crate::views) posted: bool,
}

/// The rows as a transaction read them.
#[derive(Debug, Default)]
pub(in crate::views) struct Known {
    pub(in crate::views) reaches: HashMap<UserId, Reach>,
    pub(in crate::views) profiles: HashMap<UserId, RowState>,
    pub(in crate::views) posts: HashMap<PostId, RowState>,
    pub(in crate::views) relations: HashMap<RelationId, RowState>,
}
