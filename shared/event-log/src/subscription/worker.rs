//! The task of one partition: its queue, its lanes, and its dead letters.
//!
//! The events of one audience are handled in order. Those of different audiences are handled at the same time, because only the order
//! within an audience matters. A lane takes all that is queued as one batch. A long queue does not delay other partitions, until the
//! room for all queued events is full ([`super::room`]).
//!
//! An event that this program does not know, but a newer one may, is no dead letter: the partition stops before it, and its lease is
//! given back to a process that can go on (`docs/adr/0009-an-event-that-nobody-here-knows-waits.md`).

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::batch::{Done, Queued, Runner, Source};
use super::candidates::Shown;
use super::context::Context;
use super::dead_letters::{Blocked, DeadLetter, LetterState};
use super::feed::Mark;
use super::handler::{Delivery, HandlerError};
use super::leases::{Lease, Needs};
use super::metrics::PartitionLabels;
use super::room::RoomPermit;
use super::stored::Stored;
use crate::event_store::Envelope;
use crate::position::Position;
use model::events::DecodeError;
use model::ids::{Partition, UserId};

/// One thing in a partition's queue.
#[derive(Debug)]
enum Item {
    Event {
        stored: Stored,
        source: Source,
    },
    /// An operator has requested something on a dead letter of this partition.
    Wake {
        position: Position,
    },
}

/// The coordinator's handle of a partition task.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) partition: Partition,
    pub(super) fence: i64,
    /// The task has received the stream up to here.
    pub(super) delivered: Position,
    /// A stream was opened that began at `delivered` or below. An event of an older stream may come after events that this task has not
    /// received.
    covered: bool,
    queue: mpsc::UnboundedSender<Item>,
    context: Arc<Context>,
    stop: CancellationToken,
}

impl Worker {
    /// Starts the task, as one of `tasks`, for a lease that no stream covers yet.
    pub(super) fn start(context: Arc<Context>, lease: &Lease, tasks: &mut JoinSet<()>) -> Self {
        context.progress.add(lease.partition, lease.fence, lease.position);
        Self::begin(context, lease, tasks)
    }

    /// Starts the task for a lease that the stream covered before the takeover, with what the stream has shown.
    pub(super) fn start_prepared(
        context: Arc<Context>,
        lease: &Lease,
        mut shown: Vec<Shown>,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        shown.retain(|shown| shown.position > lease.position);
        context
            .progress
            .add_prepared(lease.partition, lease.fence, lease.position, &shown);
        let mut worker = Self::begin(context, lease, tasks);
        worker.covered = true;
        for shown in shown {
            worker.delivered = shown.position;
            worker.enqueue(shown.stored, shown.position, shown.permit);
        }
        worker
    }

    fn begin(context: Arc<Context>, lease: &Lease, tasks: &mut JoinSet<()>) -> Self {
        let &Lease {
            partition,
            fence,
            position,
            ..
        } = lease;
        let (queue, receiver) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let task = PartitionTask {
            context: context.clone(),
            partition,
            fence,
            receiver,
            pending: VecDeque::new(),
            unknown: None,
            stop: stop.clone(),
            lanes: HashMap::new(),
            running: HashSet::new(),
            in_lanes: 0,
            blocked: Blocked::default(),
            letters_due: true,
            wakes: Vec::new(),
        };
        tasks.spawn(task.run());
        Self {
            partition,
            fence,
            delivered: position,
            covered: false,
            queue,
            context,
            stop,
        }
    }

    /// From now on the stream shows everything that this partition needs.
    pub(super) fn cover(&mut self) {
        self.covered = true;
    }

    pub(super) fn is_covered(&self) -> bool {
        self.covered
    }

    /// The position from which a stream has to show the partition. An idle partition has received nothing for long, but its checkpoint
    /// follows the stream.
    pub(super) fn needs(&self) -> Position {
        self.delivered.max(self.context.progress.stored(self.partition))
    }

    /// Whether the task needs what the stream shows at `position`: not before the stream covers the partition, and not what it has
    /// received before.
    pub(super) fn awaits(&self, position: Position) -> bool {
        self.covered && position > self.delivered
    }

    /// Delivers an event of the stream, if the task awaits it.
    pub(super) fn deliver(&mut self, stored: Stored, position: Position, permit: RoomPermit) {
        if !self.awaits(position) {
            return;
        }
        self.delivered = position;
        self.context
            .progress
            .began(self.partition, position, stored.recorded_at(position));
        self.enqueue(stored, position, permit);
    }

