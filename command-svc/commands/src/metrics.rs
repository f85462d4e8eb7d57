//! The metrics of commands.

use std::fmt::{self, Write};

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use service::telemetry::MetricsRegistry;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CommandLabels {
    command: &'static str,
    outcome: Outcome,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    Done,
    Refused,
    Unavailable,
    Failed,
}

impl EncodeLabelValue for Outcome {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
            Self::Failed => "failed",
        })
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    commands: Family<CommandLabels, Counter>,
    pub(crate) conflicts: Counter,
    pub(crate) append_seconds: Histogram,
    pub(crate) hash_seconds: Histogram,
    pub(crate) hashes_waiting: Gauge,
}

impl Metrics {
    pub(crate) fn registered(registry: &MetricsRegistry) -> Self {
        let metrics = Self::default();
        Self {
            commands: registry.register("commands", "Commands by type and outcome", metrics.commands),
            conflicts: registry.register(
                "command_conflicts",
                "Appends that met another event of the expected version",
                metrics.conflicts,
            ),
            append_seconds: registry.register(
                "event_append_seconds",
                "How long an append took, its retries and its mark included",
                metrics.append_seconds,
            ),
            hash_seconds: registry.register(
                "password_hash_seconds",
                "How long hashing a password took, without waiting for it",
                metrics.hash_seconds,
            ),
            hashes_waiting: registry.register(
                "password_hashes_waiting",
                "Passwords that wait to be hashed",
                metrics.hashes_waiting,
            ),
        }
    }

    pub(crate) fn count(&self, command: &'static str, outcome: Outcome) {
        self.commands.get_or_create(&CommandLabels { command, outcome }).inc();
    }
}

/// Counts, but shows the metrics nowhere. For programs that use this crate as a library.
impl Default for Metrics {
    fn default() -> Self {
        const APPEND: [f64; 11] = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];
        const HASH: [f64; 7] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0];
        Self {
            commands: Family::default(),
            conflicts: Counter::default(),
            append_seconds: Histogram::new(APPEND),
            hash_seconds: Histogram::new(HASH),
            hashes_waiting: Gauge::default(),
        }
    }
}
