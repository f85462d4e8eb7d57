//! What a subscription calls: the handler, and what it is handed.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::event_store::RecordedEvent;
use crate::events::Event;
use crate::position::Position;

/// An event on its way to a handler.
#[derive(Debug, Clone)]
pub struct Delivery {
    pub recorded: Arc<RecordedEvent>,
    /// The event, decoded.
    pub event: Event,
    /// Where it stands in the commit order; unknown in a scan.
    pub position: Option<Position>,
}

impl Delivery {
    pub fn version(&self) -> i64 {
        self.recorded.version
    }
}

/// Works on events. Delivery is at least once, and across partitions in any order: a handler's effects
/// commute, and repeat harmlessly.
#[async_trait]
pub trait Handler: fmt::Debug + Send + Sync + 'static {
    /// Handles what has queued up of one audience (see [`Event::audience`]), oldest first.
    ///
    /// An error means that nothing may be taken for done: the whole batch is delivered again.
    async fn handle(&self, batch: &[Delivery]) -> Result<(), HandlerError>;

    /// The server session of its transactions, if it always uses the same one: when this process dies, whoever takes its
    /// leases over ends what is open there.
    async fn session(&self) -> Result<Option<bson::Uuid>, mongodb::error::Error> {
        Ok(None)
    }

    /// The types of the events it works on; none for all. The database leaves the others out.
    fn event_types(&self) -> Option<&'static [&'static str]> {
        None
    }
}

#[derive(Debug, thiserror::Error)]
pub enum HandlerError {
    /// Retried for ever where the database or the way to it failed; else taken as a refusal.
    #[error(transparent)]
    Database(#[from] mongodb::error::Error),
    /// The handler can't work on the event. Five times, and it becomes a dead letter.
    #[error("{0}")]
    Refused(String),
}

impl HandlerError {
    /// Whether time may help.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, HandlerError::Database(error) if crate::mongo::is_transient(error))
    }

    /// Whether another transaction was faster: it is done in a moment.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self, HandlerError::Database(error) if error.contains_label("TransientTransactionError"))
    }
}
