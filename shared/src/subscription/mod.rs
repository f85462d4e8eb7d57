//! Subscriptions: several processes share the work of following the event store.
//!
//! Each process opens one change stream for a subscription, takes its share of the 64 leases, and hands events
//! to one task for each partition. Delivery is at least once. Replicas join, leave and die; leases move within
//! ten seconds.
//!
//! Checkpoints are positions, not resume tokens: they compare, across partitions and processes, and a stream
//! opens at the lowest. Partitions without events keep up by marks that every partition sees.

mod batch;
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

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, FutureExt as _};
use mongodb::error::Error;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::dead_letters::DeadLetters;
use self::feed::{Feed, FeedError, Incoming, Mark};
pub use self::handler::{Delivery, Handler, HandlerError};
use self::keeper::{Changes, Keeper};
use self::leases::{Leases, Owner};
pub use self::metrics::SubscriptionMetrics;
use self::patience::Patience;
use self::progress::Progress;
pub use self::settings::SubscriptionSettings;
use self::worker::Worker;
use self::workshop::Workshop;
use crate::clock::SharedClock;
use crate::event_store::EventStore;
use crate::ids::Partition;
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

        let mut coordinator = Coordinator {
            workshop: workshop.clone(),
            workers: BTreeMap::new(),
            scans: JoinSet::new(),
            stop: shutdown.clone(),
        };
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
        let handed_over = async {
            self.leases.save(owner, &last).await?;
            self.leases.release(owner).await
        };
        match tokio::time::timeout(Duration::from_secs(5), handed_over).await {
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
    // What is free is more than our share: it is another's to take, or ours when leases are balanced next.
    let mut sated = false;
    loop {
        let early = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = every.tick() => false,
            _ = look.tick() => true,
        };
        if early && (sated || !keeper.finds_free().await) {
            continue;
        }
        match keeper.tend(Instant::now()).await {
            // Where another was faster, some may be left.
            Ok(found) if found.is_empty() => sated = early && !found.went_for_some,
            Ok(found) => {
                sated = false;
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

/// Follows the stream and hands out what it shows.
struct Coordinator {
    workshop: Arc<Workshop>,
    workers: BTreeMap<Partition, Worker>,
    scans: JoinSet<()>,
    stop: CancellationToken,
}

/// A stream that is being opened, of every partition that was held when that began.
struct Opening {
    start: Position,
    feed: BoxFuture<'static, Result<Feed, FeedError>>,
}

impl Coordinator {
    /// What is gained wants a stream that covers it. Until that one is open, what was held before goes on with the stream there is:
    /// what both show is handed out once.
    async fn run(&mut self, mut changes: mpsc::UnboundedReceiver<Changes>) {
        let mut feed: Option<Feed> = None;
        let mut opening: Option<Opening> = None;
        let mut gained = false;
        let (silence, losses) = (self.workshop.settings.stream_silence, self.workshop.losses.clone());
        let mut patience = Patience::new(&self.workshop.settings);
        let mut open_at = tokio::time::Instant::now();
        loop {
            let to_open = (feed.is_none() || gained) && opening.is_none() && !self.workers.is_empty();
            if to_open && open_at <= tokio::time::Instant::now() {
                let stop = self.stop.clone();
                let Some(begun) = stop.run_until_cancelled(losses.until_lost(self.open())).await else {
                    return;
                };
                match begun {
                    Ok(begun) => (opening, gained) = (Some(begun), false),
                    Err(error) => {
                        tracing::warn!(subscription = self.workshop.subscription, %error, "opening the stream failed; trying again");
                        open_at = tokio::time::Instant::now() + patience.next();
                    }
                }
                continue;
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                changed = changes.recv() => match changed {
                    Some(changes) => if self.apply(changes) { (opening, gained) = (None, true) },
                    None => return,
                },
                () = tokio::time::sleep_until(open_at), if to_open => {}
                opened = losses.until_lost(opened(&mut opening)) => match opened {
                    Ok((start, opened)) => {
                        self.workers.values_mut().for_each(Worker::cover);
                        self.workshop.progress.stream_opened(start);
                        let labels = self.workshop.labels();
                        self.workshop.metrics.streams_opened.get_or_create(&labels).inc();
                        (feed, opening) = (Some(opened), None);
                        patience = Patience::new(&self.workshop.settings);
                    }
                    Err(error) => {
                        match error {
                            FeedError::HistoryLost(error) => {
                                self.begin_anew(error);
                                feed = None;
                            }
                            FeedError::Broken(error) => {
                                tracing::warn!(subscription = self.workshop.subscription, %error, "opening the stream failed; trying again");
                            }
                        }
                        (opening, gained) = (None, true);
                        open_at = tokio::time::Instant::now() + patience.next();
                    }
                },
                incoming = losses.until_lost(next_of(&mut feed, silence)) => match incoming {
                    Ok(incoming) => self.deliver(incoming),
                    Err(FeedError::HistoryLost(error)) => {
                        self.begin_anew(error);
                        (feed, opening) = (None, None);
                    }
                    Err(FeedError::Broken(error)) => {
                        tracing::warn!(subscription = self.workshop.subscription, %error, "the stream broke; opening another");
                        feed = None;
                    }
                },
            }
        }
    }

    /// Applies what the keeper found; true if the stream has to be opened anew.
    fn apply(&mut self, changes: Changes) -> bool {
        for partition in changes.lost {
            self.let_go(partition);
        }
        let gained = !changes.gained.is_empty();
        for lease in changes.gained {
            self.let_go(lease.partition);
            let worker = Worker::start(self.workshop.clone(), lease.partition, lease.fence, lease.position);
            self.workers.insert(lease.partition, worker);
        }
        let held = i64::try_from(self.workers.len()).unwrap_or(i64::MAX);
        self.workshop
            .metrics
            .leases_held
            .get_or_create(&self.workshop.labels())
            .set(held);
        gained
    }

    fn let_go(&mut self, partition: Partition) {
        if let Some(worker) = self.workers.remove(&partition) {
            self.workshop.progress.remove(partition);
            worker.abandon();
        }
    }

    /// Begins to open a stream at the lowest position that any partition needs, scanning first for those that need more.
    async fn open(&mut self) -> Result<Opening, Error> {
        self.scan_what_no_stream_reaches().await?;
        // Of an idle partition nothing was handed over for long, but its checkpoint follows the stream.
        let progress = &self.workshop.progress;
        let needs = |worker: &Worker| worker.delivered.max(progress.stored(worker.partition));
        let start = self.workers.values().map(needs).min().unwrap_or_default();
        let partitions: Vec<Partition> = self.workers.keys().copied().collect();
        let workshop = self.workshop.clone();
        let feed = async move {
            let types = workshop.handler.event_types();
            let opening = Feed::open(workshop.store.database(), start, &partitions, types);
            // A server may read much of its oplog before it shows the first.
            in_time(workshop.settings.stream_silence * 2, opening).await
        };
        Ok(Opening {
            start,
            feed: feed.boxed(),
        })
    }

    async fn scan_what_no_stream_reaches(&mut self) -> Result<(), Error> {
        if self.workers.values().all(|worker| worker.delivered != Position::ORIGIN) {
            return Ok(());
        }
        let horizon = self.workshop.store.horizon().await?;
        let mut entries = Vec::new();
        let mut from = None;
        for worker in self
            .workers
            .values_mut()
            .filter(|worker| worker.delivered == Position::ORIGIN)
        {
            self.workshop.progress.scan_began(worker.partition);
            let checkpoint = self.workshop.progress.stored(worker.partition);
            let start = scan::start_of(checkpoint, self.workshop.settings.scan_overlap);
            from = Some(from.map_or(start, |lowest: crate::ids::EventId| lowest.min(start)));
            worker.delivered = horizon;
            entries.push(worker.scan_entry());
        }
        if let Some(from) = from {
            self.scans.spawn(scan::scan(
                self.workshop.clone(),
                entries,
                from,
                horizon,
                self.stop.clone(),
            ));
        }
        Ok(())
    }

    /// The oplog has rolled over: every partition is scanned from a day before its checkpoint.
    fn begin_anew(&mut self, error: Error) {
        tracing::error!(
            subscription = self.workshop.subscription, %error,
            "the oplog no longer reaches back to the checkpoints; scanning the event store",
        );
        for worker in self.workers.values_mut() {
            worker.delivered = Position::ORIGIN;
        }
    }

    fn deliver(&mut self, incoming: Incoming) {
        let settles = matches!(
            incoming,
            Incoming::Mark {
                mark: Mark { partition: None, .. },
                ..
            }
        );
        let position = match incoming {
            Incoming::Event { event, position } => {
                if let Some(worker) = self.workers.get_mut(&event.partition) {
                    worker.deliver(event, position);
                }
                position
            }
            Incoming::Mark { mark, position } => {
                if let Some(worker) = mark.partition.and_then(|partition| self.workers.get_mut(&partition)) {
                    worker.deliver_mark(mark, position);
                }
                position
            }
            Incoming::Unreadable { reason, position } => {
                tracing::error!(subscription = self.workshop.subscription, %position, reason, "the event store holds a document that is no event");
                position
            }
        };
        self.workshop.progress.advance(position, settles);
    }

    async fn drain(&mut self) {
        let workers = std::mem::take(&mut self.workers);
        // All at once: each finishes its own batches.
        futures_util::future::join_all(workers.into_values().map(Worker::stop)).await;
        self.scans.shutdown().await;
    }
}

/// Waits for the stream that is being opened, if there is one.
async fn opened(opening: &mut Option<Opening>) -> Result<(Position, Feed), FeedError> {
    match opening {
        Some(opening) => Ok((opening.start, opening.feed.as_mut().await?)),
        None => std::future::pending().await,
    }
}

async fn next_of(feed: &mut Option<Feed>, silence: Duration) -> Result<Incoming, FeedError> {
    match feed {
        Some(feed) => in_time(silence, feed.next()).await,
        None => std::future::pending().await,
    }
}

/// A connection whose other end is gone stays silent, and so may a server that was asked while it was starting.
async fn in_time<T>(silence: Duration, step: impl Future<Output = Result<T, FeedError>>) -> Result<T, FeedError> {
    match tokio::time::timeout(silence, step).await {
        Ok(outcome) => outcome,
        Err(_) => Err(FeedError::Broken(Error::custom(format!(
            "the stream said nothing for {silence:?}"
        )))),
    }
}
