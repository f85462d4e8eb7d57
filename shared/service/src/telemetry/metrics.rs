//! The metrics of one program, as `/metrics` shows them.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::{Metric, Registry};

/// The media type of [`MetricsRegistry::encode`].
pub const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics of a program. Clones are the same registry.
///
/// Use labels with a bounded number of values (a route pattern, a partition), never values that clients send.
#[derive(Clone, Default)]
pub struct MetricsRegistry(Arc<Mutex<Registry>>);

impl MetricsRegistry {
    /// Registers a metric and returns it, so that the code that counts can keep it. A counter's name gets the suffix `_total` when it is
    /// shown.
    pub fn register<M: Metric + Clone>(&self, name: &str, help: &str, metric: M) -> M {
        self.lock().register(name, help, metric.clone());
        metric
    }

    /// For several metrics that register themselves at once.
    pub fn register_all(&self, register: impl FnOnce(&mut Registry)) {
        register(&mut self.lock());
    }

    /// All metrics in the OpenMetrics text format.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.lock())?;
        Ok(text)
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        // A panic during registration can't leave a registry half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MetricsRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsRegistry").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    #[test]
    fn what_is_registered_is_shown() {
        let registry = MetricsRegistry::default();
        let letters: Counter = registry.register("dead_letters", "Events that were put aside", Counter::default());
        letters.inc();
        let text = registry.clone().encode().unwrap();
        assert!(text.contains("dead_letters_total 1"), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }
}
