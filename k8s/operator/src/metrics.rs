//! The metrics of the operator and of the projections.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use service::telemetry::MetricsRegistry;

use crate::views::Observed;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ProjectionLabels {
    projection: String,
}

/// Clones share the metrics.
#[derive(Debug, Clone)]
pub(crate) struct OperatorMetrics {
    pub leading: Gauge,
    pub reconciles: Counter,
    pub reconcile_errors: Counter,
    generation: Family<ProjectionLabels, Gauge>,
    paused: Family<ProjectionLabels, Gauge>,
    lag_seconds: Family<ProjectionLabels, Gauge<f64, AtomicU64>>,
    dead_letters: Family<ProjectionLabels, Gauge>,
    rebuild_failed: Family<ProjectionLabels, Gauge>,
    rebuild_standstill_seconds: Family<ProjectionLabels, Gauge<f64, AtomicU64>>,
    kubernetes: Arc<RwLock<Result<(), String>>>,
}

impl OperatorMetrics {
    pub(crate) fn register(registry: &MetricsRegistry) -> Self {
        Self {
            leading: registry.register(
                "operator_leading",
                "1 while this operator is the leader",
                Gauge::default(),
            ),
            reconciles: registry.register("operator_reconciles", "Reconciles of a projection", Counter::default()),
            reconcile_errors: registry.register(
                "operator_reconcile_errors",
                "Reconciles of a projection that failed",
                Counter::default(),
            ),
            generation: registry.register(
                "projection_generation",
                "The generation that is read",
                Family::default(),
            ),
            paused: registry.register(
                "projection_paused",
                "1 while the projection follows no events",
                Family::default(),
            ),
            lag_seconds: registry.register(
                "projection_lag_seconds",
                "How long the projection takes to pass a mark, as the operator sees it",
                Family::default(),
            ),
            dead_letters: registry.register(
                "projection_dead_letters",
                "Events that could not be handled and wait for a decision",
                Family::default(),
            ),
            rebuild_failed: registry.register(
                "projection_rebuild_failed",
                "1 while the Job of a rebuild has failed",
                Family::default(),
            ),
            rebuild_standstill_seconds: registry.register(
                "projection_rebuild_standstill_seconds",
                "How long the rebuild has made no progress; absent if no rebuild is wanted",
                Family::default(),
            ),
            kubernetes: Arc::new(RwLock::new(Err("has not been asked yet".to_owned()))),
        }
    }

    pub(crate) fn show(&self, projection: &str, observed: &Observed) {
        let labels = ProjectionLabels {
            projection: projection.to_owned(),
        };
        if let Some(control) = &observed.control {
            self.generation.get_or_create(&labels).set(control.active);
            self.paused.get_or_create(&labels).set(i64::from(control.paused));
        }
        match observed.lag {
            Some(lag) => drop(self.lag_seconds.get_or_create(&labels).set(lag.as_secs_f64())),
            None => drop(self.lag_seconds.remove(&labels)),
        }
        self.dead_letters.get_or_create(&labels).set(observed.dead_letters);
    }

    /// `standstill`: how long a rebuild that is wanted has made no progress.
    pub(crate) fn show_rebuild(&self, projection: &str, failed: bool, standstill: Option<Duration>) {
        let labels = ProjectionLabels {
            projection: projection.to_owned(),
        };
        self.rebuild_failed.get_or_create(&labels).set(i64::from(failed));
        match standstill {
            Some(time) => drop(
                self.rebuild_standstill_seconds
                    .get_or_create(&labels)
                    .set(time.as_secs_f64()),
            ),
            None => drop(self.rebuild_standstill_seconds.remove(&labels)),
        }
    }

    /// Removes the metrics of all projections. An operator that is not the leader knows nothing about projections: the next leader reports
    /// them, and the two reports would never agree.
    pub(crate) fn forget_all(&self) {
        self.generation.clear();
        self.paused.clear();
        self.lag_seconds.clear();
        self.dead_letters.clear();
        self.rebuild_failed.clear();
        self.rebuild_standstill_seconds.clear();
    }

    /// Removes the metrics of a projection that is deleted.
    pub(crate) fn forget(&self, projection: &str) {
        let labels = ProjectionLabels {
            projection: projection.to_owned(),
        };
        self.generation.remove(&labels);
        self.paused.remove(&labels);
        self.lag_seconds.remove(&labels);
        self.dead_letters.remove(&labels);
        self.rebuild_failed.remove(&labels);
        self.rebuild_standstill_seconds.remove(&labels);
    }

    /// Whether Kubernetes answered the latest request. `/readyz` shows it.
    pub(crate) fn kubernetes(&self) -> Result<(), String> {
        self.kubernetes.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn reached_kubernetes(&self) {
        *self.kubernetes.write().unwrap_or_else(PoisonError::into_inner) = Ok(());
    }

    pub(crate) fn missed_kubernetes(&self, error: &kube::Error) {
        *self.kubernetes.write().unwrap_or_else(PoisonError::into_inner) = Err(error.to_string());
    }
}
