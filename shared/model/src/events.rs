//! What happened, in the past tense.
//!
//! An event carries the whole new public state of its aggregate. So the highest version wins, in whatever order events arrive, and loading
//! an aggregate means reading its last event. Secrets and personal contact data never enter an event.

use bson::RawDocument;
use bson::raw::RawDocumentBuf;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::entities::Entities;
use crate::ids::{EventId, Partition, PostId, UserId};
use crate::tags::TagKey;
use crate::values::{Handle, ProfileField, Visibility};

/// The highest schema of an event that this program can read. See [`Event::schema`].
pub const SCHEMA: i32 = 2;
/// The schema of the first version. Every program can read it.
pub const FIRST_SCHEMA: i32 = 1;

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
}

/// The post that a reply answers. It includes the author, so that nobody has to look the author up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyTo {
    pub post: PostId,
    pub author: UserId,
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
    pub visibility: Visibility,
    #[serde(with = "bson::serde_helpers::datetime::FromChrono04DateTime")]
    pub created_at: DateTime<Utc>,
    #[serde(with = "optional_datetime")]
    pub edited_at: Option<DateTime<Utc>>,
    pub deleted: bool,
}

impl Post {
    /// Whether the text mentions this user.
    pub fn mentions(&self, user: UserId) -> bool {
        self.content
            .as_ref()
            .is_some_and(|content| content.entities.mention(user))
    }
}

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

/// A user follows a tag. Nobody else can see that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagFollow {
    pub user: UserId,
    /// As the user has written it. Another spelling of the same tag is in the same stream.
    pub tag: String,
    pub active: bool,
}

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

impl Aggregate for User {
    fn stream(&self) -> StreamId {
        StreamId::user(self.id)
    }

    fn audience(&self) -> UserId {
        self.id
    }

    fn schema(&self) -> i32 {
        if self.protected || !self.fields.is_empty() {
            2
        } else {
            FIRST_SCHEMA
        }
    }
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
        let says_more = |content: &PostContent| content.warning.is_some() || content.language.is_some();
        match self.visibility {
            Visibility::Unlisted | Visibility::Mentioned => 2,
            Visibility::Public | Visibility::Followers if self.content.as_ref().is_some_and(says_more) => 2,
            Visibility::Public | Visibility::Followers => FIRST_SCHEMA,
        }
    }
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

impl Aggregate for TagFollow {
    fn stream(&self) -> StreamId {
        StreamId::tag(self.user, &TagKey::of(&self.tag))
    }

    fn audience(&self) -> UserId {
        self.user
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
        UserDeleted => "user.deleted",
    }
    Post {
        PostCreated => "post.created",
        PostEdited => "post.edited",
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
        let hash: String = tag.sha256().iter().map(|byte| format!("{byte:02x}")).collect();
        Self(format!("tag-{user}-{hash}"))
    }

    /// Between these two names are the streams of all tags that the user has ever followed, and no others.
    pub fn tags_of(user: UserId) -> [Self; 2] {
        [Self(format!("tag-{user}-")), Self(format!("tag-{user}."))]
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
