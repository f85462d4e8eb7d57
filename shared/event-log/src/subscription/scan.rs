//! Reading events from the event store, where no change stream reaches back far enough.

use std::collections::BTreeMap;
use std::sync::Arc;

use mongodb::error::Error;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::context::Context;
use super::stored::Stored;
use super::worker::ScanEntry;
use crate::position::Position;
use model::ids::{EventId, Partition, uuid_v7_floor};

/// How many scanned events may wait to be handled at once.
const MOST_UNHANDLED: u32 = 2_048;

/// Delivers every event from `from` on to its partition, and ends when all are handled.
///
/// The stream begins at `horizon`, and shows what the scan does not find. Some events come twice, which handlers allow.
pub(super) async fn scan(
    context: Arc<Context>,
    entries: Vec<ScanEntry>,
    from: EventId,
    horizon: Position,
    stop: CancellationToken,
) {
    context.metrics.scans.get_or_create(&context.labels()).inc();
    let entries: BTreeMap<Partition, ScanEntry> = entries.into_iter().map(|entry| (entry.partition, entry)).collect();
    let permits = Arc::new(Semaphore::new(MOST_UNHANDLED as usize));
    let mut next = from;
    let mut backoff = Backoff::new(&context.settings);
    let mut scanned = 0_u64;
    tracing::info!(
        subscription = context.subscription,
        partitions = entries.len(),
        "scanning the event store"
    );
    let connections = &context.connections;
    while let Err(error) = connections
        .until_lost(deliver(
            &context,
            &entries,
            &permits,
            horizon,
            &mut next,
            &mut scanned,
            &stop,
        ))
        .await
    {
        tracing::warn!(subscription = context.subscription, %error, "the scan was interrupted; going on");
        if !backoff.pause(&stop).await {
            return;
        }
    }
    // All permits are back, so every event is handled, or the lease of its partition was lost.
    let all = stop.run_until_cancelled(permits.acquire_many(MOST_UNHANDLED)).await;
    if all.is_none() || stop.is_cancelled() {
        return;
    }
    for entry in entries.values() {
        context.progress.scan_ended(entry.partition, entry.fence);
    }
    tracing::info!(subscription = context.subscription, scanned, "the scan has ended");
}

async fn deliver(
    context: &Context,
    entries: &BTreeMap<Partition, ScanEntry>,
    permits: &Arc<Semaphore>,
    horizon: Position,
    next: &mut EventId,
    scanned: &mut u64,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let partitions: Vec<Partition> = entries.keys().copied().collect();
    let mut events = context
        .store
        .scan(&partitions, &context.left_out(), *next, horizon)
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

/// The id at which a scan begins for a checkpoint. It is earlier, because ids come from several clocks, and transactions take time.
pub(super) fn start_of(checkpoint: Position, overlap: std::time::Duration) -> EventId {
    if checkpoint == Position::ORIGIN {
        return EventId::from_bytes([0; 16]);
    }
    let overlap = chrono::TimeDelta::from_std(overlap).unwrap_or(chrono::TimeDelta::days(1));
    EventId::from_uuid(uuid_v7_floor(checkpoint.time() - overlap))
}
