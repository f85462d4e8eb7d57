//! The documents of the event store: events, and perhaps others.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::event_store::{RecordedEvent, Unreadable};
use crate::position::Position;
use model::ids::Partition;

/// A document of the event store.
#[derive(Debug, Clone)]
pub(super) enum Stored {
    Event(Arc<RecordedEvent>),
    /// No event: none of our programs writes such a document.
    Unreadable(Arc<Unreadable>),
}

impl From<Result<RecordedEvent, Unreadable>> for Stored {
    fn from(read: Result<RecordedEvent, Unreadable>) -> Self {
        match read {
            Ok(event) => Self::Event(Arc::new(event)),
            Err(unreadable) => Self::Unreadable(Arc::new(unreadable)),
        }
    }
}

impl Stored {
    pub(super) fn partition(&self) -> Partition {
        match self {
            Self::Event(event) => event.partition,
            Self::Unreadable(unreadable) => unreadable.envelope.partition,
        }
    }

    pub(super) fn event(&self) -> Option<&RecordedEvent> {
        match self {
            Self::Event(event) => Some(event),
            Self::Unreadable(_) => None,
        }
    }

    /// When it was recorded, as far as that is known of the document at `position`.
    pub(super) fn recorded_at(&self, position: Position) -> DateTime<Utc> {
        self.event().map_or_else(|| position.time(), |event| event.recorded_at)
    }
}
