//! The work on one partition: a queue, lanes, and dead letters.
//!
//! Events of one audience are handled in order, those of different audiences at once: an audience's own
//! order is all that matters. A lane takes what has queued up as one batch. A long queue keeps ids only, and
//! never stalls the other partitions.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use mongodb::error::Error;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::batch::{Blocked, Done, Loaded, Place, Runner};
use super::candidates::Shown;
use super::dead_letters::{Buried, DeadLetter};
use super::feed::Mark;
use super::handler::{Delivery, HandlerError};
use super::leases::Lease;
use super::metrics::PartitionLabels;
use super::patience::Patience;
use super::workshop::Workshop;
use crate::event_store::RecordedEvent;
use crate::ids::{EventId, Partition, UserId};
use crate::position::Position;

/// One thing in a partition's queue.
#[derive(Debug)]
enum Item {
    Event {
        id: EventId,
        body: Option<Arc<RecordedEvent>>,
        place: Place,
    },
    /// An operator wrote something on a dead letter of this partition.
    Wake { position: Position },
}

/// The coordinator's end of a partition.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) partition: Partition,
    pub(super) fence: i64,
    /// The stream has been handed over up to here.
    pub(super) delivered: Position,
    /// A stream was opened that began at `delivered` or below. What an older one shows may lie above something that nobody has
    /// shown to this worker.
    covered: bool,
    queue: mpsc::UnboundedSender<Item>,
    queued: Arc<AtomicUsize>,
    workshop: Arc<Workshop>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Worker {
    /// For a lease that no stream covers yet.
    pub(super) fn start(workshop: Arc<Workshop>, lease: &Lease) -> Self {
        workshop.progress.add(lease.partition, lease.fence, lease.position);
        Self::begin(workshop, lease)
    }

    /// For a lease that the stream has covered before it was taken over: it has shown this.
    pub(super) fn start_prepared(workshop: Arc<Workshop>, lease: &Lease, mut shown: Vec<Shown>) -> Self {
        shown.retain(|shown| shown.position > lease.position);
        workshop
            .progress
            .add_prepared(lease.partition, lease.fence, lease.position, &shown);
        let mut worker = Self::begin(workshop, lease);
        worker.covered = true;
        for Shown { event, position, .. } in shown {
            worker.delivered = position;
            worker.enqueue(event, Place::Stream(position));
        }
        worker
    }

    fn begin(workshop: Arc<Workshop>, lease: &Lease) -> Self {
        let &Lease {
            partition,
            fence,
            position,
            ..
        } = lease;
        let (queue, receiver) = mpsc::unbounded_channel();
        let queued = Arc::new(AtomicUsize::new(0));
        let stop = CancellationToken::new();
        let bench = Bench {
            workshop: workshop.clone(),
            partition,
            receiver,
            queued: queued.clone(),
            stop: stop.clone(),
            lanes: HashMap::new(),
            running: HashSet::new(),
            in_hand: 0,
            blocked: Blocked::default(),
            look_at_letters: true,
            wakes: Vec::new(),
        };
        let task = tokio::spawn(bench.run());
        Self {
            partition,
            fence,
            delivered: position,
            covered: false,
            queue,
            queued,
            workshop,
            stop,
            task,
        }
    }

    /// From now on the stream is one that shows all that this worker needs.
    pub(super) fn cover(&mut self) {
        self.covered = true;
    }

    pub(super) fn is_covered(&self) -> bool {
        self.covered
    }

    /// From where on a stream has to show the partition. Of an idle one nothing was handed over for long, but its checkpoint follows
    /// the stream.
    pub(super) fn needs(&self) -> Position {
        self.delivered.max(self.workshop.progress.stored(self.partition))
    }

    /// Whether the stream's next is for this worker: not before the stream covers it, and not what was handed over before.
    fn awaits(&self, position: Position) -> bool {
        self.covered && position > self.delivered
    }

    /// Hands over an event of the stream, if the worker awaits it.
    pub(super) fn deliver(&mut self, event: Arc<RecordedEvent>, position: Position) {
        if !self.awaits(position) {
            return;
        }
        self.delivered = position;
        self.workshop
            .progress
            .began(self.partition, position, event.recorded_at);
        self.enqueue(event, Place::Stream(position));
    }

    /// Hands over a mark: nothing is to be done, but a checkpoint must pass it.
    pub(super) fn deliver_mark(&mut self, mark: Mark, position: Position) {
        if !self.awaits(position) {
            return;
        }
        self.delivered = position;
        self.workshop
            .progress
            .began(self.partition, position, self.workshop.clock.now());
        if mark.wake {
            // A worker that is gone has no use for it, and its progress is gone too.
            let _ = self.queue.send(Item::Wake { position });
        } else {
            self.workshop.progress.finished(self.partition, [position]);
        }
    }

    /// Where a scan hands its events over.
    pub(super) fn scan_entry(&self) -> ScanEntry {
        ScanEntry {
            partition: self.partition,
            fence: self.fence,
            queue: self.queue.clone(),
            queued: self.queued.clone(),
        }
    }

    fn enqueue(&self, event: Arc<RecordedEvent>, place: Place) {
        push(&self.queue, &self.queued, self.workshop.settings.window, event, place);
    }

    /// Stops after the batches under way; what is queued stays for the next owner.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        drop(self.queue);
        if let Err(error) = self.task.await {
            tracing::error!(partition = %self.partition, %error, "a partition's task ended badly");
        }
    }

    /// Like `stop`, for a lease that is another's by now: nobody waits for what is under way.
    pub(super) fn abandon(self) {
        self.stop.cancel();
    }
}

