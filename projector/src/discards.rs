//! Keeps events that an operator discarded out of the views, in every generation.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use event_log::subscription::dead_letters::DeadLetters;
use event_log::subscription::{Delivery, Handler, HandlerError};
use model::ids::EventId;
use mongodb::Database;
use mongodb::error::Error;
use views::subscribed_generation;

/// The events that an operator discarded for the views. They count as if they had never happened, in every generation: if one generation
/// leaves an event out, the next one must not bring it back.
#[derive(Debug)]
pub(crate) struct Discards {
    letters: DeadLetters,
    /// Almost always there are none, and then no query is needed.
    any: AtomicBool,
}

impl Discards {
    pub(crate) fn new(views: &Database) -> Self {
        Self {
            letters: DeadLetters::new(views),
            any: AtomicBool::new(true),
        }
    }

    /// Checks whether there are any.
    pub(crate) async fn look(&self) -> Result<(), Error> {
        let any = self.letters.any_discarded().await?;
        self.any.store(any, Ordering::Release);
        Ok(())
    }

    /// Returns those of `events` that are discarded now. A discarded event that is to be retried after all is not among them.
    pub(crate) async fn among(&self, events: impl Iterator<Item = EventId>) -> Result<HashSet<EventId>, Error> {
        if !self.any.load(Ordering::Acquire) {
            return Ok(HashSet::new());
        }
        let of_views = |subscription: &str| subscribed_generation(subscription).is_some();
        self.letters.discarded_among(events, of_views).await
    }
}

/// A handler that does not get discarded events.
#[derive(Debug)]
pub(crate) struct WithoutDiscarded<H> {
    handler: H,
    discards: Arc<Discards>,
}

impl<H: Handler> WithoutDiscarded<H> {
    pub(crate) fn new(handler: H, discards: Arc<Discards>) -> Self {
        Self { handler, discards }
    }
}

#[async_trait]
impl<H: Handler> Handler for WithoutDiscarded<H> {
    async fn handle(&self, batch: &[Delivery]) -> Result<(), HandlerError> {
        let events = batch.iter().map(|delivery| delivery.recorded.id);
        let discarded = self.discards.among(events).await?;
        if discarded.is_empty() {
            return self.handler.handle(batch).await;
        }
        let kept: Vec<Delivery> = batch
            .iter()
            .filter(|delivery| !discarded.contains(&delivery.recorded.id))
            .cloned()
            .collect();
        if kept.is_empty() {
            Ok(())
        } else {
            self.handler.handle(&kept).await
        }
    }

    async fn prepare(&self) -> Result<(), Error> {
        self.handler.prepare().await
    }

    fn shape(&self) -> i32 {
        self.handler.shape()
    }

    async fn session(&self) -> Result<Option<bson::Uuid>, Error> {
        self.handler.session().await
    }

    fn event_types(&self) -> Option<&'static [&'static str]> {
        self.handler.event_types()
    }
}
