//! What the parts of a subscription work with.

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
use crate::mongo::Losses;
use crate::position::Position;
use model::clock::SharedClock;
use model::events::Event;

/// What the workers of a subscription have in common.
#[derive(Debug)]
pub(super) struct Workshop {
    pub(super) subscription: String,
    pub(super) store: EventStore,
    /// What waits for the database without a time limit must end when connections are lost.
    pub(super) losses: Losses,
    pub(super) handler: Arc<dyn Handler>,
    pub(super) dead_letters: DeadLetters,
    pub(super) progress: Progress,
    pub(super) settings: SubscriptionSettings,
    pub(super) metrics: SubscriptionMetrics,
    pub(super) clock: SharedClock,
    /// Bounds the batches under way in this process.
    pub(super) concurrency: Semaphore,
    /// Bounds what of the stream is in memory.
    pub(super) room: Room,
}

impl Workshop {
    /// Makes what the subscription needs in the database, where it is missing; the leases last, because they say what was handled.
    pub(super) async fn make_missing(&self, leases: &Leases) -> Result<(), Error> {
        self.dead_letters.ensure().await?;
        self.handler.prepare().await?;
        leases.ensure(Position::ORIGIN).await
    }

    /// Calls the handler. A panic of it is a refusal, and it does not wait for answers on connections that are lost.
    pub(super) async fn handle(&self, batch: &[Delivery]) -> Result<(), HandlerError> {
        let handling = refusing_panics(self.handler.handle(batch));
        self.losses.until_lost(handling).await
    }

    /// The types of events that do not concern the handler: of those that this program knows, what it does not ask for.
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
