//! The upkeep: at intervals, one process marks owners idle who have not read for long.

use std::time::Duration;

use event_log::mongo::Databases;
use event_log::subscription::HandlerError;
use model::clock::SharedClock;
use tokio_util::sync::CancellationToken;
use views::Timelines;
use views::generation::Generations;
use views::{ViewMetrics, ViewProjection, Views};

#[derive(Debug)]
pub(crate) struct Upkeep {
    pub generations: Generations,
    pub databases: Databases,
    pub timelines: Timelines,
    pub metrics: ViewMetrics,
    pub clock: SharedClock,
    pub every: Duration,
}

impl Upkeep {
    /// Makes a pass now, and another after each interval, until `stop`.
    pub(crate) async fn run(&self, stop: &CancellationToken) {
        loop {
            match self.databases.connections.until_lost(self.pass()).await {
                Ok(0) => {}
                Ok(owners) => tracing::info!(owners, "marked owners idle who have not read for long"),
                Err(error) => tracing::warn!(%error, "could not mark idle owners; the next pass will try again"),
            }
            if stop.run_until_cancelled(tokio::time::sleep(self.every)).await.is_none() {
                return;
            }
        }
    }

    /// Works on the generation that is read. A generation that is being built uses the same dates when it is filled.
    async fn pass(&self) -> Result<u64, HandlerError> {
        let active = self.generations.ensure_first().await?.active;
        let views = Views::new(&self.databases.views, active);
        // A new owner of the seat may start before the collections are made.
        views.ensure().await?;
        let projection = ViewProjection::new(views, self.timelines.clone(), self.clock.clone(), self.metrics.clone());
        projection.mark_idle_owners().await
    }
}
