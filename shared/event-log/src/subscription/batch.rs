//! The work on one batch: the handler, its retries, and the dead letters of what it refuses.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::dead_letters::{Buried, QUEUED_BEHIND};
use super::handler::{Delivery, HandlerError};
use super::metrics::{Fault, RetryLabels};
use super::patience::Patience;
use super::room::Held;
use super::workshop::Workshop;
use crate::event_store::{Envelope, RecordedEvent};
use crate::position::Position;
use crate::trace::set_parent;
use model::events::StreamId;
use model::ids::{Partition, UserId};

/// Where an event came from: the stream, or a scan that waits for it.
#[derive(Debug)]
pub(super) enum Place {
    Stream { position: Position, _held: Held },
    Scan { _permit: OwnedSemaphorePermit },
}

impl Place {
    pub(super) fn position(&self) -> Option<Position> {
        match self {
            Place::Stream { position, .. } => Some(*position),
            Place::Scan { .. } => None,
        }
    }
}

/// An event in a lane.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) event: Arc<RecordedEvent>,
    pub(super) place: Place,
}

/// How a batch ended.
pub(super) struct Done {
    pub(super) audience: UserId,
    pub(super) batch: Vec<(Loaded, Delivery)>,
    pub(super) newly_blocked: Blocked,
    pub(super) finished: bool,
}

/// The streams with a dead letter, and the version of its event: what follows in the stream queues behind it. What came
/// before does not, even if it is met later.
#[derive(Debug, Clone, Default)]
pub(super) struct Blocked(HashMap<StreamId, i64>);

impl Blocked {
    pub(super) fn add(&mut self, stream: StreamId, version: i64) {
        let lowest = self.0.entry(stream).or_insert(version);
        *lowest = version.min(*lowest);
    }

    pub(super) fn extend(&mut self, others: Blocked) {
        for (stream, version) in others.0 {
            self.add(stream, version);
        }
    }

    pub(super) fn holds(&self, stream: &StreamId, version: i64) -> bool {
        self.0.get(stream).is_some_and(|&letter| version > letter)
    }

    /// Those that concern a batch.
    pub(super) fn of<'a>(&self, events: impl Iterator<Item = &'a RecordedEvent>) -> Blocked {
        let concerned = events.filter_map(|event| self.0.get_key_value(&event.stream));
        Blocked(concerned.map(|(stream, &version)| (stream.clone(), version)).collect())
    }
}

/// Works on one batch.
pub(super) struct Runner {
    pub(super) workshop: Arc<Workshop>,
    pub(super) partition: Partition,
    pub(super) stop: CancellationToken,
}

impl Runner {
    pub(super) async fn run(self, audience: UserId, batch: Vec<(Loaded, Delivery)>, mut blocked: Blocked) -> Done {
        // The semaphore is never closed.
        let _permit = self.workshop.concurrency.acquire().await;
        let mut newly_blocked = Blocked::default();
        let mut open = Vec::with_capacity(batch.len());
        let mut finished = true;
        for (_, delivery) in &batch {
            if blocked.holds(&delivery.recorded.stream, delivery.version()) {
                finished &= self.bury_behind(delivery).await;
            } else {
                open.push(delivery.clone());
            }
        }
        match self.attempt(&open, 1).await {
            Outcome::Handled => {}
            Outcome::Stopped => finished = false,
            Outcome::Refused(_) => {
                // One by one, to find out which it is that can't be handled.
                for delivery in &open {
                    if blocked.holds(&delivery.recorded.stream, delivery.version()) {
                        finished &= self.bury_behind(delivery).await;
                        continue;
                    }
                    match self
                        .attempt(std::slice::from_ref(delivery), self.workshop.settings.attempts)
                        .await
                    {
                        Outcome::Handled => {}
                        Outcome::Stopped => finished = false,
                        Outcome::Refused(reason) => {
                            let envelope = Envelope::from(&*delivery.recorded);
                            let buried = self.bury(&envelope, &reason, false).await;
                            finished &= buried.is_some();
                            if buried != Some(Buried::Discarded) {
                                blocked.add(delivery.recorded.stream.clone(), delivery.version());
                                newly_blocked.add(delivery.recorded.stream.clone(), delivery.version());
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

    /// Calls the handler: for ever where what it works with is not available, `refusals` times where it refuses.
    async fn attempt(&self, batch: &[Delivery], refusals: u32) -> Outcome {
        if batch.is_empty() {
            return Outcome::Handled;
        }
        let mut refused = 0;
        let mut patience = Patience::new(&self.workshop.settings);
        loop {
            // The trace goes on from the command that began the batch; the others of a batch share its span.
            let span = tracing::info_span!(
                "handle", subscription = self.workshop.subscription, partition = %self.partition,
                event_id = %batch[0].recorded.id, events = batch.len(), correlation_id = batch[0].recorded.correlation_id,
            );
            set_parent(&span, batch[0].recorded.traceparent.as_deref());
            let error = match self.workshop.handle(batch).instrument(span).await {
                Ok(()) => return Outcome::Handled,
                Err(error) => error,
            };
            let fault = match &error {
                HandlerError::Unavailable(_) => Fault::Unavailable,
                HandlerError::Refused(_) => Fault::Refused,
            };
            let labels = RetryLabels {
                subscription: self.workshop.subscription.clone(),
                fault,
            };
            self.workshop.metrics.retries.get_or_create(&labels).inc();
            if let HandlerError::Refused(reason) = &error {
                refused += 1;
                if refused >= refusals {
                    return Outcome::Refused(reason.clone());
                }
            }
            tracing::warn!(
                subscription = self.workshop.subscription, partition = %self.partition, first_event = %batch[0].recorded.id,
                events = batch.len(), %error, "handling failed; trying again",
            );
            let paused = if error.is_conflict() {
                patience.moment(&self.stop).await
            } else {
                patience.pause(&self.stop).await
            };
            if !paused {
                return Outcome::Stopped;
            }
        }
    }

    /// Records what follows a dead letter in its stream; false when stopped meanwhile.
    async fn bury_behind(&self, delivery: &Delivery) -> bool {
        let envelope = Envelope::from(&*delivery.recorded);
        self.bury(&envelope, QUEUED_BEHIND, true).await.is_some()
    }

    /// Records a dead letter; none when stopped meanwhile.
    pub(super) async fn bury(&self, event: &Envelope, reason: &str, queued_behind: bool) -> Option<Buried> {
        let mut patience = Patience::new(&self.workshop.settings);
        loop {
            let at = self.workshop.clock.now();
            let subscription = &self.workshop.subscription;
            let letters = &self.workshop.dead_letters;
            let recording = letters.record(subscription, event, reason, queued_behind, at);
            match self.workshop.losses.until_lost(recording).await {
                // Met again, after a restart: nobody waits for it any more.
                Ok(Buried::Discarded) => return Some(Buried::Discarded),
                Ok(Buried::Waits) => {
                    self.workshop
                        .metrics
                        .dead_letters
                        .get_or_create(&self.workshop.labels())
                        .inc();
                    tracing::error!(subscription, event_id = %event.id, stream = %event.stream, reason, "dead letter");
                    return Some(Buried::Waits);
                }
                Err(error) => {
                    tracing::warn!(%error, "recording a dead letter failed; trying again");
                    if !patience.pause(&self.stop).await {
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
