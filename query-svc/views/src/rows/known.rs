//! What a transaction reads before it decides, and why.

use std::collections::{BTreeSet, HashMap};

use event_log::position::Position;
use model::events::{Event, State};
use model::ids::{EventId, PostId, UserId};
use model::tags::TagKey;

use crate::profiles::Audience;
use crate::relations::RelationId;

/// What is known of a row before it is written. A row that does not exist is treated as a stub.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RowState {
    pub(crate) exists: bool,
    pub(crate) version: i64,
    pub(crate) live: bool,
}

impl RowState {
    /// Whether the row was removed, or a deletion has redacted its event. Nothing that people wrote may come back to it.
    pub(super) fn is_tombstone(self) -> bool {
        self.version > 0 && !self.live
    }
}

/// The rows that events may replace, or whose state decides what else is written. Rows that are only counted on are not read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Keys {
    pub(crate) profiles: BTreeSet<UserId>,
    pub(crate) posts: BTreeSet<PostId>,
    pub(crate) relations: BTreeSet<RelationId>,
}

impl Keys {
    pub(crate) fn of<'a>(events: impl Iterator<Item = &'a Recorded>) -> Self {
        let mut keys = Keys::default();
        for recorded in events {
            match recorded.event.state() {
                State::User(user) => {
                    keys.profiles.insert(user.id);
                }
                State::Post(post) => {
                    keys.profiles.insert(post.author);
                    keys.posts.insert(post.id);
                }
                State::Follow(follow) => {
                    keys.profiles.insert(follow.followee);
                    keys.relations
                        .insert(RelationId::follow(follow.follower, follow.followee));
                }
                State::Like(like) => {
                    keys.relations.insert(RelationId::like(like.user, like.post));
                }
                State::Repost(repost) => {
                    keys.profiles.insert(repost.user);
                    keys.relations.insert(RelationId::repost(repost.user, repost.post));
                    keys.posts.insert(repost.id);
                }
                State::Block(block) => {
                    keys.relations.insert(RelationId::block(block.blocker, block.blocked));
                }
                State::Mute(mute) => {
                    keys.relations.insert(RelationId::mute(mute.muter, mute.muted));
                }
                // See `Changes::take`.
                _ => {}
            }
        }
        keys
    }
}

/// The parts of a recorded event from which rows are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recorded {
    pub(crate) id: EventId,
    pub(crate) version: i64,
    /// Unknown in a scan.
    pub(crate) position: Option<Position>,
    pub(crate) event: Event,
}

/// How the posts of an account reach its followers, as a transaction has read it.
///
/// These writes change the account's profile: every follow of the account, the first step of crossing, and the first post. So if the
/// transaction of a follow has not seen such a change here, the change was committed after the follow's edge, and its work finds the edge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Reach {
    /// Includes the followers that the transaction itself adds.
    pub(crate) followers: i64,
    pub(crate) audience: Option<Audience>,
    /// The account has a post or repost, or had one.
    pub(crate) posted: bool,
}

/// The rows as a transaction read them.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) reaches: HashMap<UserId, Reach>,
    pub(crate) profiles: HashMap<UserId, RowState>,
    pub(crate) posts: HashMap<PostId, RowState>,
    /// The tags of posts that have rows in `tagged`.
    pub(crate) tags: HashMap<PostId, BTreeSet<TagKey>>,
    /// The posts that live posts quote, if the quotes are not detached.
    pub(crate) quoting: HashMap<PostId, PostId>,
    /// Whom posts tell something.
    pub(crate) told: HashMap<PostId, BTreeSet<UserId>>,
    pub(crate) relations: HashMap<RelationId, RowState>,
}
