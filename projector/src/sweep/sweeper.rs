//! Works on the deleted users, round by round.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use commands::Retractions;
use event_log::event_store::EventStore;
use event_log::mongo::Databases;
use futures_util::{FutureExt, StreamExt, stream};
use model::clock::SharedClock;
use mongodb::error::Error;
use tokio_util::sync::CancellationToken;
use views::Views;
use views::generation::Generations;

use super::pass::{Pass, PassError};
use super::{Item, Items, Phase};
use crate::barrier::wait_until_passed;
use crate::config::Sweep;
use crate::metrics::SweepMetrics;
use crate::rounds::rounds;

/// How many users share a barrier.
const ROUND: u32 = 64;
/// How many users are swept at the same time. Each has its own limit for commands.
const USERS_AT_ONCE: usize = 4;

/// The work of the deletion sweep, which one process at a time does.
#[derive(Debug)]
pub struct Sweeper {
    pub items: Items,
    pub generations: Generations,
    pub store: EventStore,
    pub databases: Databases,
    pub retractions: Retractions,
    pub config: Sweep,
    pub clock: SharedClock,
    pub metrics: SweepMetrics,
}

impl Sweeper {
    /// Works until `stop`.
    pub async fn run(&self, stop: &CancellationToken) {
        let failed = &self.metrics.failed;
        let round = || self.round(stop).boxed();
        rounds("deletion sweep", stop, &self.databases, &self.config, failed, round).await;
    }

    /// Sweeps the users that are due. Returns how many there are.
    async fn round(&self, stop: &CancellationToken) -> Result<usize, Error> {
        self.metrics
            .open
            .set(i64::try_from(self.items.open().await?).unwrap_or(i64::MAX));
        let items = self.items.due(self.clock.now(), ROUND).await?;
        if items.is_empty() {
            return Ok(0);
        }
        let generation = self.generations.ensure_first().await?.active;
        let begun = self.clock.now();
        // The mark is written after the items are found due, so that everything their users did before is below it.
        let mark = self.store.mark_all().await?;
        if !wait_until_passed(
            &self.databases.views,
            generation,
            mark,
            self.config.barrier_timeout,
            stop,
        )
        .await?
        {
            tracing::warn!(
                generation,
                "the views are too far behind for the deletion sweep; trying again"
            );
            return Ok(items.len());
        }
        let views = Views::new(&self.databases.views, generation);
        let pass = Pass {
            store: &self.store,
            retractions: &self.retractions,
            views: &views,
            concurrency: self.config.concurrency,
        };
        let pass = &pass;
        let passes: Vec<_> = items
            .iter()
            .enumerate()
            .map(|(at, item)| async move { (at, pass.run(item).await) }.boxed())
            .collect();
        let passes = stream::iter(passes).buffer_unordered(USERS_AT_ONCE);
        // When the program ends, a pass may be interrupted. It begins again later, and each command is complete in itself.
        let Some(swept) = stop.run_until_cancelled(passes.collect::<Vec<_>>()).await else {
            return Ok(items.len());
        };
        // A generation that was dropped meanwhile shows nothing. This must not count as "nothing is left".
        let unchanged = self.generations.ensure_first().await?.active == generation;
        for (at, outcome) in swept {
            let item = &items[at];
            self.metrics
                .retracted
                .inc_by(outcome.as_ref().map_or(0, |found| found.retracted));
            match outcome {
                // The retracted rows leave the views, and the next round checks for more.
                Ok(found) if found.retracted > 0 || !unchanged => {}
                Ok(found) => {
                    if found.rows > 0 {
                        let rows = found.rows;
                        tracing::error!(user = %item.user, rows, "the views still show what is retracted according to the events");
                    }
                    self.advance(item, begun).await?;
                }
                Err(error) => self.put_off(item, &error).await?,
            }
        }
        Ok(items.len())
    }

    /// Nothing was left when the round began.
    async fn advance(&self, item: &Item, begun: DateTime<Utc>) -> Result<(), Error> {
        let settled = item.deleted_at + delta(self.config.settle_after);
        match item.phase {
            Phase::First if begun < settled => self.items.postpone(item, settled).await,
            Phase::First => {
                let last = item.deleted_at + delta(self.config.last_pass_after);
                self.items.advance(item, Phase::Last, last).await
            }
            Phase::Last => {
                tracing::info!(user = %item.user, "nothing is left of a deleted user");
                self.items.advance(item, Phase::Done, self.clock.now()).await
            }
            Phase::Done => Ok(()),
        }
    }

    async fn put_off(&self, item: &Item, error: &PassError) -> Result<(), Error> {
        self.metrics.failed.inc();
        tracing::warn!(user = %item.user, %error, "could not sweep a deleted user yet; trying again later");
        let later: DateTime<Utc> = self.clock.now() + delta(self.config.retry_after);
        self.items.postpone(item, later).await
    }
}

fn delta(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX)
}
