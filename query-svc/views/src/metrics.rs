//! The counters of the handlers. The program that runs the handlers registers them.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

/// Clones share the counters.
#[derive(Debug, Clone, Default)]
pub struct ViewMetrics {
    /// Entries that fan-out wrote into home timelines.
    pub fanned_out_entries: Counter,
    /// Entries that a follow copied into a home timeline.
    pub backfilled_entries: Counter,
    /// Owners whom fan-out or a follow skipped, because they have not read for long.
    pub idle_skips: Counter,
    /// Owners who were marked idle.
    pub idle_marks: Counter,
    /// Floors that a follow raised, because the followee had more than the window above them.
    pub raised_floors: Counter,
    /// Posts and reposts that were not fanned out, because their author's audience is large.
    pub large_posts: Counter,
    /// Audiences that became large.
    pub crossings: Counter,
    /// Rows that were newer than their event.
    pub refused_guards: Counter,
    /// Transactions that conflicted with another one and were repeated.
    pub conflicts: Counter,
    /// Timelines whose floor rose because they had become too long.
    pub trims: Counter,
    /// Entries below a floor that were removed.
    pub trimmed_entries: Counter,
}

impl ViewMetrics {
    pub fn register(&self, registry: &mut Registry) {
        let views = registry.sub_registry_with_prefix("views");
        let counters: [(&str, &str, &Counter); 11] = [
            (
                "fanned_out_entries",
                "Entries that fan-out wrote into home timelines",
                &self.fanned_out_entries,
            ),
            (
                "backfilled_entries",
                "Entries that follows copied into home timelines",
                &self.backfilled_entries,
            ),
            ("idle_skips", "Idle owners who were skipped", &self.idle_skips),
            ("idle_marks", "Owners who were marked idle", &self.idle_marks),
            ("raised_floors", "Floors that follows raised", &self.raised_floors),
            (
                "large_posts",
                "Posts of large audiences, not fanned out",
                &self.large_posts,
            ),
            ("crossings", "Audiences that became large", &self.crossings),
            (
                "refused_guards",
                "Rows that were newer than their event",
                &self.refused_guards,
            ),
            (
                "conflicts",
                "Transactions that conflicted with another one",
                &self.conflicts,
            ),
            ("trims", "Home timelines that were trimmed", &self.trims),
            (
                "trimmed_entries",
                "Entries removed from home timelines",
                &self.trimmed_entries,
            ),
        ];
        for (name, help, counter) in counters {
            views.register(name, help, counter.clone());
        }
    }
}
