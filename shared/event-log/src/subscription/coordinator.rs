//! Follows the change stream of a process, and delivers what it shows to the partitions that the process holds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use mongodb::error::Error;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::candidates::{Candidates, Prepared};
use super::context::Context;
use super::feed::{Feed, FeedError, Incoming, Mark};
use super::keeper::Changes;
use super::room::{Room, RoomPermit};
use super::scan;
use super::worker::Worker;
use crate::position::Position;
use model::ids::Partition;

pub(super) struct Coordinator {
    context: Arc<Context>,
    workers: BTreeMap<Partition, Worker>,
    candidates: Candidates,
    /// The tasks of the workers, and of workers whose lease was lost and that still have a batch under way.
    partition_tasks: JoinSet<()>,
    scans: JoinSet<()>,
    stop: CancellationToken,
}

/// A stream that is being opened.
struct Opening {
    start: Position,
    partitions: Vec<Partition>,
    feed: BoxFuture<'static, Result<Feed, FeedError>>,
}

impl Coordinator {
    /// `prepared` receives which of the wanted leases can be taken over.
    pub(super) fn new(context: Arc<Context>, prepared: watch::Sender<Prepared>, stop: CancellationToken) -> Self {
        Self {
            candidates: Candidates::new(context.settings.window, prepared),
            context,
            workers: BTreeMap::new(),
            partition_tasks: JoinSet::new(),
            scans: JoinSet::new(),
            stop,
        }
    }

    /// Works until it is told to stop, or a partition task or a scan panics.
    ///
    /// A lease that is gained, or is to be taken over, needs a stream that covers it. Until that stream is open, the other partitions go
    /// on with the present one. What both streams show is delivered once.
    pub(super) async fn run(&mut self, mut changes: mpsc::UnboundedReceiver<Changes>) -> Result<(), JoinError> {
        let mut feed: Option<BoundedFeed> = None;
        let mut opening: Option<Opening> = None;
        let (silence, connections) = (self.context.settings.stream_silence, self.context.connections.clone());
        let mut backoff = Backoff::new(&self.context.settings);
        let mut open_at = Instant::now();
        loop {
            let to_open = opening.is_none() && self.wants_a_stream(feed.is_some());
            if to_open && open_at <= Instant::now() {
                let stop = self.stop.clone();
                let Some(begun) = stop.run_until_cancelled(connections.until_lost(self.open())).await else {
                    return Ok(());
                };
                match begun {
                    Ok(begun) => opening = Some(begun),
                    Err(error) => {
                        tracing::warn!(subscription = self.context.subscription, %error, "opening the stream failed; trying again");
                        open_at = Instant::now() + backoff.next();
                    }
                }
                continue;
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(()),
                error = first_failure(&mut self.partition_tasks) => return Err(error),
                error = first_failure(&mut self.scans) => return Err(error),
                changed = changes.recv() => match changed {
                    Some(changes) => self.apply(changes),
                    None => return Ok(()),
                },
                () = tokio::time::sleep_until(open_at), if to_open => {}
                opened = opened(&mut opening) => match opened {
                    Ok((start, partitions, opened)) => {
                        self.stream_opened(start, &partitions);
                        (feed, opening) = (Some(BoundedFeed::of(opened)), None);
                        backoff = Backoff::new(&self.context.settings);
                    }
                    Err(error) => {
                        match error {
                            FeedError::HistoryLost(error) => {
                                self.history_lost(error);
                                feed = None;
                            }
                            FeedError::Broken(error) => {
                                tracing::warn!(subscription = self.context.subscription, %error, "opening the stream failed; trying again");
                            }
                        }
                        opening = None;
                        open_at = Instant::now() + backoff.next();
                    }
                },
                incoming = next_of(&mut feed, silence, &self.context.room, &self.workers) => match incoming {
                    Ok((incoming, permit)) => self.deliver(incoming, permit),
                    Err(FeedError::HistoryLost(error)) => {
                        self.history_lost(error);
                        (feed, opening) = (None, None);
                    }
                    Err(FeedError::Broken(error)) => {
                        tracing::warn!(subscription = self.context.subscription, %error, "the stream broke; opening another");
                        feed = None;
                    }
                },
            }
        }
    }