/// The scan's end of a partition.
#[derive(Debug)]
pub(super) struct ScanEntry {
    pub(super) partition: Partition,
    pub(super) fence: i64,
    queue: mpsc::UnboundedSender<Item>,
    queued: Arc<AtomicUsize>,
}

impl ScanEntry {
    /// The permit is given back when the event is handled, or will never be.
    pub(super) fn deliver(&self, event: Arc<RecordedEvent>, permit: OwnedSemaphorePermit) {
        push(
            &self.queue,
            &self.queued,
            usize::MAX,
            event,
            Place::Scan { _permit: permit },
        );
    }
}

fn push(
    queue: &mpsc::UnboundedSender<Item>,
    queued: &AtomicUsize,
    window: usize,
    event: Arc<RecordedEvent>,
    place: Place,
) {
    let id = event.id;
    let body = (queued.fetch_add(1, Ordering::Relaxed) < window).then_some(event);
    // A worker that is gone has given up its lease: the event stays above its checkpoint for the next owner.
    let _ = queue.send(Item::Event { id, body, place });
}

/// The state of a partition's task.
struct Bench {
    workshop: Arc<Workshop>,
    partition: Partition,
    receiver: mpsc::UnboundedReceiver<Item>,
    queued: Arc<AtomicUsize>,
    stop: CancellationToken,
    lanes: HashMap<UserId, VecDeque<(Loaded, Delivery)>>,
    running: HashSet<UserId>,
    /// Events in lanes, running or not.
    in_hand: usize,
    blocked: Blocked,
    look_at_letters: bool,
    wakes: Vec<Position>,
}

impl Bench {
    async fn run(mut self) {
        let mut under_way = FuturesUnordered::new();
        loop {
            if self.look_at_letters && under_way.is_empty() {
                if !self.work_on_letters().await {
                    break;
                }
                let wakes = std::mem::take(&mut self.wakes);
                self.workshop.progress.finished(self.partition, wakes);
                self.look_at_letters = false;
            }
            if !self.look_at_letters {
                for batch in self.ready_batches() {
                    let blocked = self.blocked.of(batch.1.iter().map(|(loaded, _)| &*loaded.event));
                    let runner = Runner {
                        workshop: self.workshop.clone(),
                        partition: self.partition,
                        stop: self.stop.clone(),
                    };
                    under_way.push(async move { runner.run(batch.0, batch.1, blocked).await });
                }
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                Some(done) = under_way.next(), if !under_way.is_empty() => self.settle(done),
                received = self.receiver.recv(), if self.in_hand < self.workshop.settings.window => match received {
                    Some(item) => if !self.take_up(item).await { break },
                    None => break,
                },
            }
        }
        // What is under way is finished, so that its checkpoint need not be done again.
        while let Some(done) = under_way.next().await {
            self.settle(done);
        }
    }

    /// Takes an item and what else is in the queue; false when stopped meanwhile.
    async fn take_up(&mut self, first: Item) -> bool {
        let room = self.workshop.settings.window.saturating_sub(self.in_hand).max(1);
        let mut items = vec![first];
        while items.len() < room
            && let Ok(item) = self.receiver.try_recv()
        {
            items.push(item);
        }
        let missing: Vec<EventId> = items
            .iter()
            .filter_map(|item| match item {
                Item::Event { id, body: None, .. } => Some(*id),
                _ => None,
            })
            .collect();
        let Some(mut bodies) = self.read_bodies(&missing).await else {
            return false;
        };
        for item in items {
            match item {
                Item::Event { id, body, place } => {
                    self.queued.fetch_sub(1, Ordering::Relaxed);
                    match body.or_else(|| bodies.remove(&id)) {
                        Some(event) => self.lay_out(Loaded { event, place }).await,
                        None => {
                            tracing::error!(event_id = %id, "the event store has lost an event");
                            self.workshop.progress.finished(self.partition, place.position());
                        }
                    }
                }
                Item::Wake { position } => {
                    self.wakes.push(position);
                    self.look_at_letters = true;
                }
            }
        }
        !self.stop.is_cancelled()
    }

