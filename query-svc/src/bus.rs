//! Tells the listeners what the one change stream shows.
//!
//! Code that has to follow the views implements [`Listener`] and is named in `changes.rs`. Nobody opens a second stream.
//! Listeners are told in commit order, one change after the other. They must not wait: a slow one would hold up all others.

use event_log::position::Position;
use model::ids::{ListId, Partition, PostId, UserId};
use views::RelationId;

use crate::cache::Counts;

/// One change of the views.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// The row of a post. With counts if nothing else in it changed.
    Post(PostId, Option<Counts>),
    /// The row of a profile. With counts if nothing else in it changed.
    Profile(UserId, Option<Counts>),
    Relation(RelationId),
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

/// Follows the views.
pub(crate) trait Listener: Send + Sync {
    fn hear(&self, change: &Change);
}
