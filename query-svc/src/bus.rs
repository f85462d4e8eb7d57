//! What the one change stream tells, and who is told.
//!
//! Whatever has to follow the views implements [`Listener`] and is named in `changes.rs`; nobody opens a second stream. Listeners are told
//! in commit order, one change after the other, and must not wait: a slow one would hold up all others.

use event_log::position::Position;
use model::ids::{Partition, PostId, UserId};
use views::RelationId;

use crate::cache::Counts;

/// One change of the views.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// A post's row; with counts, if nothing else of it changed.
    Post(PostId, Option<Counts>),
    /// A profile's row; with counts, if nothing else of it changed.
    Profile(UserId, Option<Counts>),
    Relation(RelationId),
    /// The views hold every event of the partition up to here.
    Checkpoint(Partition, Position),
    /// The state of generations: which one is read may be another.
    Control,
    /// Something that nobody follows, such as the beat of a lease.
    Other,
}

/// Somebody who follows the views.
pub(crate) trait Listener: Send + Sync {
    fn hear(&self, change: &Change);
}