    /// Reads what the queue kept by id only; none when stopped meanwhile.
    async fn read_bodies(&self, ids: &[EventId]) -> Option<HashMap<EventId, Arc<RecordedEvent>>> {
        if ids.is_empty() {
            return Some(HashMap::new());
        }
        let mut patience = Patience::new(&self.workshop.settings);
        loop {
            let reading = self.workshop.store.read_by_ids(ids);
            match self.workshop.losses.until_lost(reading).await {
                Ok(events) => return Some(events.into_iter().map(|event| (event.id, Arc::new(event))).collect()),
                Err(error) => {
                    tracing::warn!(partition = %self.partition, %error, "reading queued events failed; trying again");
                    if !patience.pause(&self.stop).await {
                        return None;
                    }
                }
            }
        }
    }

    /// Puts an event into its lane; what can't be decoded is a dead letter at once.
    async fn lay_out(&mut self, loaded: Loaded) {
        match loaded.event.event() {
            Ok(event) => {
                let delivery = Delivery {
                    recorded: loaded.event.clone(),
                    event,
                    position: loaded.place.position(),
                };
                self.in_hand += 1;
                self.lanes
                    .entry(delivery.event.audience())
                    .or_default()
                    .push_back((loaded, delivery));
            }
            Err(error) => {
                let runner = Runner {
                    workshop: self.workshop.clone(),
                    partition: self.partition,
                    stop: self.stop.clone(),
                };
                if let Some(buried) = runner.bury(&loaded.event, &error.to_string(), false).await {
                    if buried == Buried::Waits {
                        self.blocked.add(loaded.event.stream.clone(), loaded.event.version);
                    }
                    self.workshop.progress.finished(self.partition, loaded.place.position());
                }
            }
        }
    }

    /// The next batch of every lane that is not being worked on.
    fn ready_batches(&mut self) -> Vec<(UserId, Vec<(Loaded, Delivery)>)> {
        let most = self.workshop.settings.batch.max(1);
        let mut ready = Vec::new();
        for (&audience, lane) in &mut self.lanes {
            if !lane.is_empty() && self.running.insert(audience) {
                let batch: Vec<_> = lane.drain(..lane.len().min(most)).collect();
                ready.push((audience, batch));
            }
        }
        ready
    }

    fn settle(&mut self, done: Done) {
        self.running.remove(&done.audience);
        self.in_hand -= done.batch.len();
        self.blocked.extend(done.newly_blocked);
        if self.lanes.get(&done.audience).is_some_and(VecDeque::is_empty) {
            self.lanes.remove(&done.audience);
        }
        if done.finished {
            let labels = PartitionLabels {
                subscription: self.workshop.subscription.clone(),
                partition: u32::from(self.partition.number()),
            };
            self.workshop
                .metrics
                .events_handled
                .get_or_create(&labels)
                .inc_by(done.batch.len() as u64);
            let positions = done.batch.iter().filter_map(|(loaded, _)| loaded.place.position());
            self.workshop.progress.finished(self.partition, positions);
        }
    }

    /// Reads the partition's dead letters and executes what an operator asked for, with nothing else under way;
    /// false when stopped meanwhile.
    async fn work_on_letters(&mut self) -> bool {
        let mut patience = Patience::new(&self.workshop.settings);
        let losses = self.workshop.losses.clone();
        loop {
            match losses.until_lost(self.try_letters()).await {
                Ok(()) => return true,
                Err(error) => {
                    tracing::warn!(partition = %self.partition, %error, "reading dead letters failed; trying again");
                    if !patience.pause(&self.stop).await {
                        return false;
                    }
                }
            }
        }
    }

    async fn try_letters(&mut self) -> Result<(), Error> {
        let letters = self
            .workshop
            .dead_letters
            .of_partition(&self.workshop.subscription, self.partition)
            .await?;
        self.blocked = Blocked::default();
        for letter in letters {
            // Once one of a stream stays, those behind it stay too.
            let stays = self.blocked.holds(&letter.stream, letter.version)
                || !(letter.retry_requested || letter.queued_behind)
                || !self.retry(&letter).await?;
            if stays {
                self.blocked.add(letter.stream, letter.version);
            }
        }
        Ok(())
    }

    /// Executes a letter; true if it is resolved.
    async fn retry(&self, letter: &DeadLetter) -> Result<bool, Error> {
        let Some(recorded) = self.workshop.store.read_by_ids(&[letter.event]).await?.pop() else {
            self.workshop
                .dead_letters
                .refused_again(letter, "the event store has no such event")
                .await?;
            return Ok(false);
        };
        let handled = match recorded.event() {
            Ok(event) => {
                let delivery = Delivery {
                    recorded: Arc::new(recorded),
                    event,
                    position: None,
                };
                self.workshop.handler.handle(&[delivery]).await
            }
            Err(error) => Err(HandlerError::Refused(error.to_string())),
        };
        match handled {
            Ok(()) => {
                self.workshop.dead_letters.resolved(letter).await?;
                tracing::info!(event_id = %letter.event, "a dead letter is resolved");
                Ok(true)
            }
            Err(HandlerError::Database(error)) if crate::mongo::is_transient(&error) => Err(error),
            Err(error) => {
                self.workshop
                    .dead_letters
                    .refused_again(letter, &error.to_string())
                    .await?;
                Ok(false)
            }
        }
    }
}
