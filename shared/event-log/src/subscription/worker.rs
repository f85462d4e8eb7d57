//! The work on one partition: a queue, lanes, and dead letters.
//!
//! Events of one audience are handled in order, those of different audiences at once: an audience's own
//! order is all that matters. A lane takes what has queued up as one batch. A long queue stalls no other partition, until there is
//! no room left for what is queued anywhere ([`super::room`]).
//!
//! An event that this program does not know, but another may, is no dead letter: the partition stops in front of it, and its lease is
//! given back to whoever can go on (`docs/adr/0009-an-event-that-nobody-here-knows-waits.md`).

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::batch::{Blocked, Done, Loaded, Place, Runner};
use super::candidates::Shown;
use super::dead_letters::{Buried, DeadLetter};
use super::feed::Mark;
use super::handler::{Delivery, HandlerError};
use super::leases::{Lease, Needs};
use super::metrics::PartitionLabels;
use super::patience::Patience;
use super::room::Held;
use super::stored::Stored;
use super::workshop::Workshop;
use crate::event_store::Envelope;
use crate::position::Position;
use model::events::DecodeError;
use model::ids::{Partition, UserId};

/// One thing in a partition's queue.
#[derive(Debug)]
enum Item {
    Event {
        stored: Stored,
        place: Place,
    },
    /// An operator wrote something on a dead letter of this partition.
    Wake {
        position: Position,
    },
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
    workshop: Arc<Workshop>,
    stop: CancellationToken,
}

impl Worker {
    /// For a lease that no stream covers yet. Its task is one of `tasks`.
    pub(super) fn start(workshop: Arc<Workshop>, lease: &Lease, tasks: &mut JoinSet<()>) -> Self {
        workshop.progress.add(lease.partition, lease.fence, lease.position);
        Self::begin(workshop, lease, tasks)
    }

    /// For a lease that the stream has covered before it was taken over: it has shown this.
    pub(super) fn start_prepared(
        workshop: Arc<Workshop>,
        lease: &Lease,
        mut shown: Vec<Shown>,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        shown.retain(|shown| shown.position > lease.position);
        workshop
            .progress
            .add_prepared(lease.partition, lease.fence, lease.position, &shown);
        let mut worker = Self::begin(workshop, lease, tasks);
        worker.covered = true;
        for shown in shown {
            worker.delivered = shown.position;
            worker.enqueue(shown.stored, shown.position, shown.held);
        }
        worker
    }

