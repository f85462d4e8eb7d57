//! Writes rows from events.
//!
//! Events come in the order of their ids. The ids come from several clocks, but rows accept events in any order. If an event is appended
//! below the present place of the scan, it was appended after the horizon, and the subscription will show it.

use event_log::event_store::{Envelope, EventScan, RecordedEvent, Unreadable};
use event_log::subscription::dead_letters::{Blocked, LetterState, QUEUED_BEHIND};
use event_log::subscription::{Delivery, HandlerError, refusing_panics};
use model::events::DecodeError;
use model::ids::{EventId, Partition};
use tokio_util::sync::CancellationToken;
use views::generation::{Building, Term};
use views::{ViewProjection, Views, subscription_name};

use super::{RebuildError, Rebuilder, pause};

/// What a scan reads and writes.
struct Scan<'a> {
    rebuilder: &'a Rebuilder,
    projection: &'a ViewProjection,
    subscription: String,
    blocked: Blocked,
    stop: &'a CancellationToken,
}

impl Rebuilder {
    pub(super) async fn scan(
        &self,
        term: &Term,
        building: &mut Building,
        views: &Views,
        stop: &CancellationToken,
    ) -> Result<(), RebuildError> {
        let subscription = subscription_name(building.generation);
        self.dead_letters.ensure().await?;
        let active = self.generations.ensure_first().await?.active;
        self.dead_letters
            .carry_discards(&subscription_name(active), &subscription)
            .await?;
        let mut letters = self.dead_letters.list().await?;
        letters.retain(|letter| letter.subscription == subscription && !letter.discarded);
        let projection = self.projection(views);
        let mut scan = Scan {
            rebuilder: self,
            projection: &projection,
            subscription,
            blocked: Blocked::default(),
            stop,
        };
        for letter in letters {
            scan.blocked.add(letter.stream, letter.version);
        }
        let from = building
            .cursor
            .map_or(EventId::from_bytes([0; 16]), |last| EventId::from_uuid(last.into()));
        let partitions: Vec<Partition> = Partition::all().collect();
        let mut stored = self.store.scan(&partitions, &[], from, building.horizon).await?;
        loop {
            let read = next_batch(&mut stored, self.config.batch).await?;
            if read.is_empty() {
                return Ok(());
            }
            let cursor_at = read.iter().rev().flatten().next().map(|event| event.id);
            let count = read.len();
            scan.apply(read).await?;
            if let Some(cursor_at) = cursor_at {
                building.cursor = Some(cursor_at.as_uuid().into());
            }
            building.scanned += i64::try_from(count).unwrap_or(i64::MAX);
            self.note(term, building).await?;
            if stop.is_cancelled() {
                return Err(RebuildError::Stopped);
            }
        }
    }
}

/// The next events, including unreadable ones. Empty at the end.
async fn next_batch(
    events: &mut EventScan,
    limit: usize,
) -> Result<Vec<Result<RecordedEvent, Unreadable>>, RebuildError> {
    let mut batch = Vec::with_capacity(limit);
    while batch.len() < limit
        && let Some(read) = events.next().await?
    {
        batch.push(read);
    }
    Ok(batch)
}

impl Scan<'_> {
    /// Writes a batch into the rows. Afterwards each of its events is in the rows, or is a dead letter. An event that only a newer program
    /// can read waits for one.
    async fn apply(&mut self, read: Vec<Result<RecordedEvent, Unreadable>>) -> Result<(), RebuildError> {
        let ids = read.iter().flatten().map(|event| event.id);
        let discarded = self.rebuilder.discards.among(ids).await?;
        let mut batch = Vec::with_capacity(read.len());
        for read in read {
            let recorded = match read {
                Ok(recorded) => recorded,
                Err(unreadable) => {
                    self.put_aside(&unreadable.envelope, &unreadable.to_string(), false)
                        .await?;
                    continue;
                }
            };
            if discarded.contains(&recorded.id) {
                continue;
            }
            if self.blocked.holds(&recorded) {
                self.put_aside(&(&recorded).into(), QUEUED_BEHIND, true).await?;
                continue;
            }
            match recorded.event() {
                Err(error @ (DecodeError::UnknownType(_) | DecodeError::UnknownSchema { .. })) => {
                    return Err(RebuildError::Unknown(error));
                }
                Ok(event) => batch.push(Delivery {
                    recorded: recorded.into(),
                    event,
                    position: None,
                }),
                Err(error) => self.put_aside(&(&recorded).into(), &error.to_string(), false).await?,
            }
        }
        if self.attempt(&batch, 1).await?.is_none() {
            return Ok(());
        }
        // One by one, to find the event that can't be handled.
        for delivery in &batch {
            if self.blocked.holds(&delivery.recorded) {
                self.put_aside(&(&*delivery.recorded).into(), QUEUED_BEHIND, true)
                    .await?;
                continue;
            }
            let attempts = self.rebuilder.subscriptions.attempts;
            if let Some(reason) = self.attempt(std::slice::from_ref(delivery), attempts).await? {
                self.put_aside(&(&*delivery.recorded).into(), &reason, false).await?;
            }
        }
        Ok(())
    }

    /// The reason of the refusal, if the batch is refused `attempts` times. An unavailable database does not count: it is waited for.
    async fn attempt(&self, batch: &[Delivery], attempts: u32) -> Result<Option<String>, RebuildError> {
        if batch.is_empty() {
            return Ok(None);
        }
        let settings = &self.rebuilder.subscriptions;
        let (mut refused, mut pauses) = (0, settings.pauses());
        loop {
            let error = match refusing_panics(self.projection.apply_rows_only(batch)).await {
                Ok(()) => return Ok(None),
                Err(error) => error,
            };
            if let HandlerError::Refused(reason) = &error {
                refused += 1;
                if refused >= attempts {
                    return Ok(Some(reason.clone()));
                }
            }
            tracing::warn!(subscription = self.subscription, events = batch.len(), %error, "scanning failed; trying again");
            pause(pauses.next().unwrap_or_default(), self.stop).await?;
        }
    }

    async fn put_aside(&mut self, event: &Envelope, reason: &str, queued_behind: bool) -> Result<(), RebuildError> {
        let (at, letters) = (self.rebuilder.clock.now(), &self.rebuilder.dead_letters);
        let state = letters
            .record(&self.subscription, event, reason, queued_behind, at)
            .await?;
        if state == LetterState::Waits {
            tracing::error!(subscription = self.subscription, event_id = %event.id, stream = %event.stream, reason, "dead letter");
            self.blocked.add(event.stream.clone(), event.version);
        }
        Ok(())
    }
}
