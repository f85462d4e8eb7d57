//! What users are to each other.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Aggregate, FIRST_SCHEMA, StreamId, optional_datetime};
use crate::ids::UserId;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Follow {
    pub follower: UserId,
    pub followee: UserId,
    /// The follower follows. A request that waits is not a follow.
    pub active: bool,
    /// The follower has asked to follow, and waits for an answer. Then `active` is false.
    #[serde(default)]
    pub requested: bool,
}

/// While it is active, neither of the two sees the other, or follows the other. Only the blocker is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    pub blocker: UserId,
    pub blocked: UserId,
    pub active: bool,
    pub ends: EndedFollows,
}

/// The follows and requests that a block ends: those up to these versions, even if the block is taken back at once. As long as the block is
/// active, it ends later ones too. A version is 0 if the stream had no event when the block was decided.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedFollows {
    /// In the stream of the blocker, who follows the blocked user.
    pub by_blocker: i64,
    /// In the stream of the blocked user, who follows the blocker.
    pub by_blocked: i64,
}

/// The muter does not want to read the muted user, except where the muter looks for them. Nobody else can see that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mute {
    pub muter: UserId,
    pub muted: UserId,
    pub active: bool,
    /// The mute is over at this time. Without it, the mute lasts until it is taken back.
    #[serde(with = "optional_datetime")]
    pub until: Option<DateTime<Utc>>,
    /// What the muted user does still makes notifications.
    pub notifications: bool,
}

impl Aggregate for Follow {
    fn stream(&self) -> StreamId {
        StreamId::follow(self.follower, self.followee)
    }

    fn audience(&self) -> UserId {
        self.followee
    }

    fn schema(&self) -> i32 {
        if self.requested { 2 } else { FIRST_SCHEMA }
    }
}

impl Aggregate for Block {
    fn stream(&self) -> StreamId {
        StreamId::block(self.blocker, self.blocked)
    }

    fn audience(&self) -> UserId {
        self.blocker
    }
}

impl Aggregate for Mute {
    fn stream(&self) -> StreamId {
        StreamId::mute(self.muter, self.muted)
    }

    fn audience(&self) -> UserId {
        self.muter
    }
}
