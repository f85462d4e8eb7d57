//! Tells the listeners what the one change stream shows.
//!
//! Code that has to follow the views implements [`Listener`] and is named in `changes.rs`. Nobody opens a second stream.
//! Listeners are told in commit order, one change after the other. They must not wait: a slow one would hold up all others.

use event_log::position::Position;
use model::ids::{ListId, Partition, PostId, UserId};
use model::tags::{TagKey, TagPrefix};
use serde::Deserialize;
use views::posts::Gone;
use views::{PostReference, RelationId};

use crate::cache::Counts;
use crate::shown::Candidate;

/// One change of the views.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// The row of a post.
    Post(PostId, PostChange),
    /// The row of a profile. With counts if nothing else in it changed.
    Profile(UserId, Option<Counts>),
    Relation(RelationId),
    /// A list, but not what is in it.
    List(ListId),
    /// A tag that this user follows, or does not follow any more.
    FollowedTag(UserId),
    /// This user has an exclusive list now, and had none before.
    ExclusiveLists(UserId),
    /// What this user is told of.
    Notification(UserId),
    /// A post by this user has a tag now.
    Tagged(TagPrefix, PostId, UserId),
    /// A post does not have a tag any more.
    Untagged(TagPrefix, PostId),
    /// The row of a member or of a tag of this list.
    ListSources(ListId),
    /// The row of a filter of this user.
    Filter(UserId),
    /// The views hold every event of the partition up to here.
    Checkpoint(Partition, Position),
    /// The control document: another generation may be read now.
    Control,
    /// Something that no listener follows, such as the beat of a lease.
    Other,
}

/// What changed in the row of a post.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PostChange {
    /// There is a live post now, and was none before.
    Appeared(Box<Appeared>),
    /// Nothing but these counts.
    Counts(Counts),
    /// There is no live post any more.
    Gone(Option<Gone>),
    /// Something else, such as the text.
    Other,
}

/// A post or repost that appeared. It is enough to find whom it concerns, without a look at the row.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Appeared {
    pub(crate) author: UserId,
    #[serde(default)]
    pub(crate) repost_of: Option<PostReference>,
    #[serde(default)]
    pub(crate) in_reply_to: Option<PostReference>,
    #[serde(default)]
    pub(crate) tags: Vec<TagKey>,
    /// Everybody may find it.
    #[serde(default)]
    pub(crate) public: bool,
    /// Unknown if a scan has found its event.
    #[serde(default)]
    pub(crate) position: Option<Position>,
}

impl Appeared {
    pub(crate) fn candidate(&self, id: PostId) -> Candidate {
        Candidate {
            id,
            author: self.author,
            original: self.repost_of,
            position: self.position,
        }
    }
}

/// Follows the views.
pub(crate) trait Listener: Send + Sync {
    fn hear(&self, change: &Change);
}
