//! Writes entries into home timelines, and trims timelines that grow.

use std::collections::BTreeSet;

use crate::Timelines;
use chrono::TimeDelta;
use futures_util::{StreamExt, TryStreamExt, stream};
use model::clock::SharedClock;
use model::ids::UserId;
use mongodb::error::Error;
use rand::Rng;

use super::home_timelines::{Entry, HomeTimelines, Trimmed};
use super::metrics::ViewMetrics;

const TRIMS_AT_ONCE: usize = 4;

#[derive(Debug, Clone)]
pub(super) struct EntryWriter {
    home_timelines: HomeTimelines,
    timelines: Timelines,
    clock: SharedClock,
    metrics: ViewMetrics,
}

impl EntryWriter {
    pub(super) fn new(
        home_timelines: HomeTimelines,
        timelines: Timelines,
        clock: SharedClock,
        metrics: ViewMetrics,
    ) -> Self {
        Self {
            home_timelines,
            timelines,
            clock,
            metrics,
        }
    }

    /// Inserts entries, and checks some of the timelines that grew whether to trim them. Returns how many entries were new.
    pub(super) async fn insert(&self, entries: &[(UserId, Entry)]) -> Result<u64, Error> {
        let inserted = self.home_timelines.insert(entries).await?;
        let one_in = self.timelines.trim_one_in.get();
        let chosen: BTreeSet<UserId> = {
            let mut random = rand::rng();
            entries
                .iter()
                .filter(|_| random.random_ratio(1, one_in))
                .map(|&(owner, _)| owner)
                .collect()
        };
        stream::iter(chosen)
            .map(|owner| self.trim(owner))
            .buffer_unordered(TRIMS_AT_ONCE)
            .try_collect::<()>()
            .await?;
        Ok(inserted as u64)
    }

    async fn trim(&self, owner: UserId) -> Result<(), Error> {
        let delay = TimeDelta::from_std(self.timelines.trim_delay).unwrap_or(TimeDelta::MAX);
        let window = self.timelines.window.get();
        match self.home_timelines.trim(owner, window, self.clock.now(), delay).await? {
            Trimmed::Nothing => {}
            Trimmed::Marked => {
                self.metrics.trims.inc();
            }
            Trimmed::Removed(count) => {
                self.metrics.trimmed_entries.inc_by(count);
            }
        }
        Ok(())
    }
}
