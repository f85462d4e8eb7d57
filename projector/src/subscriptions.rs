//! The list of subscriptions, and what runs them.
//!
//! To add one, write its handler and name it in [`SUBSCRIPTIONS`]. The handler says which types of events it handles
//! ([`Handler::event_types`]), and makes the collections that it writes to ([`Handler::prepare`]). A subscription without leases begins
//! with the first event ever. The rebuild makes the leases of a new generation.
//!
//! Every projector runs all subscriptions. The leases contain what projectors share, so that no process has to tell another.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use event_log::event_store::EventStore;
use event_log::mongo::Databases;
use event_log::subscription::{Handler, Subscription, SubscriptionMetrics, SubscriptionSettings};
use futures_util::future::join_all;
use model::clock::SharedClock;
use model::events::SCHEMA;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use views::Timelines;
use views::generation::Generations;
use views::{ViewMetrics, ViewProjection, Views, subscription_name};

use crate::discards::{Discards, WithoutDiscarded};
use crate::noting::{self, Notes};
use crate::{consequences, sweep};

/// How many instances of a subscription there are.
enum Scope {
    /// One for each generation of the views that is followed. A rebuild makes another.
    Generation(fn(i64) -> String),
    /// Only one, whatever generations there are.
    Store(&'static str),
}

struct Entry {
    scope: Scope,
    /// The handler. If there is one for each generation, the number is the generation.
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
        scope: Scope::Store(noting::SUBSCRIPTION),
        handler: |it, _| Arc::new(Notes::new(it.sweeps.clone(), it.consequences.clone())),
    },
];

/// Runs the subscriptions, and has what their handlers are made of.
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
    pub sweeps: sweep::Items,
    pub consequences: consequences::Items,
    pub clock: SharedClock,
    pub look_every: Duration,
}

#[derive(Debug)]
struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    /// Waits until the current batch is finished, checkpoints are saved and leases are given back.
    async fn stop(&mut self, subscription: &str) {
        self.stop.cancel();
        if let Err(error) = (&mut self.task).await {
            tracing::error!(subscription, %error, "a subscription failed");
        }
    }
}

impl Subscriptions {
    /// Runs until `shutdown`, then drains every subscription.
    pub(crate) async fn run(&self, shutdown: &CancellationToken) {
        let (mut running, mut followed) = (BTreeMap::new(), Vec::new());
        let mut upgraded = false;
        let connections = &self.databases.connections;
        loop {
            match connections.until_lost(self.generations.ensure_first()).await {
                Ok(control) => followed = control.followed(),
                // Running subscriptions continue: they handle an unavailable database themselves.
                Err(error) => tracing::warn!(%error, "could not read the list of generations"),
            }
            self.adjust(&mut running, &followed).await;
            if let Err(error) = connections.until_lost(self.discards.look()).await {
                tracing::warn!(%error, "could not read which events were discarded");
            }
            if !upgraded {
                upgraded = connections
                    .until_lost(self.finish_upgrade())
                    .await
                    .unwrap_or_else(|error| {
                        tracing::warn!(%error, "could not find out whether every program is upgraded");
                        false
                    });
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

    /// Allows what this version brings, as soon as every program can read it.
    async fn finish_upgrade(&self) -> Result<bool, mongodb::error::Error> {
        let upgraded = self.generations.all_are_upgraded().await?;
        if upgraded {
            self.store.allow(SCHEMA).await?;
        }
        Ok(upgraded)
    }

    async fn adjust(&self, running: &mut BTreeMap<String, Running>, generations: &[i64]) {
        let wanted = wanted(generations);
        let mut leaving: Vec<_> = running.extract_if(.., |name, _| !wanted.contains_key(name)).collect();
        join_all(leaving.iter_mut().map(|(subscription, running)| {
            tracing::info!(%subscription, "stopping a subscription");
            running.stop(subscription)
        }))
        .await;
        for (name, (entry, generation)) in wanted {
            if let Some(running) = running.get_mut(&name) {
                if !running.task.is_finished() {
                    continue;
                }
                // A subscription runs until it is told to stop. So one that has ended has panicked.
                running.stop(&name).await;
            }
            tracing::info!(subscription = %name, "starting a subscription");
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

/// The entries of the list that must run while these generations are followed, by name.
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