    /// Delivers a mark: there is nothing to handle, but the checkpoint must pass it.
    pub(super) fn deliver_mark(&mut self, mark: Mark, position: Position) {
        if !self.awaits(position) {
            return;
        }
        self.delivered = position;
        self.context
            .progress
            .began(self.partition, position, self.context.clock.now());
        if mark.wake {
            // A task that has ended does not need it, and its progress is gone too.
            let _ = self.queue.send(Item::Wake { position });
        } else {
            self.context.progress.finished(self.partition, [position]);
        }
    }

    /// Where a scan delivers events to.
    pub(super) fn scan_entry(&self) -> ScanEntry {
        ScanEntry {
            partition: self.partition,
            fence: self.fence,
            queue: self.queue.clone(),
        }
    }

    fn enqueue(&self, stored: Stored, position: Position, permit: RoomPermit) {
        let source = Source::Stream {
            position,
            _permit: permit,
        };
        // A task that has ended has given up its lease: the event stays above the checkpoint for the next owner.
        let _ = self.queue.send(Item::Event { stored, source });
    }

    /// The task ends after the batches under way. What is queued stays for the next owner.
    pub(super) fn stop(self) {
        self.stop.cancel();
    }
}

/// A scan's handle of a partition task.
#[derive(Debug)]
pub(super) struct ScanEntry {
    pub(super) partition: Partition,
    pub(super) fence: i64,
    queue: mpsc::UnboundedSender<Item>,
}

impl ScanEntry {
    /// The permit is returned when the event is handled, or will not be handled here.
    pub(super) fn deliver(&self, stored: Stored, permit: OwnedSemaphorePermit) {
        let source = Source::Scan { _permit: permit };
        // A task that has ended leaves the event to the next owner.
        let _ = self.queue.send(Item::Event { stored, source });
    }
}

/// The state of a partition's task.
struct PartitionTask {
    context: Arc<Context>,
    partition: Partition,
    fence: i64,
    receiver: mpsc::UnboundedReceiver<Item>,
    /// Received, and in no lane yet.
    pending: VecDeque<Item>,
    /// What the first of them needs, if this program does not know it. Then nothing more is received.
    unknown: Option<Needs>,
    stop: CancellationToken,
    lanes: HashMap<UserId, VecDeque<Queued>>,
    running: HashSet<UserId>,
    /// Events in lanes, running or not.
    in_lanes: usize,
    blocked: Blocked,
    letters_due: bool,
    wakes: Vec<Position>,
}

