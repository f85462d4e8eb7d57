//! Subscriptions: several processes share the work of following the event store.
//!
//! Each process opens one change stream for a subscription, takes its share of the 64 leases, and delivers events to one task for each
//! partition. Each event is delivered at least once. When replicas join, leave or die, leases move within ten seconds.
//!
//! Checkpoints are positions, not resume tokens: positions of different partitions and processes can be compared, and a stream opens at
//! the lowest. Partitions without events keep up by marks that every partition sees.
//!
//! A lease moves from one living process to another without a pause. The successor first opens a stream that shows the partition's events.
//! A process that ends offers its leases to the others, and goes on until they are taken.

mod backoff;
mod batch;
mod candidates;
mod context;
mod coordinator;
mod feed;
mod handler;
mod keeper;
mod metrics;
mod progress;
mod room;
mod scan;
mod settings;
mod stored;
mod worker;

pub mod dead_letters;
pub mod leases;

use std::sync::Arc;
use std::time::{Duration, Instant};

use mongodb::error::Error;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use self::backoff::Backoff;
use self::candidates::Prepared;
use self::context::Context;
use self::coordinator::{Coordinator, first_failure};
use self::dead_letters::DeadLetters;
pub use self::handler::{Delivery, Handler, HandlerError, refusing_panics};
use self::keeper::Keeper;
use self::leases::{Leases, Owner};
pub use self::metrics::SubscriptionMetrics;
use self::progress::Progress;
use self::room::Room;
pub use self::settings::SubscriptionSettings;
use crate::event_store::EventStore;
use crate::mongo::Databases;
use model::clock::SharedClock;

/// How long giving leases back may take. Leases that could not be given back run out.
const GIVE_BACK_WITHIN: Duration = Duration::from_secs(5);

/// A handler's subscription to the event store, shared with the other processes that run it.
#[derive(Debug, Clone)]
pub struct Subscription {
    context: Arc<Context>,
    leases: Leases,
}

impl Subscription {
    /// A subscription without leases begins with the first event of all.
    pub fn new(
        name: &str,
        store: EventStore,
        databases: &Databases,
        handler: Arc<dyn Handler>,
        settings: SubscriptionSettings,
        metrics: SubscriptionMetrics,
        clock: SharedClock,
    ) -> Self {
        let context = Context {
            subscription: name.to_owned(),
            store,
            connections: databases.connections.clone(),
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
            context: Arc::new(context),
            leases: Leases::new(databases.views.clone(), name),
        }
    }

    /// Works until `shutdown`, and then until other processes, if there are any, have taken the leases over. Then it finishes the batches
    /// under way, saves the checkpoints and gives the remaining leases back. It waits while the database fails.
    ///
    /// If a task panics, all others end in order, and all start again. If this is dropped, all tasks end at once.
    pub async fn run(&self, shutdown: CancellationToken) {
        let (context, mut backoff) = (&self.context, Backoff::new(&self.context.settings));
        while let Err(error) = self.run_once(&shutdown).await {
            tracing::error!(subscription = context.subscription, %error, "a task of a subscription panicked; starting again");
            context.metrics.restarts.get_or_create(&context.labels()).inc();
            if !backoff.pause(&shutdown).await {
                break;
            }
        }
        context.metrics.ended(&context.labels());
    }

