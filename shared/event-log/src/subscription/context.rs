//! What the parts of a subscription share.

use std::sync::Arc;

use mongodb::error::Error;
use tokio::sync::Semaphore;

use super::dead_letters::DeadLetters;
use super::handler::{Delivery, Handler, HandlerError, refusing_panics};
use super::leases::Leases;
use super::metrics::{SubscriptionLabels, SubscriptionMetrics};
use super::progress::Progress;
use super::room::Room;
use super::settings::SubscriptionSettings;
use crate::event_store::EventStore;
use crate::mongo::ConnectionMonitor;
use crate::position::Position;
use model::clock::SharedClock;
use model::events::Event;

#[derive(Debug)]
pub(super) struct Context {
    pub(super) subscription: String,
    pub(super) store: EventStore,
    /// Ends what waits for the database without a time limit when connections are lost.
    pub(super) connections: ConnectionMonitor,
    pub(super) handler: Arc<dyn Handler>,
    pub(super) dead_letters: DeadLetters,
    pub(super) progress: Progress,
    pub(super) settings: SubscriptionSettings,
    pub(super) metrics: SubscriptionMetrics,
    pub(super) clock: SharedClock,
    /// Limits the batches under way in this process.
    pub(super) concurrency: Semaphore,
    /// Limits the memory of the stream's events.
    pub(super) room: Room,
}

impl Context {
    /// Makes what the subscription needs in the database and is missing. The leases come last, because they say what was handled.
    pub(super) async fn make_missing(&self, leases: &Leases) -> Result<(), Error> {
        self.dead_letters.ensure().await?;
        self.handler.prepare().await?;
        leases.ensure(Position::ORIGIN, self.handler.shape()).await
    }

    /// Calls the handler. A panic counts as a refusal. The handler does not wait for answers on connections that are lost.
    pub(super) async fn handle(&self, batch: &[Delivery]) -> Result<(), HandlerError> {
        let handling = refusing_panics(self.handler.handle(batch));
        self.connections.until_lost(handling).await
    }

    /// The event types that this program knows and the handler does not ask for.
    pub(super) fn left_out(&self) -> Vec<&'static str> {
        let Some(wanted) = self.handler.event_types() else {
            return Vec::new();
        };
        let known = Event::TYPES.iter().copied();
        known.filter(|name| !wanted.contains(name)).collect()
    }

    pub(super) fn labels(&self) -> SubscriptionLabels {
        SubscriptionLabels {
            subscription: self.subscription.clone(),
        }
    }
}
