//! Subscriptions: several processes share the work of following the event store.
//!
//! Each process opens one change stream for a subscription, takes its share of the 64 leases, and hands events
//! to one task for each partition. Delivery is at least once. Replicas join, leave and die; leases move within
//! ten seconds.
//!
//! Checkpoints are positions, not resume tokens: they compare, across partitions and processes, and a stream
//! opens at the lowest. Partitions without events keep up by marks that every partition sees.

mod batch;
mod coordinator;
mod feed;
mod handler;
mod keeper;
mod metrics;
mod patience;
mod progress;
mod scan;
mod settings;
mod worker;
mod workshop;

pub mod dead_letters;
pub mod leases;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mongodb::error::Error;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::coordinator::Coordinator;
use self::dead_letters::DeadLetters;
pub use self::handler::{Delivery, Handler, HandlerError};
use self::keeper::{Changes, Keeper};
use self::leases::{Leases, Owner};
pub use self::metrics::SubscriptionMetrics;
use self::patience::Patience;
use self::progress::Progress;
pub use self::settings::SubscriptionSettings;
use self::workshop::Workshop;
use crate::clock::SharedClock;
use crate::event_store::EventStore;
use crate::mongo::Databases;
use crate::position::Position;

/// A handler's subscription to the event store, shared with the other processes that run it.
#[derive(Debug, Clone)]
pub struct Subscription {
    workshop: Arc<Workshop>,
    leases: Leases,
}

impl Subscription {
    /// A subscription without leases begins with the first event ever.
    pub fn new(
        name: &str,
        store: EventStore,
        databases: &Databases,
        handler: Arc<dyn Handler>,
        settings: SubscriptionSettings,
        metrics: SubscriptionMetrics,
        clock: SharedClock,
    ) -> Self {
        let workshop = Workshop {
            subscription: name.to_owned(),
            store,
            losses: databases.losses.clone(),
            handler,
            dead_letters: DeadLetters::new(&databases.views),
            progress: Progress::default(),
            concurrency: Semaphore::new(settings.concurrency.max(1)),
            settings,
            metrics,
            clock,
        };
        Self {
            workshop: Arc::new(workshop),
            leases: Leases::new(databases.views.clone(), name),
        }
    }

    /// Works until `shutdown`; then finishes the batches under way, saves the checkpoints and gives the
    /// leases back. Failures of the database are waited out.
    pub async fn run(&self, shutdown: CancellationToken) {
        let workshop = &self.workshop;
        let mut patience = Patience::new(&workshop.settings);
        let owner = loop {
            match workshop.losses.until_lost(self.prepare()).await {
                Ok(owner) => break owner,
                Err(error) => {
                    tracing::warn!(subscription = workshop.subscription, %error, "preparing the leases failed; trying again");
                    if !patience.pause(&shutdown).await {
                        return;
                    }
                }
            }
        };
        let stop = CancellationToken::new();
        let (changes, received) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        let keeper = Keeper::new(
            self.leases.clone(),
            owner.clone(),
            workshop.settings.clone(),
            workshop.losses.clone(),
        );
        tasks.spawn(keep_leases(workshop.clone(), keeper, changes, stop.clone()));
        tasks.spawn(save_checkpoints(
            workshop.clone(),
            self.leases.clone(),
            owner.clone(),
            stop.clone(),
        ));

        let mut coordinator = Coordinator::new(workshop.clone(), shutdown.clone());
        coordinator.run(received).await;
        coordinator.drain().await;

        stop.cancel();
        while tasks.join_next().await.is_some() {}
        self.hand_over(&owner).await;
        workshop.metrics.ended(&workshop.labels());
    }

    async fn prepare(&self) -> Result<Owner, Error> {
        self.workshop.dead_letters.ensure().await?;
        self.leases.ensure(Position::ORIGIN).await?;
        Ok(Owner::random(self.workshop.handler.session().await?))
    }

    /// Saves what is handled and gives the leases back; where the database is gone, they run out instead.
    async fn hand_over(&self, owner: &Owner) {
        let (begun, last) = (Instant::now(), self.workshop.progress.due(true));
        match tokio::time::timeout(Duration::from_secs(5), self.leases.release(owner, &last)).await {
            Ok(Ok(())) => tracing::info!(
                subscription = self.workshop.subscription,
                took = ?begun.elapsed(),
                "gave the leases back",
            ),
            Ok(Err(error)) => tracing::warn!(%error, "giving the leases back failed; they will run out"),
            Err(_) => tracing::warn!("giving the leases back took too long; they will run out"),
        }
    }
}

