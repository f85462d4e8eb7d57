//! The JSON types that both services answer with.

use std::collections::BTreeSet;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize, Serializer};
use utoipa::ToSchema;

use crate::entities::Entities;
use crate::events::FilterContent;
use crate::ids::{EventId, FilterId, ListId, PostId, ReportId, UserId};
use crate::values::{
    FilterAction, FilterContext, NotificationKind, ProfileField, RegistrationPolicy, ReportState, Visibility,
};

/// The format of times in answers, or null: RFC 3339 in UTC, always with milliseconds. So all times have the same length, and their text
/// sorts as they do.
pub fn time<T, S>(time: &T, serializer: S) -> Result<S::Ok, S::Error>
where
    T: Copy + Into<Option<DateTime<Utc>>>,
    S: Serializer,
{
    let time: Option<DateTime<Utc>> = (*time).into();
    time.map(|time| time.to_rfc3339_opts(SecondsFormat::Millis, true))
        .serialize(serializer)
}

/// For fields that are absent unless they are true.
pub fn is_false(field: &bool) -> bool {
    !field
}

/// A user, without anything private.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct User {
    pub id: UserId,
    pub handle: String,
    pub display_name: String,
    pub bio: String,
    /// Whoever wants to follow the user has to ask, and only followers see the user's posts.
    #[serde(default)]
    pub protected: bool,
    /// At most four.
    pub fields: Vec<ProfileField>,
    /// Always null in this version.
    pub avatar: Option<Media>,
    #[serde(serialize_with = "time")]
    pub created_at: DateTime<Utc>,
    /// Moderators have suspended the account: nobody else sees its posts. Absent if they have not.
    #[serde(default, skip_serializing_if = "is_false")]
    pub suspended: bool,
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

/// A picture or another medium. No user and no post has one in this version; a later one describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Media {}

/// The author of a post.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Author {
    pub id: UserId,
    pub handle: String,
    /// Absent in the answers of commands, which read no profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
}

/// A post or a reply, or a repost. The `author` of a repost is the user who reposted, and `repost_of` is the whole original.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Post {
    pub id: PostId,
    pub author: Author,
    /// Empty for a repost. The text is in the original.
    pub text: String,
    pub entities: Entities,
    /// What the post warns of. Clients show it first, and the text to those who want to see it.
    pub warning: Option<String>,
    /// The language of the text, as a tag of BCP 47.
    pub language: Option<String>,
    /// Always empty in this version.
    pub attachments: Vec<Media>,
    pub in_reply_to: Option<PostId>,
    #[schema(no_recursion)]
    pub repost_of: Option<Box<Post>>,
    /// The post that this one quotes.
    pub quote: Option<Quote>,
    pub visibility: Visibility,
    #[serde(serialize_with = "time")]
    pub created_at: DateTime<Utc>,
    #[serde(serialize_with = "time")]
    pub edited_at: Option<DateTime<Utc>>,
    /// Moderators have hidden the post from everybody but its author. Absent if they have not.
    #[serde(default, skip_serializing_if = "is_false")]
    pub hidden: bool,
    /// Absent in the answers of commands. A repost has the counts of its original.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<PostCounts>,
    /// The author shows it first. Present only at the beginning of a user's posts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pinned: bool,
    /// What the caller did with the post. Absent if no token was sent. A repost has that of its original.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub viewer: Option<PostViewer>,
    /// The caller's filters that have found something in the post or, for a repost, in its original. Absent if there are none. Clients show
    /// what was found, and the post to those who want to see it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filtered: Vec<Filtered>,
}

/// What one filter has found in a post.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Filtered {
    /// The filter.
    pub id: FilterId,
    /// `warn`, or `hide` if the caller has asked for just this post: then it is shown all the same.
    pub action: FilterAction,
    /// The phrases that were found, as the filter has them.
    pub phrases: Vec<String>,
}

/// A filter of the caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Filter {
    pub id: FilterId,
    #[schema(example = json!(["spoiler", "season two"]))]
    pub phrases: Vec<String>,
    /// A phrase matches only where no word goes on before or after it.
    pub whole_word: bool,
    pub contexts: BTreeSet<FilterContext>,
    pub action: FilterAction,
    /// When the filter is over. It then does nothing, until it gets a later end. Null: it has no end.
    #[serde(serialize_with = "time")]
    pub expires_at: Option<DateTime<Utc>>,
}

