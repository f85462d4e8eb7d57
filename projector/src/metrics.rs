//! Metrics of the projector's own work. The metrics of subscriptions are in `event_log::subscription`.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use service::telemetry::MetricsRegistry;
use views::generation::{Control, Phase};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct PhaseLabels {
    phase: &'static str,
}

/// How far the rebuild is, as the process in charge sees it.
#[derive(Debug, Clone, Default)]
pub(crate) struct RebuildMetrics {
    pub(crate) active: Gauge,
    pub(crate) building: Gauge,
    pub(crate) retiring: Gauge,
    pub(crate) done: Family<PhaseLabels, Gauge>,
    pub(crate) total: Family<PhaseLabels, Gauge>,
    pub(crate) completed: Counter,
}

impl RebuildMetrics {
    pub(crate) fn register(registry: &MetricsRegistry) -> Self {
        Self {
            active: registry.register(
                "views_generation_active",
                "The generation that is read",
                Gauge::default(),
            ),
            building: registry.register(
                "views_generation_building",
                "The generation that is being built; 0 if none is",
                Gauge::default(),
            ),
            retiring: registry.register(
                "views_generation_retiring",
                "The generation whose readers are leaving; 0 if there is none",
                Gauge::default(),
            ),
            done: registry.register("rebuild_done", "Events or owners done, by phase", Family::default()),
            total: registry.register(
                "rebuild_estimate",
                "Events or owners in all, about, by phase",
                Family::default(),
            ),
            completed: registry.register(
                "rebuild_completed",
                "Generations that this process switched to",
                Counter::default(),
            ),
        }
    }

    pub(crate) fn show(&self, control: &Control) {
        self.active.set(control.active);
        self.building
            .set(control.building.as_ref().map_or(0, |building| building.generation));
        self.retiring
            .set(control.retiring.as_ref().map_or(0, |retiring| retiring.generation));
    }

    pub(crate) fn progress(&self, phase: Phase, done: i64, total: i64) {
        let labels = PhaseLabels { phase: phase.as_str() };
        self.done.get_or_create(&labels).set(done);
        self.total.get_or_create(&labels).set(total);
    }
}

#[derive(Debug, Clone, Default)]
pub struct SweepMetrics {
    /// Deleted users that wait for another pass.
    pub(crate) open: Gauge,
    pub(crate) retracted: Counter,
    pub(crate) failed: Counter,
}

impl SweepMetrics {
    pub(crate) fn register(registry: &MetricsRegistry) -> Self {
        Self {
            open: registry.register(
                "sweep_open",
                "Deleted users that wait for another pass",
                Gauge::default(),
            ),
            retracted: registry.register(
                "sweep_retracted",
                "Follows, requests, blocks, mutes, likes, reposts, bookmarks and posts of deleted users that were retracted",
                Counter::default(),
            ),
            failed: registry.register(
                "sweep_failures",
                "Rounds, and passes over a deleted user, that failed and are tried again",
                Counter::default(),
            ),
        }
    }
}

#[derive(Debug, Clone, Default)]
pub struct ConsequenceMetrics {
    /// Blocks and ends of protections whose consequences are not complete.
    pub(crate) open: Gauge,
    pub(crate) ended: Counter,
    pub(crate) accepted: Counter,
    pub(crate) failed: Counter,
}

impl ConsequenceMetrics {
    pub(crate) fn register(registry: &MetricsRegistry) -> Self {
        Self {
            open: registry.register(
                "consequences_open",
                "Blocks and ends of protections whose consequences are not complete",
                Gauge::default(),
            ),
            ended: registry.register(
                "consequences_follows_ended",
                "Follows and requests that were ended because of a block",
                Counter::default(),
            ),
            accepted: registry.register(
                "consequences_requests_accepted",
                "Requests to follow that were accepted because the account is no longer protected",
                Counter::default(),
            ),
            failed: registry.register(
                "consequences_failures",
                "Rounds, and consequences of an event, that failed and are tried again",
                Counter::default(),
            ),
        }
    }
}