/// Tends the leases on their own task, so that no slow handler makes them run out.
async fn keep_leases(
    workshop: Arc<Workshop>,
    mut keeper: Keeper,
    changes: mpsc::UnboundedSender<Changes>,
    stop: CancellationToken,
) {
    let settings = &workshop.settings;
    let mut every = tokio::time::interval(settings.renew_every);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut look = tokio::time::interval(settings.look_every);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut heartbeat = Heartbeat::default();
    // What is free and more than our share: it is another's to take, or ours when leases are balanced next. What comes to be free
    // afterwards is looked at anew.
    let mut left_to_others = BTreeSet::new();
    loop {
        let early = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = every.tick() => false,
            _ = look.tick() => true,
        };
        let mut free = BTreeSet::new();
        if early {
            free = keeper.free().await;
            if free.is_empty() || free == left_to_others {
                continue;
            }
        }
        let tended = async {
            // It writes all leases that are held, while readers wait for what is free.
            if !early {
                keeper.renew().await?;
            }
            keeper.tend(Instant::now()).await
        };
        match tended.await {
            // Where another was faster, some may be left.
            Ok(found) if found.is_empty() && !found.went_for_some => left_to_others = free,
            Ok(found) if found.is_empty() => left_to_others.clear(),
            Ok(found) => {
                left_to_others.clear();
                let labels = workshop.labels();
                workshop
                    .metrics
                    .leases_taken
                    .get_or_create(&labels)
                    .inc_by(found.gained.len() as u64);
                workshop
                    .metrics
                    .leases_lost
                    .get_or_create(&labels)
                    .inc_by(found.lost.len() as u64);
                tracing::info!(
                    subscription = workshop.subscription,
                    gained = found.gained.len(),
                    lost = found.lost.len(),
                    "leases moved",
                );
                if changes.send(found).is_err() {
                    return;
                }
            }
            Err(error) => tracing::warn!(subscription = workshop.subscription, %error, "tending the leases failed"),
        }
        let (oldest, backlog) = workshop.progress.backlog();
        let lag = oldest.map_or(0.0, |at| (workshop.clock.now() - at).as_seconds_f64().max(0.0));
        workshop.metrics.lag_seconds.get_or_create(&workshop.labels()).set(lag);
        workshop
            .metrics
            .backlog
            .get_or_create(&workshop.labels())
            .set(i64::try_from(backlog).unwrap_or(i64::MAX));
        if heartbeat.is_due(workshop.progress.frontier(), Instant::now(), settings.heartbeat_every)
            && let Err(error) = workshop.losses.until_lost(workshop.store.mark_all()).await
        {
            tracing::warn!(subscription = workshop.subscription, %error, "writing a heartbeat failed");
        }
    }
}

/// Tells when a stream has shown nothing for a while.
#[derive(Debug, Default)]
struct Heartbeat {
    seen: Option<(Position, Instant)>,
}

impl Heartbeat {
    fn is_due(&mut self, frontier: Position, now: Instant, every: Duration) -> bool {
        match self.seen {
            Some((position, since)) if position == frontier => {
                let due = now.duration_since(since) >= every;
                if due {
                    self.seen = Some((position, now));
                }
                due
            }
            _ => {
                self.seen = Some((frontier, now));
                false
            }
        }
    }
}

/// Writes the checkpoints that moved: of active partitions at once, of idle ones now and then. When the stream
/// falls silent after events, a mark carries the frontier past whatever clients were answered.
async fn save_checkpoints(workshop: Arc<Workshop>, leases: Leases, owner: Owner, stop: CancellationToken) {
    let mut every = tokio::time::interval(workshop.settings.checkpoint_every);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut idle_since = Instant::now();
    let mut unsettled = None;
    while stop.run_until_cancelled(every.tick()).await.is_some() {
        let idle = idle_since.elapsed() >= workshop.settings.idle_checkpoint_every;
        if idle {
            idle_since = Instant::now();
        }
        let due = workshop.progress.due(idle);
        match workshop.losses.until_lost(leases.save(&owner, &due)).await {
            // One that is another's by now is dropped when the leases are tended next.
            Ok(_) => workshop.progress.saved(&due),
            Err(error) => tracing::warn!(subscription = workshop.subscription, %error, "saving checkpoints failed"),
        }
        let before = std::mem::replace(&mut unsettled, workshop.progress.unsettled());
        if unsettled.is_some()
            && unsettled == before
            && let Err(error) = workshop.losses.until_lost(workshop.store.mark_all()).await
        {
            tracing::warn!(subscription = workshop.subscription, %error, "writing a mark failed");
        }
    }
}