    fn begin(workshop: Arc<Workshop>, lease: &Lease, tasks: &mut JoinSet<()>) -> Self {
        let &Lease {
            partition,
            fence,
            position,
            ..
        } = lease;
        let (queue, receiver) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let bench = Bench {
            workshop: workshop.clone(),
            partition,
            fence,
            receiver,
            taken_up: VecDeque::new(),
            unknown: None,
            stop: stop.clone(),
            lanes: HashMap::new(),
            running: HashSet::new(),
            in_hand: 0,
            blocked: Blocked::default(),
            look_at_letters: true,
            wakes: Vec::new(),
        };
        tasks.spawn(bench.run());
        Self {
            partition,
            fence,
            delivered: position,
            covered: false,
            queue,
            workshop,
            stop,
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
    pub(super) fn awaits(&self, position: Position) -> bool {
        self.covered && position > self.delivered
    }

    /// Hands over an event of the stream, if the worker awaits it.
    pub(super) fn deliver(&mut self, stored: Stored, position: Position, held: Held) {
        if !self.awaits(position) {
            return;
        }
        self.delivered = position;
        self.workshop
            .progress
            .began(self.partition, position, stored.recorded_at(position));
        self.enqueue(stored, position, held);
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
        }
    }

    fn enqueue(&self, stored: Stored, position: Position, held: Held) {
        let place = Place::Stream { position, _held: held };
        // A worker that is gone has given up its lease: the event stays above its checkpoint for the next owner.
        let _ = self.queue.send(Item::Event { stored, place });
    }

    /// Its task ends after the batches under way; what is queued stays for the next owner.
    pub(super) fn stop(self) {
        self.stop.cancel();
    }
}

/// The scan's end of a partition.
#[derive(Debug)]
pub(super) struct ScanEntry {
    pub(super) partition: Partition,
    pub(super) fence: i64,
    queue: mpsc::UnboundedSender<Item>,
}

impl ScanEntry {
    /// The permit is given back when the event is handled, or will never be.
    pub(super) fn deliver(&self, stored: Stored, permit: OwnedSemaphorePermit) {
        let place = Place::Scan { _permit: permit };
        // As of a worker's own.
        let _ = self.queue.send(Item::Event { stored, place });
    }
}

/// The state of a partition's task.
struct Bench {
    workshop: Arc<Workshop>,
    partition: Partition,
    fence: i64,
    receiver: mpsc::UnboundedReceiver<Item>,
    /// Out of the queue, and in no lane yet.
    taken_up: VecDeque<Item>,
    /// What the first of them needs, if this program does not know it: nothing more is taken up.
    unknown: Option<Needs>,
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
        // The last to be made, so that it is the first to go.
        let mut guard = Guard {
            workshop: self.workshop.clone(),
            partition: self.partition,
            in_order: false,
        };
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
                    let runner = self.runner();
                    under_way.push(async move { runner.run(batch.0, batch.1, blocked).await });
                }
            }
            if let Some(unknown) = &self.unknown
                && self.in_hand == 0
            {
                self.workshop.progress.got_stuck(self.partition, self.fence, unknown);
            }
            let takes_more = self.unknown.is_none() && self.in_hand < self.workshop.settings.window;
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                Some(done) = under_way.next(), if !under_way.is_empty() => self.settle(done),
                received = self.receiver.recv(), if takes_more => match received {
                    Some(item) => if !self.take_up(item).await { break },
                    None => break,
                },
            }
        }
        // What is under way is finished, so that its checkpoint need not be done again.
        while let Some(done) = under_way.next().await {
            self.settle(done);
        }
        guard.in_order = true;
    }

    fn runner(&self) -> Runner {
        Runner {
            workshop: self.workshop.clone(),
            partition: self.partition,
            stop: self.stop.clone(),
        }
    }

    /// Takes an item and what else is in the queue, up to what this program does not know; false when stopped meanwhile.
    async fn take_up(&mut self, first: Item) -> bool {
        let room = self.workshop.settings.window.saturating_sub(self.in_hand).max(1);
        self.taken_up.push_back(first);
        while self.taken_up.len() < room
            && let Ok(item) = self.receiver.try_recv()
        {
            self.taken_up.push_back(item);
        }
        while self.unknown.is_none()
            && let Some(item) = self.taken_up.pop_front()
        {
            match item {
                Item::Event { stored, place } => self.lay_out(stored, place).await,
                Item::Wake { position } => {
                    self.wakes.push(position);
                    self.look_at_letters = true;
                }
            }
        }
        !self.stop.is_cancelled()
    }

    /// Puts an event into its lane. What no program can read is a dead letter at once; what only another one can stops the partition.
    async fn lay_out(&mut self, stored: Stored, place: Place) {
        let (envelope, reason) = match &stored {
            Stored::Event(recorded) => match recorded.event() {
                Ok(event) => {
                    let delivery = Delivery {
                        recorded: recorded.clone(),
                        event,
                        position: place.position(),
                    };
                    let event = recorded.clone();
                    self.in_hand += 1;
                    self.lanes
                        .entry(delivery.event.audience())
                        .or_default()
                        .push_back((Loaded { event, place }, delivery));
                    return;
                }
                Err(DecodeError::UnknownType(_) | DecodeError::UnknownSchema { .. }) => {
                    self.unknown = Some(Needs::of(recorded, self.fence));
                    // It stays here: a scan that waits for it must not take it for handled.
                    self.taken_up.push_front(Item::Event { stored, place });
                    return;
                }
                Err(error @ DecodeError::Malformed { .. }) => (Envelope::from(&**recorded), error.to_string()),
            },
            Stored::Unreadable(unreadable) => (unreadable.envelope.clone(), unreadable.to_string()),
        };
        if let Some(buried) = self.runner().bury(&envelope, &reason, false).await {
            if buried == Buried::Waits {
                self.blocked.add(envelope.stream, envelope.version);
            }
            self.workshop.progress.finished(self.partition, place.position());
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

    async fn try_letters(&mut self) -> Result<(), HandlerError> {
        let letters = self
            .workshop
            .dead_letters
            .of_partition(&self.workshop.subscription, self.partition)
            .await?;
        self.blocked = Blocked::default();
        for letter in letters {
            // Once one of a stream stays, those behind it stay too.
            let stays = self.blocked.holds(&letter.stream, letter.version)
                || !(letter.retry_requested || letter.queued_behind || letter.was_unknown())
                || !self.retry(&letter).await?;
            if stays {
                self.blocked.add(letter.stream, letter.version);
            }
        }
        Ok(())
    }

    /// Executes a letter; true if it is resolved.
    async fn retry(&self, letter: &DeadLetter) -> Result<bool, HandlerError> {
        let (store, letters) = (&self.workshop.store, &self.workshop.dead_letters);
        let reason = match store.read_by_id(letter.event, self.partition).await? {
            None => "the event store has no such event".to_owned(),
            Some(Err(unreadable)) => unreadable.to_string(),
            Some(Ok(recorded)) => match recorded.event() {
                Err(error) => error.to_string(),
                Ok(event) => {
                    let delivery = Delivery {
                        recorded: Arc::new(recorded),
                        event,
                        position: None,
                    };
                    match self.workshop.handle(&[delivery]).await {
                        Ok(()) => {
                            letters.resolved(letter).await?;
                            tracing::info!(event_id = %letter.event, "a dead letter is resolved");
                            return Ok(true);
                        }
                        Err(HandlerError::Refused(reason)) => reason,
                        Err(unavailable) => return Err(unavailable),
                    }
                }
            },
        };
        letters.refused_again(letter, &reason).await?;
        Ok(false)
    }
}

/// Keeps the checkpoint where it is when a partition's task does not end in order: what it had in hand is dropped then, and a
/// scan would take that for handled.
struct Guard {
    workshop: Arc<Workshop>,
    partition: Partition,
    in_order: bool,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.in_order {
            self.workshop.progress.remove(self.partition);
        }
    }
}
