//! Reading the event store itself, where no change stream reaches back far enough.

use std::collections::BTreeMap;
use std::sync::Arc;

use mongodb::error::Error;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::patience::Patience;
use super::stored::Stored;
use super::worker::ScanEntry;
use super::workshop::Workshop;
use crate::position::Position;
use model::ids::{EventId, Partition, uuid_v7_floor};

/// How many scanned events may be on their way at once.
const ON_THEIR_WAY: u32 = 2_048;

/// Hands every event from `from` on to its partition, and ends when all are handled.
///
/// The stream begins at `horizon`: what the scan does not see, the stream shows. Events may be seen twice, and handlers
/// don't mind.
pub(super) async fn scan(
    workshop: Arc<Workshop>,
    entries: Vec<ScanEntry>,
    from: EventId,
    horizon: Position,
    stop: CancellationToken,
) {
    workshop.metrics.scans.get_or_create(&workshop.labels()).inc();
    let entries: BTreeMap<Partition, ScanEntry> = entries.into_iter().map(|entry| (entry.partition, entry)).collect();
    let permits = Arc::new(Semaphore::new(ON_THEIR_WAY as usize));
    let mut next = from;
    let mut patience = Patience::new(&workshop.settings);
    let mut scanned = 0_u64;
    tracing::info!(
        subscription = workshop.subscription,
        partitions = entries.len(),
        "scanning the event store"
    );
    let losses = &workshop.losses;
    while let Err(error) = losses
        .until_lost(hand_over(
            &workshop,
            &entries,
            &permits,
            horizon,
            &mut next,
            &mut scanned,
            &stop,
        ))
        .await
    {
        tracing::warn!(subscription = workshop.subscription, %error, "the scan broke off; going on");
        if !patience.pause(&stop).await {
            return;
        }
    }
    // All permits are back: everything is handled, or its lease was lost.
    let all = stop.run_until_cancelled(permits.acquire_many(ON_THEIR_WAY)).await;
    if all.is_none() || stop.is_cancelled() {
        return;
    }
    for entry in entries.values() {
        workshop.progress.scan_ended(entry.partition, entry.fence);
    }
    tracing::info!(subscription = workshop.subscription, scanned, "the scan is done");
}

async fn hand_over(
    workshop: &Workshop,
    entries: &BTreeMap<Partition, ScanEntry>,
    permits: &Arc<Semaphore>,
    horizon: Position,
    next: &mut EventId,
    scanned: &mut u64,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let partitions: Vec<Partition> = entries.keys().copied().collect();
    let mut events = workshop
        .store
        .scan(&partitions, &workshop.left_out(), *next, horizon)
        .await?;
    while let Some(read) = events.next().await? {
        let Some(Ok(permit)) = stop.run_until_cancelled(permits.clone().acquire_owned()).await else {
            return Ok(());
        };
        let stored = Stored::from(read);
        if let Some(event) = stored.event() {
            *next = event.id;
        }
        *scanned += 1;
        if let Some(entry) = entries.get(&stored.partition()) {
            entry.deliver(stored, permit);
        }
    }
    Ok(())
}

/// The id to begin at for a checkpoint: ids come from several clocks, and transactions take their time.
pub(super) fn start_of(checkpoint: Position, overlap: std::time::Duration) -> EventId {
    if checkpoint == Position::ORIGIN {
        return EventId::from_bytes([0; 16]);
    }
    let overlap = chrono::TimeDelta::from_std(overlap).unwrap_or(chrono::TimeDelta::days(1));
    EventId::from_uuid(uuid_v7_floor(checkpoint.time() - overlap))
}
