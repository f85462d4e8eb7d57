//! The rebuild in a process of its own, with its own memory and processor time.

use event_log::event_store::{EventStore, Retries};
use event_log::mongo::Databases;
use model::clock::SharedClock;
use model::events::DecodeError;
use service::telemetry::MetricsRegistry;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use views::ViewMetrics;

use super::{Rebuilder, SEAT};
use crate::config::Config;
use crate::leadership::{Leadership, Pace};
use crate::metrics::RebuildMetrics;

/// Why a process that only rebuilds ends.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error(transparent)]
    Database(#[from] mongodb::error::Error),
    #[error("only a newer program can build this generation: {0}")]
    Unknown(#[from] DecodeError),
}

/// Builds every requested generation, until `stop`. If another process holds the seat, it waits for its turn.
///
/// # Errors
/// If the event store can't be opened, or at an event that only a newer program can read. The next process continues from there.
pub async fn host_rebuilds(
    config: &Config,
    clock: &SharedClock,
    databases: &Databases,
    stop: &CancellationToken,
) -> Result<(), HostError> {
    let store = EventStore::open(databases.events.clone(), clock.clone(), Retries::default()).await?;
    let pace = Pace::of(&config.subscriptions);
    let seat = Leadership::new(databases, SEAT, Uuid::new_v4().to_string(), pace);
    // The progress is in the control document. Nobody reads the metrics of a process that ends.
    let metrics = RebuildMetrics::register(&MetricsRegistry::default());
    let rebuilder = Rebuilder::new(config, clock, databases, store, metrics, ViewMetrics::default());
    Ok(rebuilder.lead_until_unknown(&seat, stop).await?)
}
