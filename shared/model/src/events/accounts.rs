//! Accounts: what users say about themselves, and which rights they have.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Aggregate, FIRST_SCHEMA, Moderation, StreamId};
use crate::ids::UserId;
use crate::values::{Handle, ProfileField, Role};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    pub id: UserId,
    pub handle: Handle,
    /// Absent once the user is deleted, from every event of the stream.
    pub display_name: Option<String>,
    pub bio: Option<String>,
    /// Empty once the user is deleted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<ProfileField>,
    #[serde(with = "bson::serde_helpers::datetime::FromChrono04DateTime")]
    pub created_at: DateTime<Utc>,
    pub deleted: bool,
    /// Whoever wants to follow has to ask, and only followers see the posts.
    #[serde(default)]
    pub protected: bool,
    /// While it is active, nobody else sees the user's posts, and the user writes nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended: Option<Moderation>,
}

impl User {
    pub fn is_suspended(&self) -> bool {
        self.suspended.is_some_and(|act| act.active)
    }
}

/// What a user may do that others may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRole {
    pub user: UserId,
    /// Without it, the user is like everybody else.
    pub role: Option<Role>,
    /// Who has given or taken it. Absent if it was whoever runs the service, with `microblog role`.
    pub by: Option<UserId>,
}

impl Aggregate for User {
    fn stream(&self) -> StreamId {
        StreamId::user(self.id)
    }

    fn audience(&self) -> UserId {
        self.id
    }

    fn schema(&self) -> i32 {
        if self.suspended.is_some() {
            3
        } else if self.protected || !self.fields.is_empty() {
            2
        } else {
            FIRST_SCHEMA
        }
    }
}

impl Aggregate for UserRole {
    fn stream(&self) -> StreamId {
        StreamId::role(self.user)
    }

    fn audience(&self) -> UserId {
        self.user
    }
}