    /// Whether no stream is open, or one that does not cover everything.
    fn wants_a_stream(&self, is_open: bool) -> bool {
        let mut workers = self.workers.values();
        if is_open {
            workers.any(|worker| !worker.is_covered()) || self.candidates.want_a_stream()
        } else {
            !self.workers.is_empty() || self.candidates.needs().next().is_some()
        }
    }

    /// Applies what the keeper found.
    fn apply(&mut self, changes: Changes) {
        for partition in changes.lost {
            self.let_go(partition);
        }
        for lease in changes.gained {
            self.let_go(lease.partition);
            let context = self.context.clone();
            let worker = match self.candidates.taken(lease.partition) {
                Some(shown) => Worker::start_prepared(context, &lease, shown, &mut self.partition_tasks),
                None => Worker::start(context, &lease, &mut self.partition_tasks),
            };
            self.workers.insert(lease.partition, worker);
        }
        if let Some(wanted) = changes.wanted {
            self.candidates.want(&wanted);
        }
        let held = i64::try_from(self.workers.len()).unwrap_or(i64::MAX);
        self.context
            .metrics
            .leases_held
            .get_or_create(&self.context.labels())
            .set(held);
    }

    fn let_go(&mut self, partition: Partition) {
        if let Some(worker) = self.workers.remove(&partition) {
            self.context.progress.remove(partition);
            // Nobody waits for the batches under way.
            worker.stop();
        }
    }

    /// Begins to open a stream at the lowest position that any partition needs. First starts a scan for partitions that no stream can
    /// serve.
    async fn open(&mut self) -> Result<Opening, Error> {
        self.scan_what_no_stream_reaches().await?;
        let ours = self.workers.values().map(|worker| (worker.partition, worker.needs()));
        let needs: BTreeMap<Partition, Position> = self.candidates.needs().chain(ours).collect();
        let start = needs.values().min().copied().unwrap_or_default();
        let partitions: Vec<Partition> = needs.into_keys().collect();
        let (context, shown) = (self.context.clone(), partitions.clone());
        let feed = async move {
            let left_out = context.left_out();
            let watch = context.connections.watch();
            let opening = Feed::open(context.store.database(), watch, start, &shown, &left_out);
            // A server may read much of its oplog before it shows the first change.
            in_time(context.settings.stream_silence * 2, opening).await
        };
        Ok(Opening {
            start,
            partitions,
            feed: feed.boxed(),
        })
    }

    fn stream_opened(&mut self, start: Position, partitions: &[Partition]) {
        let mut covers = Vec::new();
        for worker in self.workers.values_mut() {
            if start <= worker.needs() && partitions.contains(&worker.partition) {
                worker.cover();
                covers.push((worker.partition, worker.fence));
            }
        }
        self.candidates.stream_opened(start, partitions);
        self.context.progress.stream_opened(start, &covers);
        let labels = self.context.labels();
        self.context.metrics.streams_opened.get_or_create(&labels).inc();
    }

    async fn scan_what_no_stream_reaches(&mut self) -> Result<(), Error> {
        if self.workers.values().all(|worker| worker.delivered != Position::ORIGIN) {
            return Ok(());
        }
        let horizon = self.context.store.horizon().await?;
        let mut entries = Vec::new();
        let mut from = None;
        for worker in self
            .workers
            .values_mut()
            .filter(|worker| worker.delivered == Position::ORIGIN)
        {
            self.context.progress.scan_began(worker.partition);
            let checkpoint = self.context.progress.stored(worker.partition);
            let start = scan::start_of(checkpoint, self.context.settings.scan_overlap);
            from = Some(from.map_or(start, |lowest: model::ids::EventId| lowest.min(start)));
            worker.delivered = horizon;
            entries.push(worker.scan_entry());
        }
        if let Some(from) = from {
            self.scans.spawn(scan::scan(
                self.context.clone(),
                entries,
                from,
                horizon,
                self.stop.clone(),
            ));
        }
        Ok(())
    }

    /// The oplog has rolled over: every partition is scanned, from some time before its checkpoint.
    fn history_lost(&mut self, error: Error) {
        tracing::error!(
            subscription = self.context.subscription, %error,
            "the oplog no longer reaches back to the checkpoints; scanning the event store",
        );
        for worker in self.workers.values_mut() {
            worker.delivered = Position::ORIGIN;
        }
        self.candidates.history_lost();
    }

