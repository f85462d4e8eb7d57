//! What users want to read. Nobody else can see any of it.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Aggregate, StreamId, optional_datetime};
use crate::ids::{EventId, FilterId, ListId, UserId};
use crate::tags::TagKey;
use crate::values::{FilterAction, FilterContext};

/// A user follows a tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagFollow {
    pub user: UserId,
    /// As the user has written it. Another spelling of the same tag is in the same stream.
    pub tag: String,
    pub active: bool,
}

/// A list of users and tags whose posts its owner reads together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    pub id: ListId,
    pub owner: UserId,
    /// Absent once the list is deleted, from every event of the stream.
    pub title: Option<String>,
    /// The posts of its members are not in the owner's home timeline.
    pub exclusive: bool,
    pub deleted: bool,
}

/// A user is in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListMember {
    pub list: ListId,
    pub owner: UserId,
    pub user: UserId,
    pub active: bool,
}

/// A tag is in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListTag {
    pub list: ListId,
    pub owner: UserId,
    /// As the owner has written it. Another spelling of the same tag is in the same stream.
    pub tag: String,
    pub active: bool,
}

/// Phrases that a user does not want to read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    pub id: FilterId,
    pub owner: UserId,
    /// Absent once the filter is deleted, from every event of the stream.
    pub content: Option<FilterContent>,
    pub deleted: bool,
}

impl Filter {
    /// The most filters that a user can have.
    pub const MAX: u32 = 100;
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterContent {
    pub phrases: Vec<String>,
    /// A phrase matches only where no word goes on before or after it.
    pub whole_word: bool,
    pub contexts: BTreeSet<FilterContext>,
    pub action: FilterAction,
    /// The filter is over at this time. Without it, the filter lasts until it is deleted.
    #[serde(with = "optional_datetime")]
    pub expires_at: Option<DateTime<Utc>>,
}

/// How far a user has read the notifications.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationsRead {
    pub user: UserId,
    /// The newest notification that the user has read.
    pub up_to: EventId,
}

/// A user does not want to see a notification any more, whatever happens with its cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationDismissed {
    pub user: UserId,
    pub notification: EventId,
}

impl Aggregate for TagFollow {
    fn stream(&self) -> StreamId {
        StreamId::tag(self.user, &TagKey::of(&self.tag))
    }

    fn audience(&self) -> UserId {
        self.user
    }
}

impl Aggregate for List {
    fn stream(&self) -> StreamId {
        StreamId::list(self.id)
    }

    fn audience(&self) -> UserId {
        self.owner
    }
}

impl Aggregate for ListMember {
    fn stream(&self) -> StreamId {
        StreamId::list_member(self.list, self.user)
    }

    fn audience(&self) -> UserId {
        self.owner
    }
}

impl Aggregate for ListTag {
    fn stream(&self) -> StreamId {
        StreamId::list_tag(self.list, &TagKey::of(&self.tag))
    }

    fn audience(&self) -> UserId {
        self.owner
    }
}

impl Aggregate for Filter {
    fn stream(&self) -> StreamId {
        StreamId::filter(self.owner, self.id)
    }

    fn audience(&self) -> UserId {
        self.owner
    }
}

impl Aggregate for NotificationsRead {
    fn stream(&self) -> StreamId {
        StreamId::notifications_read(self.user)
    }

    fn audience(&self) -> UserId {
        self.user
    }
}

impl Aggregate for NotificationDismissed {
    fn stream(&self) -> StreamId {
        StreamId::notification(self.user, self.notification)
    }

    fn audience(&self) -> UserId {
        self.user
    }
}
