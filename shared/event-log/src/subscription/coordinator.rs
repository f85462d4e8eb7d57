//! One process's view of the stream: what it shows goes to the partitions that the process holds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use mongodb::error::Error;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::candidates::{Candidates, Prepared};
use super::feed::{Feed, FeedError, Incoming, Mark};
use super::keeper::Changes;
use super::patience::Patience;
use super::room::{Held, Room};
use super::scan;
use super::worker::Worker;
use super::workshop::Workshop;
use crate::position::Position;
use model::ids::Partition;

/// Follows the stream and hands out what it shows.
pub(super) struct Coordinator {
    workshop: Arc<Workshop>,
    workers: BTreeMap<Partition, Worker>,
    candidates: Candidates,
    /// The tasks of the workers, and of those whose lease was lost and who still have a batch under way.
    benches: JoinSet<()>,
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
    /// `prepared` is told which of the leases that are wanted can be taken over.
    pub(super) fn new(workshop: Arc<Workshop>, prepared: watch::Sender<Prepared>, stop: CancellationToken) -> Self {
        Self {
            candidates: Candidates::new(workshop.settings.window, prepared),
            workshop,
            workers: BTreeMap::new(),
            benches: JoinSet::new(),
            scans: JoinSet::new(),
            stop,
        }
    }

