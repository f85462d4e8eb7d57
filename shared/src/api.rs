//! The JSON types that both services answer with.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::entities::Entities;
use crate::ids::{PostId, UserId};
use crate::values::Visibility;

/// A user, without anything private.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct User {
    pub id: UserId,
    pub handle: String,
    pub display_name: String,
    pub bio: String,
    pub created_at: DateTime<Utc>,
    /// Absent in the answers of commands, which count nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<UserCounts>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UserCounts {
    /// Posts and replies, without reposts.
    pub posts: u64,
    pub followers: u64,
    pub following: u64,
}

/// Who wrote a post.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Author {
    pub id: UserId,
    pub handle: String,
    /// Absent in the answers of commands, which read no profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
}

/// A post or a reply; or a repost, whose `author` is who reposted and whose `repost_of` is the whole original.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Post {
    pub id: PostId,
    pub author: Author,
    /// Empty for a repost: the words are the original's.
    pub text: String,
    pub entities: Entities,
    pub in_reply_to: Option<PostId>,
    #[schema(no_recursion)]
    pub repost_of: Option<Box<Post>>,
    pub visibility: Visibility,
    pub created_at: DateTime<Utc>,
    pub edited_at: Option<DateTime<Utc>>,
    /// Absent in the answers of commands. A repost shows those of its original.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<PostCounts>,
    /// What the caller did with it; absent where no token was sent. A repost shows that of its original.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub viewer: Option<PostViewer>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PostCounts {
    pub likes: u64,
    pub reposts: u64,
    pub replies: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PostViewer {
    pub liked: bool,
    pub reposted: bool,
}

/// How the caller and another user stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Relationship {
    /// The other user.
    pub id: UserId,
    /// The caller follows the other.
    pub following: bool,
    /// The other follows the caller.
    pub followed_by: bool,
}

/// One page of a list, newest first. The cursors go into `before` and `after`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// For `before`: what is older than this page; null at the end.
    pub next: Option<String>,
    /// For `after`: what is newer than this page. Items may come again, none is missed.
    pub prev: Option<String>,
}
