//! What can be followed by a live stream.

use model::ids::{ListId, PostId, UserId};
use model::values::NotificationKind;

use super::index::Key;
use crate::shown::Replies;
use crate::timelines::TagFilter;

/// What a stream shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Topic {
    Home(Replies),
    Public,
    Tag(TagFilter),
    List(ListId),
    /// A post, its counts, and what answers it.
    Thread(PostId),
    Notifications(Vec<NotificationKind>),
}

impl Topic {
    /// Whether only its owner can follow it.
    pub(crate) fn is_own(&self) -> bool {
        matches!(self, Topic::Home(_) | Topic::List(_) | Topic::Notifications(_))
    }

    /// What cuts the stream.
    pub(super) fn cut_by(&self, viewer: Option<UserId>) -> Option<Key> {
        match self {
            Topic::Home(_) => viewer.map(Key::Home),
            Topic::List(list) => Some(Key::List(*list)),
            Topic::Public | Topic::Tag(_) | Topic::Thread(_) | Topic::Notifications(_) => None,
        }
    }
}
