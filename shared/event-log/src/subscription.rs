//! Subscriptions: several processes share the work of following the event store.
//!
//! Each process opens one change stream for a subscription, takes its share of the 64 leases, and hands events
//! to one task for each partition. Delivery is at least once. Replicas join, leave and die; leases move within
//! ten seconds.
//!
//! Checkpoints are positions, not resume tokens: they compare, across partitions and processes, and a stream
//! opens at the lowest. Partitions without events keep up by marks that every partition sees.
//!
//! A lease moves from one living process to another without a pause: who takes it over has a stream open that shows its
//! events before, and who ends offers its leases to the others and goes on until they are taken.

mod batch;
mod candidates;
mod coordinator;
mod feed;
mod handler;
mod keeper;
mod metrics;
mod patience;
mod progress;
mod room;
mod scan;
mod settings;
mod stored;
mod tending;
mod worker;
mod workshop;

pub mod dead_letters;
pub mod leases;

use std::sync::Arc;
use std::time::{Duration, Instant};

use mongodb::error::Error;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use self::candidates::Prepared;
use self::coordinator::{Coordinator, disorder};
use self::dead_letters::DeadLetters;
pub use self::handler::{Delivery, Handler, HandlerError, refusing_panics};
use self::keeper::Keeper;
use self::leases::{Leases, Owner};
pub use self::metrics::SubscriptionMetrics;
use self::patience::Patience;
use self::progress::Progress;
use self::room::Room;
pub use self::settings::SubscriptionSettings;
use self::tending::Tending;
use self::workshop::Workshop;
use crate::event_store::EventStore;
use crate::mongo::Databases;
use model::clock::SharedClock;

/// So long it may take to give leases back: what could not be given back runs out.
const GIVE_BACK_WITHIN: Duration = Duration::from_secs(5);

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
            room: Room::new(settings.queue_bytes),
            settings,
            metrics,
            clock,
        };
        Self {
            workshop: Arc::new(workshop),
            leases: Leases::new(databases.views.clone(), name),
        }
    }

    /// Works until `shutdown`, and then until others have taken the leases over, as far as there are any; then finishes the batches
    /// under way, saves the checkpoints and gives back what is left. Failures of the database are waited out.
    ///
    /// Where a task ends in disorder, all others end in order, and it begins anew. If this is dropped, all of them end at once.
    pub async fn run(&self, shutdown: CancellationToken) {
        let (workshop, mut patience) = (&self.workshop, Patience::new(&self.workshop.settings));
        while let Err(error) = self.run_once(&shutdown).await {
            tracing::error!(subscription = workshop.subscription, %error, "a task of a subscription ended in disorder; beginning anew");
            workshop.metrics.restarts.get_or_create(&workshop.labels()).inc();
            if !patience.pause(&shutdown).await {
                break;
            }
        }
        workshop.metrics.ended(&workshop.labels());
    }

    async fn run_once(&self, shutdown: &CancellationToken) -> Result<(), JoinError> {
        let workshop = &self.workshop;
        let mut patience = Patience::new(&workshop.settings);
        let owner = loop {
            match workshop.losses.until_lost(self.prepare()).await {
                Ok(owner) => break owner,
                Err(error) => {
                    tracing::warn!(subscription = workshop.subscription, %error, "preparing the leases failed; trying again");
                    if !patience.pause(shutdown).await {
                        return Ok(());
                    }
                }
            }
        };
        let (handed_over, stop) = (CancellationToken::new(), CancellationToken::new());
        let (changes, received) = mpsc::unbounded_channel();
        let (prepared, told) = watch::channel(Prepared::new());
        let mut tasks = JoinSet::new();
        let keeper = Keeper::new(
            self.leases.clone(),
            owner.clone(),
            workshop.settings.clone(),
            workshop.losses.clone(),
        );
        let tending = Tending {
            workshop: workshop.clone(),
            keeper,
            prepared: told,
            changes,
            shutdown: shutdown.clone(),
            handed_over: handed_over.clone(),
        };
        tasks.spawn(tending.run(stop.clone()));
        // Whatever keeps the others from taking over, or from being asked to.
        let (within, given_up, ended) = (workshop.settings.hand_over_within, handed_over.clone(), stop.clone());
        let told = shutdown.clone();
        tasks.spawn(async move {
            let patience = async {
                told.cancelled().await;
                tokio::time::sleep(within).await;
            };
            ended.run_until_cancelled(patience).await;
            given_up.cancel();
        });
        tasks.spawn(save_checkpoints(
            workshop.clone(),
            self.leases.clone(),
            owner.clone(),
            stop.clone(),
        ));

        let mut coordinator = Coordinator::new(workshop.clone(), prepared, handed_over.clone());
        let mut outcome = tokio::select! {
            outcome = coordinator.run(received) => outcome,
            error = disorder(&mut tasks) => Err(error),
        };
        handed_over.cancel();
        outcome = outcome.and(coordinator.drain().await);
        stop.cancel();
        while let Some(ended) = tasks.join_next().await {
            outcome = outcome.and(ended);
        }
        self.give_back(&owner).await;
        workshop.progress.clear();
        outcome
    }

    async fn prepare(&self) -> Result<Owner, Error> {
        self.workshop.make_missing(&self.leases).await?;
        Ok(Owner::random(self.workshop.handler.session().await?))
    }

    /// Saves what is handled and gives back what nobody took over; where the database is gone, they run out instead.
    async fn give_back(&self, owner: &Owner) {
        let (begun, last) = (Instant::now(), self.workshop.progress.due(true));
        match tokio::time::timeout(GIVE_BACK_WITHIN, self.leases.release(owner, &last)).await {
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

/// Writes the checkpoints that moved: of active partitions at once, of idle ones now and then. When the stream
/// falls silent after events, a mark carries the frontier past whatever clients were answered.
async fn save_checkpoints(workshop: Arc<Workshop>, leases: Leases, owner: Owner, stop: CancellationToken) {
    let mut every = tokio::time::interval(workshop.settings.checkpoint_every);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut idle_since = Instant::now();
    let (mut unsettled, mut marked) = (None, None);
    while stop.run_until_cancelled(every.tick()).await.is_some() {
        let idle = idle_since.elapsed() >= workshop.settings.idle_checkpoint_every;
        if idle {
            idle_since = Instant::now();
        }
        let due = workshop.progress.due(idle);
        match workshop.losses.until_lost(leases.save(&owner, &due)).await {
            // One that is another's by now is dropped when the leases are tended next.
            Ok(()) => workshop.progress.saved(&due),
            Err(error) => tracing::warn!(subscription = workshop.subscription, %error, "saving checkpoints failed"),
        }
        let before = std::mem::replace(&mut unsettled, workshop.progress.unsettled());
        // Once: where there is no room for what the stream shows next, the mark is not shown for long.
        if unsettled.is_some() && unsettled == before && unsettled != marked {
            match workshop.losses.until_lost(workshop.store.mark_all()).await {
                Ok(_) => marked = unsettled,
                Err(error) => {
                    tracing::warn!(subscription = workshop.subscription, %error, "writing a mark failed");
                }
            }
        }
    }
}