    fn deliver(&mut self, incoming: Incoming, permit: Option<RoomPermit>) {
        let settles = matches!(
            incoming,
            Incoming::Mark {
                mark: Mark { partition: None, .. },
                ..
            }
        );
        let position = match incoming {
            Incoming::Event { stored, position } => {
                match (self.workers.get_mut(&stored.partition()), permit) {
                    (Some(worker), Some(permit)) => worker.deliver(stored, position, permit),
                    // The worker does not await it.
                    (Some(_), None) => {}
                    (None, _) => {
                        let previous = self.context.progress.frontier();
                        self.candidates.show(stored, position, previous, &self.context.room);
                    }
                }
                position
            }
            Incoming::Mark { mark, position } => {
                if let Some(worker) = mark.partition.and_then(|partition| self.workers.get_mut(&partition)) {
                    worker.deliver_mark(mark, position);
                }
                position
            }
        };
        self.context.progress.advance(position, settles);
    }

    /// Finishes the batches under way. Scans have been told to stop before, so that none takes a dropped event as handled.
    pub(super) async fn drain(&mut self) -> Result<(), JoinError> {
        std::mem::take(&mut self.workers).into_values().for_each(Worker::stop);
        let mut outcome = Ok(());
        while let Some(ended) = self.partition_tasks.join_next().await {
            outcome = outcome.and(ended);
        }
        self.scans.shutdown().await;
        outcome
    }
}

/// Waits until one of the tasks panics.
pub(super) async fn first_failure(tasks: &mut JoinSet<()>) -> JoinError {
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            return error;
        }
    }
    std::future::pending().await
}

/// A stream that is read only while there is room for its events.
struct BoundedFeed {
    feed: Feed,
    /// Was read, and waits for room.
    waiting: Option<Incoming>,
}

impl BoundedFeed {
    fn of(feed: Feed) -> Self {
        Self { feed, waiting: None }
    }

    /// What the stream shows next, with room for it if one of `workers` awaits it. May be dropped and called again without losing
    /// anything.
    ///
    /// While this waits for room, the server keeps the stream's position. If the server gives up meanwhile, or the oplog rolls over, the
    /// next request reports it.
    async fn next(
        &mut self,
        silence: Duration,
        room: &Room,
        workers: &BTreeMap<Partition, Worker>,
    ) -> Result<(Incoming, Option<RoomPermit>), FeedError> {
        loop {
            let Some(incoming) = &self.waiting else {
                self.waiting = Some(in_time(silence, self.feed.next()).await?);
                continue;
            };
            let permit = match incoming {
                Incoming::Event { stored, position } => {
                    let worker = workers.get(&stored.partition());
                    match worker.is_some_and(|worker| worker.awaits(*position)) {
                        true => Some(room.take(stored.event()).await),
                        false => None,
                    }
                }
                Incoming::Mark { .. } => None,
            };
            if let Some(incoming) = self.waiting.take() {
                return Ok((incoming, permit));
            }
        }
    }
}

/// Waits for the stream that is being opened, if there is one.
async fn opened(opening: &mut Option<Opening>) -> Result<(Position, Vec<Partition>, Feed), FeedError> {
    match opening {
        Some(opening) => {
            let feed = opening.feed.as_mut().await?;
            Ok((opening.start, std::mem::take(&mut opening.partitions), feed))
        }
        None => std::future::pending().await,
    }
}

async fn next_of(
    feed: &mut Option<BoundedFeed>,
    silence: Duration,
    room: &Room,
    workers: &BTreeMap<Partition, Worker>,
) -> Result<(Incoming, Option<RoomPermit>), FeedError> {
    match feed {
        Some(feed) => feed.next(silence, room, workers).await,
        None => std::future::pending().await,
    }
}

/// Limits the wait: a connection whose other end is gone stays silent, and so may a server that gets a request while it starts.
async fn in_time<T>(silence: Duration, step: impl Future<Output = Result<T, FeedError>>) -> Result<T, FeedError> {
    match tokio::time::timeout(silence, step).await {
        Ok(outcome) => outcome,
        Err(_) => Err(FeedError::Broken(Error::custom(format!(
            "the stream showed nothing for {silence:?}"
        )))),
    }
}
