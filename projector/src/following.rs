//! Follows the generations that there are: a subscription for each, started and stopped as the control document says.
//!
//! Every projector does so by itself; what they share is in the leases. No process has to tell another.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use event_log::event_store::EventStore;
use event_log::mongo::Databases;
use event_log::subscription::{Subscription, SubscriptionMetrics, SubscriptionSettings};
use futures_util::future::join_all;
use model::clock::SharedClock;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use views::Timelines;
use views::generation::Generations;
use views::{ViewMetrics, ViewProjection, Views, subscription_name};

use crate::discards::{Discards, WithoutDiscarded};

/// What runs a subscription for each generation.
#[derive(Debug)]
pub(crate) struct Following {
    pub generations: Generations,
    pub store: EventStore,
    pub databases: Databases,
    pub timelines: Timelines,
    pub settings: SubscriptionSettings,
    pub metrics: SubscriptionMetrics,
    pub view_metrics: ViewMetrics,
    pub discards: Arc<Discards>,
    pub clock: SharedClock,
    pub look_every: Duration,
}

#[derive(Debug)]
struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    /// Waits until the batch under way is finished, checkpoints are saved and leases given back.
    async fn stop(self, generation: i64) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(generation, %error, "the subscription of a generation ended in disorder");
        }
    }
}

impl Following {
    /// Runs until `shutdown`, then drains every subscription.
    pub(crate) async fn run(&self, shutdown: &CancellationToken) {
        let mut running = BTreeMap::new();
        let connections = &self.databases.connections;
        loop {
            match connections.until_lost(self.generations.ensure_first()).await {
                Ok(control) => self.adjust(&mut running, &control.followed()).await,
                // What runs goes on: the database being away is the subscriptions' own business.
                Err(error) => tracing::warn!(%error, "could not read which generations there are"),
            }
            if let Err(error) = connections.until_lost(self.discards.look()).await {
                tracing::warn!(%error, "could not read which events were discarded");
            }
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = tokio::time::sleep(self.look_every) => {}
            }
        }
        join_all(
            running
                .into_iter()
                .map(|(generation, running): (i64, Running)| running.stop(generation)),
        )
        .await;
    }

    async fn adjust(&self, running: &mut BTreeMap<i64, Running>, wanted: &[i64]) {
        let unwanted: Vec<i64> = running
            .keys()
            .copied()
            .filter(|generation| !wanted.contains(generation))
            .collect();
        let leaving = unwanted.into_iter().filter_map(|it| running.remove_entry(&it));
        join_all(leaving.map(|(generation, running)| {
            tracing::info!(generation, "stops following a generation of the views");
            running.stop(generation)
        }))
        .await;
        for &generation in wanted {
            if running
                .get(&generation)
                .is_some_and(|running| !running.task.is_finished())
            {
                continue;
            }
            if let Some(ended) = running.remove(&generation) {
                // A subscription runs until it is told to stop; one that ended panicked.
                ended.stop(generation).await;
            }
            tracing::info!(generation, "follows a generation of the views");
            running.insert(generation, self.start(generation));
        }
    }

    fn start(&self, generation: i64) -> Running {
        let name = subscription_name(generation);
        let views = Views::new(&self.databases.views, generation);
        let projection = ViewProjection::new(
            views,
            self.timelines.clone(),
            self.clock.clone(),
            self.view_metrics.clone(),
        );
        let projection = Arc::new(WithoutDiscarded::new(projection, self.discards.clone()));
        let subscription = Subscription::new(
            &name,
            self.store.clone(),
            &self.databases,
            projection,
            self.settings.clone(),
            self.metrics.clone(),
            self.clock.clone(),
        );
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move { subscription.run(stopped).await });
        Running { stop, task }
    }
}
