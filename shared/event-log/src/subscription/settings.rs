//! How a subscription is tuned.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use serde::{Deserialize, Serialize};

/// The section `subscriptions` of the configuration.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SubscriptionSettings {
    /// Another process may take a lease that was not renewed for so long.
    #[serde(with = "humantime_serde")]
    pub lease_duration: Duration,
    /// How often leases are renewed, read and balanced.
    #[serde(with = "humantime_serde")]
    pub renew_every: Duration,
    /// How often a process looks for leases that are offered or were given back. Nobody works on those that were given back, and
    /// readers wait, until a process takes them.
    #[serde(with = "humantime_serde")]
    pub look_every: Duration,
    /// How long a process that ends waits until others take its leases over. Then it gives them back.
    #[serde(with = "humantime_serde")]
    pub hand_over_within: Duration,
    /// How often checkpoints are written while events flow.
    #[serde(with = "humantime_serde")]
    pub checkpoint_every: Duration,
    /// How often the checkpoints of partitions without events are moved.
    #[serde(with = "humantime_serde")]
    pub idle_checkpoint_every: Duration,
    /// A mark is written after so long without an event, so that the checkpoints of idle partitions move on.
    #[serde(with = "humantime_serde")]
    pub heartbeat_every: Duration,
    /// A stream that shows nothing for so long, not even a mark, is broken and has not said so. It must be longer than it takes to
    /// write a mark and to see it in the stream.
    #[serde(with = "humantime_serde")]
    pub stream_silence: Duration,
    /// How many batches one process works on at once.
    pub concurrency: usize,
    /// The most events that are handled in one batch.
    pub batch: usize,
    /// The most events of one partition that are in lanes at once, or are kept for a lease that is to be taken over.
    pub window: usize,
    /// The most memory, in bytes, that events of the stream take until they are handled, in all partitions together. When it is full,
    /// the stream is not read on.
    pub queue_bytes: u32,
    /// How often a handler may refuse an event before it becomes a dead letter.
    pub attempts: u32,
    /// The first pause after a failure; it doubles up to `backoff_max`.
    #[serde(with = "humantime_serde")]
    pub backoff: Duration,
    #[serde(with = "humantime_serde")]
    pub backoff_max: Duration,
    /// How far before the checkpoint a scan begins, because ids come from several clocks.
    #[serde(with = "humantime_serde")]
    pub scan_overlap: Duration,
}

impl SubscriptionSettings {
    /// The pauses between tries: they double up to a bound, and never end.
    pub fn pauses(&self) -> ExponentialBackoff {
        ExponentialBuilder::new()
            .with_min_delay(self.backoff)
            .with_max_delay(self.backoff_max)
            .without_max_times()
            .build()
    }
}

impl Default for SubscriptionSettings {
    fn default() -> Self {
        Self {
            lease_duration: Duration::from_secs(6),
            renew_every: Duration::from_secs(2),
            look_every: Duration::from_millis(200),
            hand_over_within: Duration::from_secs(5),
            checkpoint_every: Duration::from_millis(20),
            idle_checkpoint_every: Duration::from_secs(1),
            heartbeat_every: Duration::from_secs(5),
            stream_silence: Duration::from_secs(10),
            concurrency: 16,
            batch: 100,
            window: 512,
            queue_bytes: 64 * 1024 * 1024,
            attempts: 5,
            backoff: Duration::from_millis(100),
            backoff_max: Duration::from_secs(4),
            scan_overlap: Duration::from_secs(24 * 60 * 60),
        }
    }
}
