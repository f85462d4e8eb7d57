//! The names of streams.

use serde::{Deserialize, Serialize};

use crate::ids::{EventId, FilterId, ListId, PostId, ReportId, UserId};
use crate::tags::TagKey;

/// The name of a stream: the events of one aggregate, numbered from version 1.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StreamId(String);

impl StreamId {
    pub fn user(id: UserId) -> Self {
        Self(format!("user-{id}"))
    }

    pub fn post(id: PostId) -> Self {
        Self(format!("post-{id}"))
    }

    pub fn follow(follower: UserId, followee: UserId) -> Self {
        Self(format!("follow-{follower}-{followee}"))
    }

    /// Between these two names are the streams of all users whom the follower has ever followed, and no others.
    pub fn follows_of(follower: UserId) -> [Self; 2] {
        // In ASCII, a full stop comes right after a hyphen.
        [Self(format!("follow-{follower}-")), Self(format!("follow-{follower}."))]
    }

    pub fn like(user: UserId, post: PostId) -> Self {
        Self(format!("like-{user}-{post}"))
    }

    pub fn repost(user: UserId, post: PostId) -> Self {
        Self(format!("repost-{user}-{post}"))
    }

    pub fn bookmark(user: UserId, post: PostId) -> Self {
        Self(format!("bookmark-{user}-{post}"))
    }

    pub fn block(blocker: UserId, blocked: UserId) -> Self {
        Self(format!("block-{blocker}-{blocked}"))
    }

    pub fn mute(muter: UserId, muted: UserId) -> Self {
        Self(format!("mute-{muter}-{muted}"))
    }

    /// A tag may have any characters, so its hash is in the name.
    pub fn tag(user: UserId, tag: &TagKey) -> Self {
        Self(format!("tag-{user}-{}", hash(tag)))
    }

    /// Between these two names are the streams of all tags that the user has ever followed, and no others.
    pub fn tags_of(user: UserId) -> [Self; 2] {
        [Self(format!("tag-{user}-")), Self(format!("tag-{user}."))]
    }

    pub fn pins(user: UserId) -> Self {
        Self(format!("pins-{user}"))
    }

    pub fn list(list: ListId) -> Self {
        Self(format!("list-{list}"))
    }

    pub fn list_member(list: ListId, user: UserId) -> Self {
        Self(format!("list_member-{list}-{user}"))
    }

    /// Between these two names are the streams of all users who have ever been in the list, and no others.
    pub fn members_of(list: ListId) -> [Self; 2] {
        [
            Self(format!("list_member-{list}-")),
            Self(format!("list_member-{list}.")),
        ]
    }

    pub fn list_tag(list: ListId, tag: &TagKey) -> Self {
        Self(format!("list_tag-{list}-{}", hash(tag)))
    }

    /// Between these two names are the streams of all tags that have ever been in the list, and no others.
    pub fn tags_of_list(list: ListId) -> [Self; 2] {
        [Self(format!("list_tag-{list}-")), Self(format!("list_tag-{list}."))]
    }

    /// The owner is in the name, so that the filters of one user can be counted, and nobody else's command finds them.
    pub fn filter(owner: UserId, filter: FilterId) -> Self {
        Self(format!("filter-{owner}-{filter}"))
    }

    /// Between these two names are the streams of all filters, and no others.
    pub fn filters() -> [Self; 2] {
        [Self("filter-".to_owned()), Self("filter.".to_owned())]
    }

    pub fn notifications_read(user: UserId) -> Self {
        Self(format!("notifications_read-{user}"))
    }

    pub fn notification(user: UserId, notification: EventId) -> Self {
        Self(format!("notification-{user}-{notification}"))
    }

    pub fn role(user: UserId) -> Self {
        Self(format!("role-{user}"))
    }

    pub fn report(report: ReportId) -> Self {
        Self(format!("report-{report}"))
    }

    /// The name in a document of the event store.
    pub fn from_stored(name: String) -> Self {
        Self(name)
    }

    /// For a document without a stream name: it is alone in its own stream.
    pub fn unreadable(id: EventId) -> Self {
        Self(format!("unreadable-{id}"))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for StreamId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

fn hash(tag: &TagKey) -> String {
    tag.sha256().iter().map(|byte| format!("{byte:02x}")).collect()
}
