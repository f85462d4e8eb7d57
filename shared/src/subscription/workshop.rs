//! What the parts of a subscription work with.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::dead_letters::DeadLetters;
use super::handler::Handler;
use super::metrics::{SubscriptionLabels, SubscriptionMetrics};
use super::progress::Progress;
use super::settings::SubscriptionSettings;
use crate::clock::SharedClock;
use crate::event_store::EventStore;
use crate::mongo::Losses;

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
}

impl Workshop {
    pub(super) fn labels(&self) -> SubscriptionLabels {
        SubscriptionLabels {
            subscription: self.subscription.clone(),
        }
    }
}
