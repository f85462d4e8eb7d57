//! Handling one batch: the handler, its retries, and dead letters for the events that it refuses.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::backoff::Backoff;
use super::context::Context;
use super::dead_letters::{Blocked, LetterState, QUEUED_BEHIND};
use super::handler::{Delivery, HandlerError};
use super::metrics::{Fault, RetryLabels};
use super::room::RoomPermit;
use crate::event_store::Envelope;
use crate::position::Position;
use crate::trace::set_parent;
use model::ids::{Partition, UserId};

/// Where an event came from: the change stream, or a scan that waits until it is handled.
#[derive(Debug)]
pub(super) enum Source {
    Stream { position: Position, _permit: RoomPermit },
    Scan { _permit: OwnedSemaphorePermit },
}

impl Source {
    pub(super) fn position(&self) -> Option<Position> {
        match self {
            Source::Stream { position, .. } => Some(*position),
            Source::Scan { .. } => None,
        }
    }
}

/// An event in a lane.
pub(super) type Queued = (Source, Delivery);

/// How a batch ended.
pub(super) struct Done {
    pub(super) audience: UserId,
    pub(super) batch: Vec<Queued>,
    pub(super) newly_blocked: Blocked,
    pub(super) finished: bool,
}

/// Handles one batch.
pub(super) struct Runner {
    pub(super) context: Arc<Context>,
    pub(super) partition: Partition,
    pub(super) stop: CancellationToken,
}

impl Runner {
    pub(super) async fn run(self, audience: UserId, batch: Vec<Queued>, mut blocked: Blocked) -> Done {
        // The semaphore is never closed.
        let _permit = self.context.concurrency.acquire().await;
        let mut newly_blocked = Blocked::default();
        let mut open = Vec::with_capacity(batch.len());
        let mut finished = true;
        for (_, delivery) in &batch {
            if blocked.holds(&delivery.recorded) {
                finished &= self.put_aside_behind(delivery).await;
            } else {
                open.push(delivery.clone());
            }
        }
        match self.attempt(&open, 1).await {
            Outcome::Handled => {}
            Outcome::Stopped => finished = false,
            Outcome::Refused(_) => {
                // One by one, to find out which event is refused.
                for delivery in &open {
                    if blocked.holds(&delivery.recorded) {
                        finished &= self.put_aside_behind(delivery).await;
                        continue;
                    }
                    match self
                        .attempt(std::slice::from_ref(delivery), self.context.settings.attempts)
                        .await
                    {
                        Outcome::Handled => {}
                        Outcome::Stopped => finished = false,
                        Outcome::Refused(reason) => {
                            let envelope = Envelope::from(&*delivery.recorded);
                            let state = self.put_aside(&envelope, &reason, false).await;
                            finished &= state.is_some();
                            if state != Some(LetterState::Discarded) {
                                blocked.add(envelope.stream.clone(), envelope.version);
                                newly_blocked.add(envelope.stream, envelope.version);
                            }
                        }
                    }
                }
            }
        }
        Done {
            audience,
            batch,
            newly_blocked,
            finished,
        }
    }

    /// Calls the handler until it succeeds: without end while a service that it needs is not available, `refusals` times if it refuses.
    async fn attempt(&self, batch: &[Delivery], refusals: u32) -> Outcome {
        if batch.is_empty() {
            return Outcome::Handled;
        }
        let mut refused = 0;
        let mut backoff = Backoff::new(&self.context.settings);
        loop {
            // The trace continues that of the first event's command. All events of a batch share one span.
            let span = tracing::info_span!(
                "handle", subscription = self.context.subscription, partition = %self.partition,
                event_id = %batch[0].recorded.id, events = batch.len(), correlation_id = batch[0].recorded.correlation_id,
            );
            set_parent(&span, batch[0].recorded.traceparent.as_deref());
            let error = match self.context.handle(batch).instrument(span).await {
                Ok(()) => return Outcome::Handled,
                Err(error) => error,
            };
            let fault = match &error {
                HandlerError::Unavailable(_) => Fault::Unavailable,
                HandlerError::Refused(_) => Fault::Refused,
            };
            let labels = RetryLabels {
                subscription: self.context.subscription.clone(),
                fault,
            };
            self.context.metrics.retries.get_or_create(&labels).inc();
            if let HandlerError::Refused(reason) = &error {
                refused += 1;
                if refused >= refusals {
                    return Outcome::Refused(reason.clone());
                }
            }
            tracing::warn!(
                subscription = self.context.subscription, partition = %self.partition, first_event = %batch[0].recorded.id,
                events = batch.len(), %error, "handling events failed; trying again",
            );
            let paused = if error.is_conflict() {
                backoff.pause_after_conflict(&self.stop).await
            } else {
                backoff.pause(&self.stop).await
            };
            if !paused {
                return Outcome::Stopped;
            }
        }
    }

    /// Puts an event aside because it follows a dead letter in its stream. False: stopped meanwhile.
    async fn put_aside_behind(&self, delivery: &Delivery) -> bool {
        let envelope = Envelope::from(&*delivery.recorded);
        self.put_aside(&envelope, QUEUED_BEHIND, true).await.is_some()
    }

    /// Records a dead letter. None: stopped meanwhile.
    pub(super) async fn put_aside(&self, event: &Envelope, reason: &str, queued_behind: bool) -> Option<LetterState> {
        let mut backoff = Backoff::new(&self.context.settings);
        loop {
            let at = self.context.clock.now();
            let subscription = &self.context.subscription;
            let letters = &self.context.dead_letters;
            let recording = letters.record(subscription, event, reason, queued_behind, at);
            match self.context.connections.until_lost(recording).await {
                // An operator has discarded it, and it comes again after a restart.
                Ok(LetterState::Discarded) => return Some(LetterState::Discarded),
                Ok(LetterState::Waits) => {
                    self.context
                        .metrics
                        .dead_letters
                        .get_or_create(&self.context.labels())
                        .inc();
                    tracing::error!(subscription, event_id = %event.id, stream = %event.stream, reason, "dead letter");
                    return Some(LetterState::Waits);
                }
                Err(error) => {
                    tracing::warn!(%error, "recording a dead letter failed; trying again");
                    if !backoff.pause(&self.stop).await {
                        return None;
                    }
                }
            }
        }
    }
}

enum Outcome {
    Handled,
    Refused(String),
    Stopped,
}