    /// Works until it is told to stop, or a task of a worker or a scan ends in disorder.
    ///
    /// What is gained, or to be taken over, wants a stream that covers it. Until that one is open, what was there before goes on with
    /// the stream there is: what both show is handed out once.
    pub(super) async fn run(&mut self, mut changes: mpsc::UnboundedReceiver<Changes>) -> Result<(), JoinError> {
        let mut feed: Option<Reading> = None;
        let mut opening: Option<Opening> = None;
        let (silence, losses) = (self.workshop.settings.stream_silence, self.workshop.losses.clone());
        let mut patience = Patience::new(&self.workshop.settings);
        let mut open_at = Instant::now();
        loop {
            let to_open = opening.is_none() && self.wants_a_stream(feed.is_some());
            if to_open && open_at <= Instant::now() {
                let stop = self.stop.clone();
                let Some(begun) = stop.run_until_cancelled(losses.until_lost(self.open())).await else {
                    return Ok(());
                };
                match begun {
                    Ok(begun) => opening = Some(begun),
                    Err(error) => {
                        tracing::warn!(subscription = self.workshop.subscription, %error, "opening the stream failed; trying again");
                        open_at = Instant::now() + patience.next();
                    }
                }
                continue;
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(()),
                error = disorder(&mut self.benches) => return Err(error),
                error = disorder(&mut self.scans) => return Err(error),
                changed = changes.recv() => match changed {
                    Some(changes) => self.apply(changes),
                    None => return Ok(()),
                },
                () = tokio::time::sleep_until(open_at), if to_open => {}
                opened = opened(&mut opening) => match opened {
                    Ok((start, partitions, opened)) => {
                        self.stream_opened(start, &partitions);
                        (feed, opening) = (Some(Reading::of(opened)), None);
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
                        opening = None;
                        open_at = Instant::now() + patience.next();
                    }
                },
                incoming = next_of(&mut feed, silence, &self.workshop.room, &self.workers) => match incoming {
                    Ok((incoming, held)) => self.deliver(incoming, held),
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

    /// Whether there is none, or not one that covers everything.
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
            let workshop = self.workshop.clone();
            let worker = match self.candidates.taken(lease.partition) {
                Some(shown) => Worker::start_prepared(workshop, &lease, shown, &mut self.benches),
                None => Worker::start(workshop, &lease, &mut self.benches),
            };
            self.workers.insert(lease.partition, worker);
        }
        if let Some(wanted) = changes.wanted {
            self.candidates.want(&wanted);
        }
        let held = i64::try_from(self.workers.len()).unwrap_or(i64::MAX);
        self.workshop
            .metrics
            .leases_held
            .get_or_create(&self.workshop.labels())
            .set(held);
    }

    fn let_go(&mut self, partition: Partition) {
        if let Some(worker) = self.workers.remove(&partition) {
            self.workshop.progress.remove(partition);
            // Nobody waits for what is under way.
            worker.stop();
        }
    }

    /// Begins to open a stream at the lowest position that any partition needs, scanning first for those that need more.
    async fn open(&mut self) -> Result<Opening, Error> {
        self.scan_what_no_stream_reaches().await?;
        let held = self.workers.values().map(|worker| (worker.partition, worker.needs()));
        let needs: BTreeMap<Partition, Position> = self.candidates.needs().chain(held).collect();
        let start = needs.values().min().copied().unwrap_or_default();
        let partitions: Vec<Partition> = needs.into_keys().collect();
        let (workshop, shown) = (self.workshop.clone(), partitions.clone());
        let feed = async move {
            let left_out = workshop.left_out();
            let lookout = workshop.losses.lookout();
            let opening = Feed::open(workshop.store.database(), lookout, start, &shown, &left_out);
            // A server may read much of its oplog before it shows the first.
            in_time(workshop.settings.stream_silence * 2, opening).await
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
        self.workshop.progress.stream_opened(start, &covers);
        let labels = self.workshop.labels();
        self.workshop.metrics.streams_opened.get_or_create(&labels).inc();
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
            from = Some(from.map_or(start, |lowest: model::ids::EventId| lowest.min(start)));
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
        self.candidates.begin_anew();
    }

    fn deliver(&mut self, incoming: Incoming, held: Option<Held>) {
        let settles = matches!(
            incoming,
            Incoming::Mark {
                mark: Mark { partition: None, .. },
                ..
            }
        );
        let position = match incoming {
            Incoming::Event { stored, position } => {
                match (self.workers.get_mut(&stored.partition()), held) {
                    (Some(worker), Some(held)) => worker.deliver(stored, position, held),
                    // It does not await it.
                    (Some(_), None) => {}
                    (None, _) => {
                        let previous = self.workshop.progress.frontier();
                        self.candidates.show(stored, position, previous, &self.workshop.room);
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
        self.workshop.progress.advance(position, settles);
    }

    /// Finishes the batches under way. Scans have been told to stop, so that none takes what is dropped here for handled.
    pub(super) async fn drain(&mut self) -> Result<(), JoinError> {
        std::mem::take(&mut self.workers).into_values().for_each(Worker::stop);
        let mut outcome = Ok(());
        while let Some(ended) = self.benches.join_next().await {
            outcome = outcome.and(ended);
        }
        self.scans.shutdown().await;
        outcome
    }
}

/// Waits for one of the tasks to end otherwise than in order.
pub(super) async fn disorder(tasks: &mut JoinSet<()>) -> JoinError {
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            return error;
        }
    }
    std::future::pending().await
}

/// A stream that is read only as far as there is room for what it shows.
struct Reading {
    feed: Feed,
    /// Read, and waiting for room.
    waiting: Option<Incoming>,
}

impl Reading {
    fn of(feed: Feed) -> Self {
        Self { feed, waiting: None }
    }

    /// The next of the stream, with room for it if one of `workers` awaits it. May be dropped and called again without losing
    /// anything.
    ///
    /// A server keeps the stream's place meanwhile. If it waits for so long that the server gives up, or its history is lost, the
    /// next question says so.
    async fn next(
        &mut self,
        silence: Duration,
        room: &Room,
        workers: &BTreeMap<Partition, Worker>,
    ) -> Result<(Incoming, Option<Held>), FeedError> {
        loop {
            let Some(incoming) = &self.waiting else {
                self.waiting = Some(in_time(silence, self.feed.next()).await?);
                continue;
            };
            let held = match incoming {
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
                return Ok((incoming, held));
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
    feed: &mut Option<Reading>,
    silence: Duration,
    room: &Room,
    workers: &BTreeMap<Partition, Worker>,
) -> Result<(Incoming, Option<Held>), FeedError> {
    match feed {
        Some(feed) => feed.next(silence, room, workers).await,
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