impl PartitionTask {
    async fn run(mut self) {
        let mut under_way = FuturesUnordered::new();
        // It is made last, so that it is dropped first.
        let mut guard = Guard {
            context: self.context.clone(),
            partition: self.partition,
            finished: false,
        };
        loop {
            if self.letters_due && under_way.is_empty() {
                if !self.retry_letters().await {
                    break;
                }
                let wakes = std::mem::take(&mut self.wakes);
                self.context.progress.finished(self.partition, wakes);
                self.letters_due = false;
            }
            if !self.letters_due {
                for batch in self.ready_batches() {
                    let blocked = self.blocked.of(batch.1.iter().map(|(_, delivery)| &*delivery.recorded));
                    let runner = self.runner();
                    under_way.push(async move { runner.run(batch.0, batch.1, blocked).await });
                }
            }
            if let Some(unknown) = &self.unknown
                && self.in_lanes == 0
            {
                self.context.progress.got_stuck(self.partition, self.fence, unknown);
            }
            let receives = self.unknown.is_none() && self.in_lanes < self.context.settings.window;
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                Some(done) = under_way.next(), if !under_way.is_empty() => self.settle(done),
                received = self.receiver.recv(), if receives => match received {
                    Some(item) => if !self.receive(item).await { break },
                    None => break,
                },
            }
        }
        // The batches under way are finished, so that the next owner need not handle them again.
        while let Some(done) = under_way.next().await {
            self.settle(done);
        }
        guard.finished = true;
    }

    fn runner(&self) -> Runner {
        Runner {
            context: self.context.clone(),
            partition: self.partition,
            stop: self.stop.clone(),
        }
    }

    /// Receives an item and what else is in the queue, up to what this program does not know. False: stopped meanwhile.
    async fn receive(&mut self, first: Item) -> bool {
        let room = self.context.settings.window.saturating_sub(self.in_lanes).max(1);
        self.pending.push_back(first);
        while self.pending.len() < room
            && let Ok(item) = self.receiver.try_recv()
        {
            self.pending.push_back(item);
        }
        while self.unknown.is_none()
            && let Some(item) = self.pending.pop_front()
        {
            match item {
                Item::Event { stored, source } => self.put_into_lane(stored, source).await,
                Item::Wake { position } => {
                    self.wakes.push(position);
                    self.letters_due = true;
                }
            }
        }
        !self.stop.is_cancelled()
    }

    /// Puts an event into its lane. What no program can read becomes a dead letter at once. What only a newer program can read stops the
    /// partition.
    async fn put_into_lane(&mut self, stored: Stored, source: Source) {
        let (envelope, reason) = match &stored {
            Stored::Event(recorded) => match recorded.event() {
                Ok(event) => {
                    let delivery = Delivery {
                        recorded: recorded.clone(),
                        event,
                        position: source.position(),
                    };
                    self.in_lanes += 1;
                    let lane = self.lanes.entry(delivery.event.audience()).or_default();
                    lane.push_back((source, delivery));
                    return;
                }
                Err(DecodeError::UnknownType(_) | DecodeError::UnknownSchema { .. }) => {
                    self.unknown = Some(Needs::of(recorded, self.fence));
                    // It stays here, or a scan that waits for it would take it as handled.
                    self.pending.push_front(Item::Event { stored, source });
                    return;
                }
                Err(error @ DecodeError::Malformed { .. }) => (Envelope::from(&**recorded), error.to_string()),
            },
            Stored::Unreadable(unreadable) => (unreadable.envelope.clone(), unreadable.to_string()),
        };
        if let Some(state) = self.runner().put_aside(&envelope, &reason, false).await {
            if state == LetterState::Waits {
                self.blocked.add(envelope.stream, envelope.version);
            }
            self.context.progress.finished(self.partition, source.position());
        }
    }

    /// The next batch of every lane that has none under way.
    fn ready_batches(&mut self) -> Vec<(UserId, Vec<Queued>)> {
        let most = self.context.settings.batch.max(1);
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
        self.in_lanes -= done.batch.len();
        self.blocked.extend(done.newly_blocked);
        if self.lanes.get(&done.audience).is_some_and(VecDeque::is_empty) {
            self.lanes.remove(&done.audience);
        }
        if done.finished {
            let labels = PartitionLabels {
                subscription: self.context.subscription.clone(),
                partition: u32::from(self.partition.number()),
            };
            self.context
                .metrics
                .events_handled
                .get_or_create(&labels)
                .inc_by(done.batch.len() as u64);
            let positions = done.batch.iter().filter_map(|(source, _)| source.position());
            self.context.progress.finished(self.partition, positions);
        }
    }

    /// Reads the partition's dead letters and carries out an operator's requests, with nothing else under way. False: stopped meanwhile.
    async fn retry_letters(&mut self) -> bool {
        let mut backoff = Backoff::new(&self.context.settings);
        let connections = self.context.connections.clone();
        loop {
            match connections.until_lost(self.try_retrying_letters()).await {
                Ok(()) => return true,
                Err(error) => {
                    tracing::warn!(partition = %self.partition, %error, "reading dead letters failed; trying again");
                    if !backoff.pause(&self.stop).await {
                        return false;
                    }
                }
            }
        }
    }

    async fn try_retrying_letters(&mut self) -> Result<(), HandlerError> {
        let letters = self
            .context
            .dead_letters
            .of_partition(&self.context.subscription, self.partition)
            .await?;
        self.blocked = Blocked::default();
        for letter in letters {
            // A letter stays if an earlier one of its stream stays.
            let stays = self.blocked.is_behind(&letter.stream, letter.version)
                || !(letter.retry_requested || letter.queued_behind || letter.was_unknown())
                || !self.retry(&letter).await?;
            if stays {
                self.blocked.add(letter.stream, letter.version);
            }
        }
        Ok(())
    }

    /// Handles a letter's event. True: the letter is resolved.
    async fn retry(&self, letter: &DeadLetter) -> Result<bool, HandlerError> {
        let (store, letters) = (&self.context.store, &self.context.dead_letters);
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
                    match self.context.handle(&[delivery]).await {
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

/// Keeps the checkpoint where it is when a partition task panics: its events are dropped then, and a scan would take them as handled.
struct Guard {
    context: Arc<Context>,
    partition: Partition,
    finished: bool,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.finished {
            self.context.progress.remove(self.partition);
        }
    }
}
