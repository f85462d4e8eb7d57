//! What happened, in the past tense.
//!
//! An event carries the whole new public state of its aggregate. So the highest version wins, in whatever order events arrive, and loading
//! an aggregate means reading its last event. Secrets and personal contact data never enter an event.

mod accounts;
mod moderation;
mod people;
mod posts;
mod reading;
mod stream;

use bson::RawDocument;
use bson::raw::RawDocumentBuf;

pub use self::accounts::{User, UserRole};
pub use self::moderation::{Moderation, Report};
pub use self::people::{Block, EndedFollows, Follow, Mute};
pub use self::posts::{Bookmark, Like, Pins, Post, PostContent, QuoteOf, ReplyTo, Repost};
pub use self::reading::{
    Filter, FilterContent, List, ListMember, ListTag, NotificationDismissed, NotificationsRead, TagFollow,
};
pub use self::stream::StreamId;
use crate::ids::{Partition, UserId};

/// The highest schema of an event that this program can read. See [`Event::schema`].
pub const SCHEMA: i32 = 3;
/// The schema of the first version. Every program can read it.
pub const FIRST_SCHEMA: i32 = 1;

/// The event can't be decoded.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// A newer program can read it.
    #[error("unknown event type '{0}'")]
    UnknownType(String),
    /// A newer program can read it.
    #[error("event type '{event_type}' has schema {schema}, newer than the {SCHEMA} this program knows")]
    UnknownSchema { event_type: String, schema: i32 },
    /// No program can ever read it. The message does not say what is wrong, because that would quote a user's text.
    #[error("event of type '{event_type}' and schema {schema} is malformed")]
    Malformed { event_type: String, schema: i32 },
}

/// What the states of all aggregates have in common.
trait Aggregate {
    fn stream(&self) -> StreamId;

    /// The user whose audience a change concerns. A follow and the posts that race with it have the same audience, so they meet in commit
    /// order.
    fn audience(&self) -> UserId;

    /// The lowest schema that has everything in this state. See [`Event::schema`].
    fn schema(&self) -> i32 {
        FIRST_SCHEMA
    }
}

