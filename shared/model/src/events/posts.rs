//! Posts, and what users do with them.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Aggregate, FIRST_SCHEMA, Moderation, StreamId, optional_datetime};
use crate::entities::Entities;
use crate::ids::{PostId, UserId};
use crate::values::Visibility;

/// The post that a reply answers. It includes the author, so that nobody has to look the author up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyTo {
    pub post: PostId,
    pub author: UserId,
}

/// The post that another one quotes. It includes the author, so that nobody has to look the author up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuoteOf {
    pub post: PostId,
    pub author: UserId,
    /// The quoted author has taken the quoted post out, for good.
    #[serde(default)]
    pub detached: bool,
}

/// The text of a post and what it refers to. A deletion removes it from every event of the stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostContent {
    pub text: String,
    pub entities: Entities,
    /// What the post warns of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// A language tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Post {
    pub id: PostId,
    pub author: UserId,
    /// Absent once the post is deleted, from every event of the stream.
    pub content: Option<PostContent>,
    pub in_reply_to: Option<ReplyTo>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quote_of: Option<QuoteOf>,
    pub visibility: Visibility,
    #[serde(with = "bson::serde_helpers::datetime::FromChrono04DateTime")]
    pub created_at: DateTime<Utc>,
    #[serde(with = "optional_datetime")]
    pub edited_at: Option<DateTime<Utc>>,
    pub deleted: bool,
    /// While it is active, nobody but the author sees the post.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hidden: Option<Moderation>,
}

impl Post {
    /// The post that it quotes, unless the quote is detached.
    pub fn quoted(&self) -> Option<PostId> {
        let quote = self.quote_of.filter(|quote| !quote.detached);
        quote.map(|quote| quote.post)
    }

    pub fn is_hidden(&self) -> bool {
        self.hidden.is_some_and(|act| act.active)
    }

    /// Whether the text mentions this user.
    pub fn mentions(&self, user: UserId) -> bool {
        self.content
            .as_ref()
            .is_some_and(|content| content.entities.mention(user))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Like {
    pub user: UserId,
    pub post: PostId,
    pub post_author: UserId,
    pub active: bool,
}

/// A repost has its own id. Each time a user reposts, the id is a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repost {
    pub id: PostId,
    pub user: UserId,
    pub post: PostId,
    pub post_author: UserId,
    #[serde(with = "bson::serde_helpers::datetime::FromChrono04DateTime")]
    pub created_at: DateTime<Utc>,
    pub active: bool,
}

/// A post that a user keeps. Nobody else can see that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bookmark {
    pub user: UserId,
    pub post: PostId,
    pub active: bool,
}

/// The posts that a user shows first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pins {
    pub user: UserId,
    /// The post that was pinned last comes first.
    pub posts: Vec<PostId>,
}

impl Pins {
    /// The most posts that a user pins.
    pub const MAX: usize = 5;
}

impl Aggregate for Post {
    fn stream(&self) -> StreamId {
        StreamId::post(self.id)
    }

    fn audience(&self) -> UserId {
        self.author
    }

    /// Users whom the text mentions need no higher schema. A program that loses them shows the post to fewer people, not to more.
    fn schema(&self) -> i32 {
        if self.quote_of.is_some() || self.hidden.is_some() {
            return 3;
        }
        let says_more = |content: &PostContent| content.warning.is_some() || content.language.is_some();
        match self.visibility {
            Visibility::Unlisted | Visibility::Mentioned => 2,
            Visibility::Public | Visibility::Followers if self.content.as_ref().is_some_and(says_more) => 2,
            Visibility::Public | Visibility::Followers => FIRST_SCHEMA,
        }
    }
}

impl Aggregate for Like {
    fn stream(&self) -> StreamId {
        StreamId::like(self.user, self.post)
    }

    fn audience(&self) -> UserId {
        self.post_author
    }
}

impl Aggregate for Repost {
    fn stream(&self) -> StreamId {
        StreamId::repost(self.user, self.post)
    }

    fn audience(&self) -> UserId {
        self.user
    }
}

impl Aggregate for Bookmark {
    fn stream(&self) -> StreamId {
        StreamId::bookmark(self.user, self.post)
    }

    fn audience(&self) -> UserId {
        self.user
    }
}

impl Aggregate for Pins {
    fn stream(&self) -> StreamId {
        StreamId::pins(self.user)
    }

    fn audience(&self) -> UserId {
        self.user
    }
}
