//! The metrics of subscriptions.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::sync::atomic::AtomicU64;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PartitionLabels {
    pub subscription: String,
    pub partition: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SubscriptionLabels {
    pub subscription: String,
}

/// Why a batch is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Fault {
    /// A service that the handler needs does not answer, or can't accept work now.
    Unavailable,
    /// The handler refuses an event.
    Refused,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RetryLabels {
    pub subscription: String,
    pub fault: Fault,
}

/// Shared by all subscriptions of a process.
#[derive(Debug, Clone, Default)]
pub struct SubscriptionMetrics {
    pub events_handled: Family<PartitionLabels, Counter>,
    /// Age of the oldest event that is not handled yet, in seconds.
    pub lag_seconds: Family<SubscriptionLabels, Gauge<f64, AtomicU64>>,
    pub backlog: Family<SubscriptionLabels, Gauge>,
    /// See [`super::SubscriptionSettings::queue_bytes`].
    pub queue_bytes: Family<SubscriptionLabels, Gauge>,
    pub leases_held: Family<SubscriptionLabels, Gauge>,
    /// Partitions whose next event only a newer program can read, while no such program runs.
    pub leases_waiting: Family<SubscriptionLabels, Gauge>,
    pub leases_taken: Family<SubscriptionLabels, Counter>,
    pub leases_lost: Family<SubscriptionLabels, Counter>,
    pub streams_opened: Family<SubscriptionLabels, Counter>,
    pub scans: Family<SubscriptionLabels, Counter>,
    pub retries: Family<RetryLabels, Counter>,
    pub dead_letters: Family<SubscriptionLabels, Counter>,
    /// How often a subscription started again because one of its tasks panicked.
    pub restarts: Family<SubscriptionLabels, Counter>,
}

impl SubscriptionMetrics {
    /// Registers everything under `subscription_…`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("subscription");
        registry.register(
            "events_handled",
            "Events handled, by partition",
            self.events_handled.clone(),
        );
        registry.register(
            "lag_seconds",
            "Age of the oldest unhandled event in seconds",
            self.lag_seconds.clone(),
        );
        registry.register(
            "backlog_events",
            "Events received and not handled yet",
            self.backlog.clone(),
        );
        registry.register(
            "queue_bytes",
            "Memory of the stream's events that are not handled yet, in bytes",
            self.queue_bytes.clone(),
        );
        registry.register(
            "leases_waiting",
            "Partitions that wait for a newer program, which can read their next event",
            self.leases_waiting.clone(),
        );
        registry.register(
            "leases_held",
            "Partitions that this process works on",
            self.leases_held.clone(),
        );
        registry.register(
            "leases_taken",
            "Leases taken by this process",
            self.leases_taken.clone(),
        );
        registry.register(
            "leases_lost",
            "Leases lost to other processes",
            self.leases_lost.clone(),
        );
        registry.register("streams_opened", "Change streams opened", self.streams_opened.clone());
        registry.register(
            "scans",
            "Scans of the event store in place of a lost or missing stream",
            self.scans.clone(),
        );
        registry.register(
            "retries",
            "Batches that were tried again, by the reason",
            self.retries.clone(),
        );
        registry.register(
            "restarts",
            "How often a subscription started again because one of its tasks panicked",
            self.restarts.clone(),
        );
        registry.register(
            "dead_letters",
            "Events put aside as dead letters",
            self.dead_letters.clone(),
        );
    }

    /// Removes the gauges of a subscription that has ended here. Its counters stay.
    pub(super) fn ended(&self, labels: &SubscriptionLabels) {
        self.lag_seconds.remove(labels);
        self.backlog.remove(labels);
        self.queue_bytes.remove(labels);
        self.leases_waiting.remove(labels);
        self.leases_held.remove(labels);
    }
}