/// Makes [`Event`] from the aggregates below and the events of each. `since` is the schema that brought a type, if it was not the first.
macro_rules! events {
    ($($aggregate:ident { $($(#[$about:meta])* $variant:ident => $name:literal $(since $schema:literal)?,)+ })+) => {
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Event {
            $($($(#[$about])* $variant($aggregate),)+)+
        }

        /// The whole new state that an event carries, for every kind of event.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum State<'a> {
            $($aggregate(&'a $aggregate),)+
        }

        impl Event {
            /// The names of all event types that this program knows.
            pub const TYPES: &[&str] = &[$($($name,)+)+];

            /// The name under which the event is stored.
            pub fn event_type(&self) -> &'static str {
                match self { $($(Event::$variant(_) => $name,)+)+ }
            }

            pub fn state(&self) -> State<'_> {
                match self { $($(Event::$variant(state) => State::$aggregate(state),)+)+ }
            }

            /// The schema that brought the event's type.
            fn since(&self) -> i32 {
                match self { $($(Event::$variant(_) => [$($schema,)? FIRST_SCHEMA][0],)+)+ }
            }

            fn aggregate(&self) -> &dyn Aggregate {
                match self.state() { $(State::$aggregate(state) => state,)+ }
            }

            /// The state in the format of the event's `data`.
            pub fn encode(&self) -> Result<RawDocumentBuf, bson::error::Error> {
                match self.state() { $(State::$aggregate(state) => bson::serialize_to_raw_document_buf(state),)+ }
            }

            /// Decodes a stored event. Older schemas would be upcast here.
            pub fn decode(event_type: &str, schema: i32, data: &RawDocument) -> Result<Self, DecodeError> {
                if schema > SCHEMA {
                    return Err(DecodeError::UnknownSchema { event_type: event_type.to_owned(), schema });
                }
                match event_type {
                    $($($name => bson::deserialize_from_slice(data.as_bytes()).map(Event::$variant),)+)+
                    _ => return Err(DecodeError::UnknownType(event_type.to_owned())),
                }
                .map_err(|_| DecodeError::Malformed { event_type: event_type.to_owned(), schema })
            }
        }
    };
}

events! {
    User {
        UserRegistered => "user.registered",
        UserProfileChanged => "user.profile_changed",
        /// The password or the e-mail address has changed. Neither is in the event.
        UserCredentialsChanged => "user.credentials_changed",
        /// From now on, whoever wants to follow has to ask. What else the same command changes is in the event too.
        UserProtected => "user.protected" since 2,
        /// From now on, everybody may follow. The requests that wait are accepted.
        UserUnprotected => "user.unprotected" since 2,
        UserSuspended => "user.suspended" since 3,
        UserRestored => "user.restored" since 3,
        UserDeleted => "user.deleted",
    }
    Post {
        PostCreated => "post.created",
        PostEdited => "post.edited",
        /// The quoted author has taken the quoted post out.
        PostQuoteDetached => "post.quote_detached" since 3,
        PostHidden => "post.hidden" since 3,
        PostUnhidden => "post.unhidden" since 3,
        PostDeleted => "post.deleted",
    }
    Follow {
        Followed => "follow.followed",
        Unfollowed => "follow.unfollowed",
        FollowRequested => "follow.requested" since 2,
        FollowAccepted => "follow.accepted" since 2,
        FollowRejected => "follow.rejected" since 2,
        /// The follower has withdrawn the request.
        FollowCancelled => "follow.cancelled" since 2,
        /// The followee has removed the follower, or a block has ended the follow or the request.
        FollowRemoved => "follow.removed" since 2,
    }
    Like {
        PostLiked => "like.liked",
        PostUnliked => "like.unliked",
    }
    Repost {
        PostReposted => "repost.reposted",
        PostUnreposted => "repost.unreposted",
    }
    Bookmark {
        PostBookmarked => "bookmark.bookmarked",
        PostUnbookmarked => "bookmark.unbookmarked",
    }
    Block {
        UserBlocked => "block.blocked" since 2,
        UserUnblocked => "block.unblocked" since 2,
    }
    Mute {
        UserMuted => "mute.muted" since 2,
        UserUnmuted => "mute.unmuted" since 2,
    }
    TagFollow {
        TagFollowed => "tag.followed" since 2,
        TagUnfollowed => "tag.unfollowed" since 2,
    }
    Pins {
        PostPinned => "pins.pinned" since 3,
        PostUnpinned => "pins.unpinned" since 3,
    }
    List {
        ListCreated => "list.created" since 3,
        ListChanged => "list.changed" since 3,
        ListDeleted => "list.deleted" since 3,
    }
    ListMember {
        ListMemberAdded => "list_member.added" since 3,
        ListMemberRemoved => "list_member.removed" since 3,
    }
    ListTag {
        ListTagAdded => "list_tag.added" since 3,
        ListTagRemoved => "list_tag.removed" since 3,
    }
    Filter {
        FilterCreated => "filter.created" since 3,
        FilterChanged => "filter.changed" since 3,
        FilterDeleted => "filter.deleted" since 3,
    }
    NotificationsRead {
        NotificationsRead => "notifications.read" since 3,
    }
    NotificationDismissed {
        NotificationDismissed => "notification.dismissed" since 3,
    }
    UserRole {
        RoleChanged => "role.changed" since 3,
    }
    Report {
        UserReported => "report.made" since 3,
        ReportResolved => "report.resolved" since 3,
    }
}

impl Event {
    /// Whether this program can read events of a type and schema.
    pub fn knows(event_type: &str, schema: i32) -> bool {
        schema <= SCHEMA && Self::TYPES.contains(&event_type)
    }

    /// The lowest schema that a program must know to read this event without losing anything. An event without new fields keeps the first
    /// schema, so that programs of the version before go on reading it.
    pub fn schema(&self) -> i32 {
        self.since().max(self.aggregate().schema())
    }

    /// The stream the event belongs to.
    pub fn stream(&self) -> StreamId {
        self.aggregate().stream()
    }

    /// The user whose audience the event concerns. A follow and the posts that race with it have the same audience, so they meet in commit
    /// order.
    pub fn audience(&self) -> UserId {
        self.aggregate().audience()
    }

    pub fn partition(&self) -> Partition {
        self.audience().partition()
    }
}

/// An optional time as a BSON date or null. `bson::serde_helpers` only supports times that are present.
pub mod optional_datetime {
    use chrono::{DateTime, Utc};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(time: &Option<DateTime<Utc>>, serializer: S) -> Result<S::Ok, S::Error> {
        time.map(bson::DateTime::from_chrono).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<DateTime<Utc>>, D::Error> {
        Ok(Option::<bson::DateTime>::deserialize(deserializer)?.map(bson::DateTime::to_chrono))
    }
}

#[cfg(test)]
mod tests;
