//! What a subscription calls: the handler, and what it is handed.

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

    /// Makes what it writes to, where that is missing. It is called before there are leases: those that are gone went with their
    /// database, and are made anew with everything else.
    async fn prepare(&self) -> Result<(), Error> {
        Ok(())
    }

    /// The server session of its transactions, if it always uses the same one: when this process dies, whoever takes its
    /// leases over ends what is open there.
    async fn session(&self) -> Result<Option<bson::Uuid>, Error> {
        Ok(None)
    }

    /// The types of the events it works on; none for all. The database leaves the others out, but for those that this program
    /// does not know: nobody can say whether they concern it.
    fn event_types(&self) -> Option<&'static [&'static str]> {
        None
    }
}

/// Whose fault it is that a batch was not handled.
#[derive(Debug, thiserror::Error)]
pub enum HandlerError {
    /// What the handler works with does not answer, or can't take it now. Retried for ever.
    #[error("{0}")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The handler can't work on the event. As often as `subscriptions.attempts` says, and it becomes a dead letter.
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
    /// Whether another transaction was faster: it is done in a moment.
    pub(crate) fn is_conflict(&self) -> bool {
        let Self::Unavailable(cause) = self else { return false };
        let cause = cause.downcast_ref::<Error>();
        cause.is_some_and(|error| error.contains_label("TransientTransactionError"))
    }
}

/// What the work of a handler ends with; a panic is a refusal.
///
/// What a panic says may hold what people wrote, and a dead letter must not: it is in the log only.
pub async fn refusing_panics<T>(work: impl Future<Output = Result<T, HandlerError>>) -> Result<T, HandlerError> {
    let outcome = AssertUnwindSafe(work).catch_unwind().await;
    outcome.unwrap_or_else(|_| {
        Err(HandlerError::Refused(
            "the handler panicked; the log says where".to_owned(),
        ))
    })
}
