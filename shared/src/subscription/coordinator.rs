//! One process's view of the stream: what it shows goes to the partitions that the process holds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use mongodb::error::Error;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::feed::{Feed, FeedError, Incoming, Mark};
use super::keeper::Changes;
use super::patience::Patience;
use super::scan;
use super::worker::Worker;
use super::workshop::Workshop;
use crate::ids::Partition;
use crate::position::Position;

/// Follows the stream and hands out what it shows.
pub(super) struct Coordinator {
    workshop: Arc<Workshop>,
    workers: BTreeMap<Partition, Worker>,
    scans: JoinSet<()>,
    stop: CancellationToken,
}

/// A stream that is being opened, for every lease that was held when that began.
struct Opening {
    start: Position,
    covers: Vec<(Partition, i64)>,
    feed: BoxFuture<'static, Result<Feed, FeedError>>,
}

impl Coordinator {
    pub(super) fn new(workshop: Arc<Workshop>, stop: CancellationToken) -> Self {
        Self {
            workshop,
            workers: BTreeMap::new(),
            scans: JoinSet::new(),
            stop,
        }
    }

    /// Works until it is told to stop.
    ///
    /// What is gained wants a stream that covers it. Until that one is open, what was held before goes on with the stream there is:
    /// what both show is handed out once. What is gained while a stream is being opened waits for the next one: leases that are given
    /// back are often taken in two goes, and the first of them would wait twice.
    pub(super) async fn run(&mut self, mut changes: mpsc::UnboundedReceiver<Changes>) {
        let mut feed: Option<Feed> = None;
        let mut opening: Option<Opening> = None;
        let mut gained = false;
        let (silence, losses) = (self.workshop.settings.stream_silence, self.workshop.losses.clone());
        let mut patience = Patience::new(&self.workshop.settings);
        let mut open_at = Instant::now();
        loop {
            let to_open = (feed.is_none() || gained) && opening.is_none() && !self.workers.is_empty();
            if to_open && open_at <= Instant::now() {
                let stop = self.stop.clone();
                let Some(begun) = stop.run_until_cancelled(losses.until_lost(self.open())).await else {
                    return;
                };
                match begun {
                    Ok(begun) => (opening, gained) = (Some(begun), false),
                    Err(error) => {
                        tracing::warn!(subscription = self.workshop.subscription, %error, "opening the stream failed; trying again");
                        open_at = Instant::now() + patience.next();
                    }
                }
                continue;
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                changed = changes.recv() => match changed {
                    Some(changes) => gained |= self.apply(changes),
                    None => return,
                },
                () = tokio::time::sleep_until(open_at), if to_open => {}
                opened = losses.until_lost(opened(&mut opening)) => match opened {
                    Ok((start, covers, opened)) => {
                        for (partition, fence) in &covers {
                            if let Some(worker) = self.workers.get_mut(partition) && worker.fence == *fence {
                                worker.cover();
                            }
                        }
                        self.workshop.progress.stream_opened(start, &covers);
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
                        open_at = Instant::now() + patience.next();
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
        let covers = self
            .workers
            .values()
            .map(|worker| (worker.partition, worker.fence))
            .collect();
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
            covers,
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

    /// Finishes the batches under way.
    pub(super) async fn drain(&mut self) {
        let workers = std::mem::take(&mut self.workers);
        // All at once: each finishes its own batches.
        futures_util::future::join_all(workers.into_values().map(Worker::stop)).await;
        self.scans.shutdown().await;
    }
}

/// Waits for the stream that is being opened, if there is one.
async fn opened(opening: &mut Option<Opening>) -> Result<(Position, Vec<(Partition, i64)>, Feed), FeedError> {
    match opening {
        Some(opening) => {
            let feed = opening.feed.as_mut().await?;
            Ok((opening.start, std::mem::take(&mut opening.covers), feed))
        }
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