impl Filter {
    pub fn new(id: FilterId, content: FilterContent) -> Self {
        let FilterContent {
            phrases,
            whole_word,
            contexts,
            action,
            expires_at,
        } = content;
        Self {
            id,
            phrases,
            whole_word,
            contexts,
            action,
            expires_at,
        }
    }
}

/// What a post quotes. Posts that quote each other are shown one into the other only once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Quote {
    pub state: QuoteState,
    /// Present if `state` is `shown`.
    #[schema(no_recursion)]
    pub post: Option<Box<Post>>,
}

/// Whether a quoted post is shown. `shown`: it is. `nested`: it is not, because it is quoted in a post that is itself quoted, or because a
/// command answers; read the quoting post to see it. `unavailable`: it is deleted, or the caller may not see it or does not want to.
/// `detached`: its author has taken it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum QuoteState {
    Shown,
    Nested,
    Unavailable,
    Detached,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PostCounts {
    pub likes: u64,
    pub reposts: u64,
    pub replies: u64,
    #[serde(default)]
    pub quotes: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PostViewer {
    pub liked: bool,
    pub reposted: bool,
}

/// How the caller and another user are related.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Relationship {
    /// The other user.
    pub id: UserId,
    /// The caller follows the other.
    pub following: bool,
    /// The caller has asked to follow the other, and waits for an answer.
    pub requested: bool,
    /// The other follows the caller.
    pub followed_by: bool,
    /// The other has asked to follow the caller, and waits for an answer.
    pub requested_by: bool,
    /// The caller blocks the other.
    pub blocking: bool,
    /// The other blocks the caller.
    pub blocked_by: bool,
    /// The caller mutes the other.
    pub muting: bool,
    /// When the mute is over. Null if there is none, or if it has no end.
    #[serde(serialize_with = "time")]
    pub muted_until: Option<DateTime<Utc>>,
}

impl Relationship {
    /// Neither of the two has anything to do with the other.
    pub fn none(id: UserId) -> Self {
        Self {
            id,
            following: false,
            requested: false,
            followed_by: false,
            requested_by: false,
            blocking: false,
            blocked_by: false,
            muting: false,
            muted_until: None,
        }
    }
}

/// A tag, as the caller sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tag {
    /// Without the `#`, as the caller wrote it: in the follow, if there is one, otherwise in the request.
    #[schema(example = "Rust")]
    pub name: String,
    /// Whether the caller follows it. Absent if no token was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub following: Option<bool>,
}

/// A list of users and tags whose posts its owner reads together. Nobody else knows of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct List {
    pub id: ListId,
    #[schema(example = "Friends")]
    pub title: String,
    /// The posts of its members are not in the owner's home timeline.
    pub exclusive: bool,
}

/// Whether a user is in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ListMember {
    /// The user.
    pub id: UserId,
    pub listed: bool,
}

/// Whether a tag is in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ListTag {
    /// Without the `#`, as the caller wrote it: when it came into the list, if it is there, otherwise in the request.
    #[schema(example = "Rust")]
    pub name: String,
    pub listed: bool,
}

/// A report to the moderators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Report {
    pub id: ReportId,
    pub reporter: UserId,
    pub user: UserId,
    /// Posts of the user that it is about.
    pub posts: Vec<PostId>,
    /// Null if the reporter has said nothing, or is deleted.
    pub comment: Option<String>,
    pub state: ReportState,
    /// The moderator who has resolved it.
    pub resolved_by: Option<UserId>,
    #[serde(serialize_with = "time")]
    pub created_at: DateTime<Utc>,
}

/// The place, as everybody sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Instance {
    #[schema(example = "Microblog")]
    pub name: String,
    pub description: String,
    #[schema(example = json!(["Be kind.", "No advertisements."]))]
    pub rules: Vec<String>,
    pub limits: InstanceLimits,
    #[schema(example = "0.1.0")]
    pub version: String,
    /// The path of the live streams, at the address of this answer. Null in versions that have none.
    #[schema(example = "/v1/streams")]
    pub streams: Option<String>,
    pub registration: RegistrationPolicy,
}

