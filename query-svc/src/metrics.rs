//! The metrics of query-svc, besides those of every HTTP service.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use service::telemetry::MetricsRegistry;

use crate::live::{Cut, What};

/// Which documents a lookup was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct CacheLabels {
    documents: &'static str,
}

impl CacheLabels {
    pub(crate) const POSTS: Self = Self { documents: "posts" };
    pub(crate) const PROFILES: Self = Self { documents: "profiles" };
    pub(crate) const RELATIONS: Self = Self { documents: "relations" };

    pub(crate) const LISTS: Self = Self { documents: "lists" };

    pub(crate) const FILTERS: Self = Self { documents: "filters" };

    pub(crate) const BLOCKS_AND_MUTES: Self = Self {
        documents: "blocks_and_mutes",
    };

    const ALL: [Self; 6] = [
        Self::POSTS,
        Self::PROFILES,
        Self::RELATIONS,
        Self::LISTS,
        Self::FILTERS,
        Self::BLOCKS_AND_MUTES,
    ];
}

/// What an event of a stream tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct LiveEvent {
    pub(crate) event: &'static str,
}

/// Why a stream began again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct LiveCut {
    pub(crate) reason: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Transport {
    transport: &'static str,
}

impl Transport {
    pub(crate) const SSE: Self = Self { transport: "sse" };
    pub(crate) const WEBSOCKET: Self = Self { transport: "websocket" };
}

/// What streams do.
#[derive(Debug, Clone, Default)]
pub(crate) struct LiveMetrics {
    pub(crate) connections: Family<Transport, Gauge>,
    pub(crate) events: Family<LiveEvent, Counter>,
    pub(crate) cuts: Family<LiveCut, Counter>,
    /// In seconds, from the id of a post, which is made right before its commit.
    pub(crate) push: PushSeconds,
    pub(crate) pending: Gauge,
}

#[derive(Debug, Clone)]
pub(crate) struct PushSeconds(pub(crate) Histogram);

impl Default for PushSeconds {
    fn default() -> Self {
        // From two milliseconds to half a minute.
        Self(Histogram::new(exponential_buckets(0.002, 2.0, 15)))
    }
}

impl LiveMetrics {
    pub(crate) fn register(registry: &MetricsRegistry) -> Self {
        let new = Self::default();
        // The first increase of a series that is not there yet shows as none.
        for what in What::ALL {
            drop(new.events.get_or_create(&LiveEvent { event: what.as_str() }));
        }
        for cut in Cut::ALL {
            drop(new.cuts.get_or_create(&LiveCut { reason: cut.as_str() }));
        }
        for transport in [Transport::SSE, Transport::WEBSOCKET] {
            drop(new.connections.get_or_create(&transport));
        }
        Self {
            connections: registry.register("live_connections", "Open connections with streams", new.connections),
            events: registry.register("live_events", "Events that were handed to connections", new.events),
            cuts: registry.register("live_cuts", "Streams that had to begin again", new.cuts),
            push: PushSeconds(registry.register(
                "live_push_seconds",
                "From the commit of a post until it is handed to a connection",
                new.push.0,
            )),
            pending: registry.register(
                "live_pending",
                "Posts that wait for the checkpoint that covers them",
                new.pending,
            ),
        }
    }
}

/// Where a step in making a page of a home timeline looked. Most pages are made in one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct HomeStep {
    kind: &'static str,
}

impl HomeStep {
    /// The newest part, in memory.
    pub(crate) const HEAD: Self = Self { kind: "head" };
    /// Entries that were written for the owner.
    pub(crate) const STORED: Self = Self { kind: "stored" };
    /// Posts of accounts that are too large to be fanned out.
    pub(crate) const LARGE: Self = Self { kind: "large" };
    /// Posts with followed tags.
    pub(crate) const TAGS: Self = Self { kind: "tags" };
    /// Posts of all followees, below the floor.
    pub(crate) const BELOW_FLOOR: Self = Self { kind: "below_floor" };
    /// The owner was idle.
    pub(crate) const IDLE: Self = Self { kind: "idle" };
}

#[derive(Debug)]
pub(crate) struct Metrics {
    hits: Family<CacheLabels, Counter>,
    misses: Family<CacheLabels, Counter>,
    joins: Family<CacheLabels, Counter>,
    pub(crate) home_steps: Family<HomeStep, Counter>,
    /// In seconds.
    pub(crate) consistency_waits: Histogram,
    pub(crate) consistency_timeouts: Counter,
    pub(crate) changes: Counter,
    pub(crate) streams_opened: Counter,
    pub(crate) streams_broken: Counter,
    pub(crate) generation: Gauge,
    pub(crate) visits_not_noted: Counter,
}

impl Metrics {
    pub(crate) fn register(registry: &MetricsRegistry) -> Self {
        let waits = [
            0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0,
        ];
        let metrics = Self {
            hits: registry.register("cache_hits", "Documents that were in memory", Family::default()),
            misses: registry.register("cache_misses", "Documents that had to be loaded", Family::default()),
            joins: registry.register(
                "cache_joins",
                "Documents that another request was loading",
                Family::default(),
            ),
            home_steps: registry.register(
                "home_page_steps",
                "Steps in making pages of home timelines, by where they looked",
                Family::default(),
            ),
            consistency_waits: registry.register(
                "consistency_wait_seconds",
                "How long queries waited for the views to show what their Consistency-Token names",
                Histogram::new(waits),
            ),
            consistency_timeouts: registry.register(
                "consistency_timeouts",
                "Queries that were refused because the views did not catch up in time",
                Counter::default(),
            ),
            changes: registry.register(
                "views_changes_seen",
                "Changes of the views that the change stream has shown",
                Counter::default(),
            ),
            streams_opened: registry.register(
                "views_streams_opened",
                "Change streams of the views that were opened",
                Counter::default(),
            ),
            streams_broken: registry.register(
                "views_streams_broken",
                "Change streams of the views that ended with an error or could not be opened",
                Counter::default(),
            ),
            generation: registry.register(
                "views_generation_read",
                "The generation of the views that is read",
                Gauge::default(),
            ),
            visits_not_noted: registry.register(
                "visits_not_noted",
                "Visits of owners that could not be recorded",
                Counter::default(),
            ),
        };
        for labels in CacheLabels::ALL {
            metrics.count_lookups(labels, 0, 0, 0);
        }
        metrics
    }

    pub(crate) fn count_lookups(&self, labels: CacheLabels, hits: usize, misses: usize, joins: usize) {
        self.hits.get_or_create(&labels).inc_by(hits as u64);
        self.misses.get_or_create(&labels).inc_by(misses as u64);
        self.joins.get_or_create(&labels).inc_by(joins as u64);
    }
}
