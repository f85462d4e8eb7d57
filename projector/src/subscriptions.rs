//! The list of subscriptions, and what runs them.
//!
//! To add one, write its handler and name it in [`SUBSCRIPTIONS`]. The handler says which types of events it works on
//! ([`Handler::event_types`]) and makes what it writes to ([`Handler::prepare`]). A subscription without leases begins with the first
//! event ever; the leases of a new generation are made by its rebuild.
//!
//! Every projector runs all of them; what they share is in the leases. No process has to tell another.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use event_log::event_store::EventStore;
use event_log::mongo::Databases;
use event_log::subscription::{Handler, Subscription, SubscriptionMetrics, SubscriptionSettings};
use futures_util::future::join_all;
use model::clock::SharedClock;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use views::Timelines;
use views::generation::Generations;
use views::{ViewMetrics, ViewProjection, Views, subscription_name};

use crate::discards::{Discards, WithoutDiscarded};
use crate::sweep::{self, Deletions, Items};

/// How often there is a subscription.
enum Scope {
    /// One for each generation of the views that is followed: a rebuild makes another.
    Generation(fn(i64) -> String),
    /// One, whatever becomes of the views.
    Store(&'static str),
}

struct Entry {
    scope: Scope,
    /// The handler, of a generation where there is one for each.
    handler: fn(&Subscriptions, i64) -> Arc<dyn Handler>,
}

const SUBSCRIPTIONS: [Entry; 2] = [
    Entry {
        scope: Scope::Generation(subscription_name),
        handler: |it, generation| {
            let views = Views::new(&it.databases.views, generation);
            let (timelines, clock) = (it.timelines.clone(), it.clock.clone());
            let projection = ViewProjection::new(views, timelines, clock, it.view_metrics.clone());
            Arc::new(WithoutDiscarded::new(projection, it.discards.clone()))
        },
    },
    Entry {
        scope: Scope::Store(sweep::SUBSCRIPTION),
        handler: |it, _| Arc::new(Deletions::new(it.items.clone())),
    },
];

/// What runs the subscriptions, and what handlers are made of.
#[derive(Debug)]
pub(crate) struct Subscriptions {
    pub generations: Generations,
    pub store: EventStore,
    pub databases: Databases,
    pub timelines: Timelines,
    pub settings: SubscriptionSettings,
    pub metrics: SubscriptionMetrics,
    pub view_metrics: ViewMetrics,
    pub discards: Arc<Discards>,
    pub items: Items,
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
    async fn stop(&mut self, subscription: &str) {
        self.stop.cancel();
        if let Err(error) = (&mut self.task).await {
            tracing::error!(subscription, %error, "a subscription ended in disorder");
        }
    }
}

impl Subscriptions {
    /// Runs until `shutdown`, then drains every subscription.
    pub(crate) async fn run(&self, shutdown: &CancellationToken) {
        let (mut running, mut followed) = (BTreeMap::new(), Vec::new());
        let connections = &self.databases.connections;
        loop {
            match connections.until_lost(self.generations.ensure_first()).await {
                Ok(control) => followed = control.followed(),
                // What runs goes on: the database being away is the subscriptions' own business.
                Err(error) => tracing::warn!(%error, "could not read which generations there are"),
            }
            self.adjust(&mut running, &followed).await;
            if let Err(error) = connections.until_lost(self.discards.look()).await {
                tracing::warn!(%error, "could not read which events were discarded");
            }
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = tokio::time::sleep(self.look_every) => {}
            }
        }
        let stopping = running
            .iter_mut()
            .map(|(name, running): (&String, &mut Running)| running.stop(name));
        join_all(stopping).await;
    }

    async fn adjust(&self, running: &mut BTreeMap<String, Running>, generations: &[i64]) {
        let wanted = wanted(generations);
        let mut leaving: Vec<_> = running.extract_if(.., |name, _| !wanted.contains_key(name)).collect();
        join_all(leaving.iter_mut().map(|(subscription, running)| {
            tracing::info!(%subscription, "stops a subscription");
            running.stop(subscription)
        }))
        .await;
        for (name, (entry, generation)) in wanted {
            if let Some(running) = running.get_mut(&name) {
                if !running.task.is_finished() {
                    continue;
                }
                // A subscription runs until it is told to stop; one that ended panicked.
                running.stop(&name).await;
            }
            tracing::info!(subscription = %name, "starts a subscription");
            let started = self.start(&name, (entry.handler)(self, generation));
            running.insert(name, started);
        }
    }

    fn start(&self, name: &str, handler: Arc<dyn Handler>) -> Running {
        let subscription = Subscription::new(
            name,
            self.store.clone(),
            &self.databases,
            handler,
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

/// By name, the entries of the list that are to run while these generations are followed.
fn wanted(generations: &[i64]) -> BTreeMap<String, (&'static Entry, i64)> {
    let mut wanted = BTreeMap::new();
    for entry in &SUBSCRIPTIONS {
        match entry.scope {
            Scope::Store(name) => {
                wanted.insert(name.to_owned(), (entry, 0));
            }
            Scope::Generation(name) => {
                wanted.extend(
                    generations
                        .iter()
                        .map(|&generation| (name(generation), (entry, generation))),
                );
            }
        }
    }
    wanted
}