    async fn run_once(&self, shutdown: &CancellationToken) -> Result<(), JoinError> {
        let context = &self.context;
        let mut backoff = Backoff::new(&context.settings);
        let owner = loop {
            match context.connections.until_lost(self.prepare()).await {
                Ok(owner) => break owner,
                Err(error) => {
                    tracing::warn!(subscription = context.subscription, %error, "preparing the leases failed; trying again");
                    if !backoff.pause(shutdown).await {
                        return Ok(());
                    }
                }
            }
        };
        let (handed_over, stop) = (CancellationToken::new(), CancellationToken::new());
        let (changes, received) = mpsc::unbounded_channel();
        let (prepared, preparations) = watch::channel(Prepared::new());
        let mut tasks = JoinSet::new();
        let keeper = Keeper::new(
            context.clone(),
            self.leases.clone(),
            owner.clone(),
            preparations,
            changes,
            shutdown.clone(),
            handed_over.clone(),
        );
        tasks.spawn(keeper.run(stop.clone()));
        // Ends the handover if the others don't take over, or the offer can't be written.
        let (within, given_up, ended) = (context.settings.hand_over_within, handed_over.clone(), stop.clone());
        let shutdown = shutdown.clone();
        tasks.spawn(async move {
            let deadline = async {
                shutdown.cancelled().await;
                tokio::time::sleep(within).await;
            };
            ended.run_until_cancelled(deadline).await;
            given_up.cancel();
        });
        tasks.spawn(save_checkpoints(
            context.clone(),
            self.leases.clone(),
            owner.clone(),
            stop.clone(),
        ));

        let mut coordinator = Coordinator::new(context.clone(), prepared, handed_over.clone());
        let mut outcome = tokio::select! {
            outcome = coordinator.run(received) => outcome,
            error = first_failure(&mut tasks) => Err(error),
        };
        handed_over.cancel();
        outcome = outcome.and(coordinator.drain().await);
        stop.cancel();
        while let Some(ended) = tasks.join_next().await {
            outcome = outcome.and(ended);
        }
        self.give_back(&owner).await;
        context.progress.clear();
        outcome
    }

    async fn prepare(&self) -> Result<Owner, Error> {
        self.context.make_missing(&self.leases).await?;
        Ok(Owner::random(self.context.handler.session().await?))
    }

    /// Saves the checkpoints and gives back the leases that nobody took over. If the database is gone, they run out instead.
    async fn give_back(&self, owner: &Owner) {
        let (begun, last) = (Instant::now(), self.context.progress.due(true));
        match tokio::time::timeout(GIVE_BACK_WITHIN, self.leases.release(owner, &last)).await {
            Ok(Ok(())) => tracing::info!(
                subscription = self.context.subscription,
                took = ?begun.elapsed(),
                "gave the leases back",
            ),
            Ok(Err(error)) => tracing::warn!(%error, "giving the leases back failed; they will run out"),
            Err(_) => tracing::warn!("giving the leases back took too long; they will run out"),
        }
    }
}

/// Writes the checkpoints that moved: those of active partitions at once, those of idle ones at longer intervals. When the stream becomes
/// silent after events, a mark moves the frontier above the positions that commands returned.
async fn save_checkpoints(context: Arc<Context>, leases: Leases, owner: Owner, stop: CancellationToken) {
    let mut every = tokio::time::interval(context.settings.checkpoint_every);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut idle_since = Instant::now();
    let (mut unsettled, mut marked) = (None, None);
    while stop.run_until_cancelled(every.tick()).await.is_some() {
        let idle = idle_since.elapsed() >= context.settings.idle_checkpoint_every;
        if idle {
            idle_since = Instant::now();
        }
        let due = context.progress.due(idle);
        match context.connections.until_lost(leases.save(&owner, &due)).await {
            // The keeper gives up the leases that others have by now.
            Ok(()) => context.progress.saved(&due),
            Err(error) => tracing::warn!(subscription = context.subscription, %error, "saving checkpoints failed"),
        }
        let before = std::mem::replace(&mut unsettled, context.progress.unsettled());
        // Only once: while there is no room for the next event, the stream does not show the mark.
        if unsettled.is_some() && unsettled == before && unsettled != marked {
            match context.connections.until_lost(context.store.mark_all()).await {
                Ok(_) => marked = unsettled,
                Err(error) => {
                    tracing::warn!(subscription = context.subscription, %error, "writing a mark failed");
                }
            }
        }
    }
}