/// The most that there may be of something. Characters are counted as a reader counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InstanceLimits {
    pub post_characters: usize,
    pub warning_characters: usize,
    /// Of a handle.
    pub handle_characters: usize,
    pub display_name_characters: usize,
    pub bio_characters: usize,
    /// Of any text, whatever its characters are made of.
    pub text_bytes: usize,
    /// In a profile.
    pub fields: usize,
    /// Posts that a user pins.
    pub pins: usize,
    /// Accounts that a user follows.
    pub follows: u32,
    pub followed_tags: u32,
    /// Lists of a user.
    pub lists: u32,
    /// Users in a list.
    pub list_members: u32,
    /// Tags in a list.
    pub list_tags: u32,
    /// Filters of a user.
    pub filters: u32,
    /// Posts in a report.
    pub report_posts: usize,
    pub report_comment_characters: usize,
    /// Items of a page.
    pub page_items: u8,
}

/// What somebody did that concerns the caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Notification {
    pub id: EventId,
    pub kind: NotificationKind,
    /// When it was done. If it was undone and done again: when it was done first.
    #[serde(serialize_with = "time")]
    pub at: DateTime<Utc>,
    /// Who did it.
    pub user: Author,
    /// For a like or a repost: the caller's post. For a mention, a reply or a quote: the post that says it. For an edit: the
    /// post that the caller has reposted. Otherwise null.
    pub post: Option<Post>,
    /// Whether the caller has read up to here.
    pub read: bool,
}

/// Notifications of one kind that have to do with the same post. Follows are one group, and so are requests and accepted ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NotificationGroup {
    /// The newest notification of the group.
    pub id: EventId,
    pub kind: NotificationKind,
    /// When the newest of it was done.
    #[serde(serialize_with = "time")]
    pub at: DateTime<Utc>,
    /// Who did it, the newest first. At most ten. The counts of the post or of the caller say how many there are in all.
    pub users: Vec<Author>,
    /// Whether the group has more users than these.
    pub more: bool,
    /// As in a notification.
    pub post: Option<Post>,
    /// Whether the caller has read up to the newest.
    pub read: bool,
}

/// One page of notifications or of groups, newest first. The cursors go into `before` and `after`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NotificationPage<T> {
    pub items: Vec<T>,
    /// Send it as `before` to get the items that are older than this page. Null at the end.
    pub next: Option<String>,
    /// Send it as `after` to get the items that are newer than this page. Items may be repeated, but none is missed.
    pub prev: Option<String>,
    /// Send it to `PUT /v1/notifications/read` once the caller has read this page. What the views have not handled yet is not marked as read with
    /// it, unless it took long to commit: then it may lie below, by as long as that took (seconds at most, as a rule). Null if the page is empty.
    pub up_to: Option<EventId>,
}

/// How many notifications the caller has not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UnreadNotifications {
    /// At most 100.
    pub count: u64,
    /// Whether there are more, or may be: the count ends after a number of notifications that the caller may not see, too.
    pub more: bool,
}

/// One page of a list, newest first. The cursors go into `before` and `after`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Send it as `before` to get the items that are older than this page. Null at the end.
    pub next: Option<String>,
    /// Send it as `after` to get the items that are newer than this page. Items may be repeated, but none is missed.
    pub prev: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_sort_as_text() {
        #[derive(Serialize)]
        struct Times {
            #[serde(serialize_with = "time")]
            at: DateTime<Utc>,
            #[serde(serialize_with = "time")]
            maybe: Option<DateTime<Utc>>,
        }
        let json = |millis, maybe| {
            let at = DateTime::from_timestamp_millis(millis).unwrap();
            serde_json::to_string(&Times { at, maybe }).unwrap()
        };
        let whole = json(1_795_891_522_000, None);
        assert_eq!(whole, r#"{"at":"2026-11-28T18:45:22.000Z","maybe":null}"#);
        let later = json(1_795_891_522_034, DateTime::from_timestamp_millis(0));
        assert_eq!(
            later,
            r#"{"at":"2026-11-28T18:45:22.034Z","maybe":"1970-01-01T00:00:00.000Z"}"#
        );
        assert!(whole < later);
    }
}
