//! What a subscription calls: the handler, and what it passes to it.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use mongodb::error::Error;

use crate::event_store::RecordedEvent;
use crate::mongo::is_transient;
use crate::position::Position;
use model::events::Event;

/// An event on its way to a handler.
#[derive(Debug, Clone)]
pub struct Delivery {
    pub recorded: Arc<RecordedEvent>,
    /// The event, decoded.
    pub event: Event,
    /// Its position in the commit order. Unknown in a scan.
    pub position: Option<Position>,
}

impl Delivery {
    pub fn version(&self) -> i64 {
        self.recorded.version
    }
}

/// Handles events. Each is delivered at least once, and there is no order between partitions: a handler's effects must commute, and
/// repeat harmlessly.
#[async_trait]
pub trait Handler: fmt::Debug + Send + Sync + 'static {
    /// Handles the queued events of one audience (see [`Event::audience`]), oldest first.
    ///
    /// After an error the whole batch is delivered again.
    async fn handle(&self, batch: &[Delivery]) -> Result<(), HandlerError>;

    /// Makes the collections that it writes to, if they are missing. This is called before the leases are made: leases that are missing
    /// were lost with their database, and are made again with everything else.
    async fn prepare(&self) -> Result<(), Error> {
        Ok(())
    }

    /// What it writes, as a number. A version of the program that writes more has a higher one. What an earlier version has handled lacks the
    /// rest, whoever continues. So each lease says what its owners have written, and no process takes a lease that is above its own shape.
    fn shape(&self) -> i32 {
        0
    }

    /// The server session of its transactions, if it always uses the same one. When this process dies, the successor ends the transaction
    /// that is open there.
    async fn session(&self) -> Result<Option<bson::Uuid>, Error> {
        Ok(None)
    }

    /// The types of the events that it handles. None: all. The database leaves out the others, except types that this program does not
    /// know: it can't tell whether they concern the handler.
    fn event_types(&self) -> Option<&'static [&'static str]> {
        None
    }
}

/// Why a batch was not handled.
#[derive(Debug, thiserror::Error)]
pub enum HandlerError {
    /// A service that the handler needs does not answer, or can't accept work now. Retried without end.
    #[error("{0}")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The handler can't handle the event. After `subscriptions.attempts` attempts it becomes a dead letter.
    #[error("{0}")]
    Refused(String),
}

impl From<Error> for HandlerError {
    fn from(error: Error) -> Self {
        if is_transient(&error) {
            Self::Unavailable(Box::new(error))
        } else {
            Self::Refused(error.to_string())
        }
    }
}

impl HandlerError {
    /// Whether another transaction was faster. That one ends in a moment.
    pub(crate) fn is_conflict(&self) -> bool {
        let Self::Unavailable(cause) = self else { return false };
        let cause = cause.downcast_ref::<Error>();
        cause.is_some_and(|error| error.contains_label("TransientTransactionError"))
    }
}

/// The result of a handler's work. A panic counts as a refusal.
///
/// The message of a panic may hold text of users, and a dead letter must not hold any. So the message is only in the log.
pub async fn refusing_panics<T>(work: impl Future<Output = Result<T, HandlerError>>) -> Result<T, HandlerError> {
    let outcome = AssertUnwindSafe(work).catch_unwind().await;
    outcome.unwrap_or_else(|_| {
        Err(HandlerError::Refused(
            "the handler panicked; the log says where".to_owned(),
        ))
    })
}
