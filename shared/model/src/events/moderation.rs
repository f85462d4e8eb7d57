//! What moderators see and do.

use serde::{Deserialize, Serialize};

use super::{Aggregate, StreamId};
use crate::ids::{PostId, ReportId, UserId};

/// What a moderator has done last to a post or an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moderation {
    pub by: UserId,
    /// False if this moderator has taken it back.
    pub active: bool,
}

/// A user tells the moderators of somebody's account or posts. Only moderators see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub id: ReportId,
    pub reporter: UserId,
    pub user: UserId,
    /// Posts of the user that it is about.
    pub posts: Vec<PostId>,
    /// Absent if the reporter says nothing, and once the reporter is deleted, from every event of the stream.
    pub comment: Option<String>,
    /// The moderator who has dealt with it.
    pub resolved_by: Option<UserId>,
}

impl Report {
    /// The most posts that one report is about.
    pub const MAX_POSTS: usize = 10;
}

impl Aggregate for Report {
    fn stream(&self) -> StreamId {
        StreamId::report(self.id)
    }

    fn audience(&self) -> UserId {
        self.user
    }
}
