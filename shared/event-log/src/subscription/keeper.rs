//! Keeping leases: renewing those of this process, taking those whose owner is gone, and a fair share of all.
//!
//! This runs in a task of its own, so that no slow handler makes the leases run out.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mongodb::error::Error;
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::candidates::Prepared;
use super::context::Context;
use super::leases::{Acquisition, Available, Lease, Leases, Owner};
use crate::position::Position;
use model::ids::{PARTITIONS, Partition};

/// What the coordinator has to know.
#[derive(Debug)]
pub(super) struct Changes {
    pub(super) gained: Vec<Lease>,
    pub(super) lost: Vec<Partition>,
    /// The leases to prepare for a takeover, if they are others than before.
    pub(super) wanted: Option<Vec<Lease>>,
}

/// Keeps the leases of a process from its start to its end.
pub(super) struct Keeper {
    context: Arc<Context>,
    leases: Leases,
    holdings: Holdings,
    /// The candidates that can be taken over now.
    prepared: watch::Receiver<Prepared>,
    /// The candidates that are being prepared.
    wanted: BTreeSet<Partition>,
    changes: mpsc::UnboundedSender<Changes>,
    /// Cancelled when the process is to end.
    shutdown: CancellationToken,
    /// Whether the leases have been offered to others.
    offered: bool,
    /// Cancelled when others have the leases, or there are no others.
    handed_over: CancellationToken,
    /// How many leases waited for a newer program when they were read last.
    waiting: usize,
    /// The stream's frontier, and since when it is there.
    frontier: (Position, Instant),
}

/// Why leases are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Occasion {
    /// It is time to renew them.
    Renewal,
    /// Some may be available.
    Look,
    /// Candidates are prepared, or the process is to end.
    Change,
}

impl Keeper {
    pub(super) fn new(
        context: Arc<Context>,
        leases: Leases,
        owner: Owner,
        prepared: watch::Receiver<Prepared>,
        changes: mpsc::UnboundedSender<Changes>,
        shutdown: CancellationToken,
        handed_over: CancellationToken,
    ) -> Self {
        Self {
            holdings: Holdings::new(owner, context.settings.lease_duration, context.handler.shape()),
            context,
            leases,
            prepared,
            wanted: BTreeSet::new(),
            changes,
            shutdown,
            offered: false,
            handed_over,
            waiting: 0,
            frontier: (Position::ORIGIN, Instant::now()),
        }
    }

    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut renewals = tokio::time::interval(self.context.settings.renew_every);
        renewals.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looks = tokio::time::interval(self.context.settings.look_every);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Available leases beyond our share: others will take them, or we do at the next renewal. They are no reason to read all leases
        // again, until others become available.
        let mut left_to_others = Available::new();
        loop {
            let occasion = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.shutdown.cancelled(), if !self.holdings.leaving => {
                    self.holdings.leaving = true;
                    Occasion::Change
                }
                _ = renewals.tick() => Occasion::Renewal,
                Ok(()) = self.prepared.changed() => Occasion::Change,
                _ = looks.tick() => Occasion::Look,
            };
            let gave_back = self.give_back_stuck().await;
            let mut available = Available::new();
            if occasion == Occasion::Look && !self.holdings.leaving {
                // If this fails, nothing is available. Renewing reports a database that does not answer.
                let reading = self.leases.available(self.holdings.shape);
                available = self.context.connections.until_lost(reading).await.unwrap_or_default();
                if !gave_back && (available.is_empty() || available == left_to_others) {
                    continue;
                }
            } else if occasion == Occasion::Look && self.handed_over.is_cancelled() {
                continue;
            }
            match self.tend(occasion).await {
                // If another process was faster, some leases may be left.
                Ok(true) => left_to_others = Available::new(),
                Ok(false) => left_to_others = available,
                Err(error) => {
                    tracing::warn!(subscription = self.context.subscription, %error, "keeping the leases failed");
                }
            }
            self.measure();
            if !self.holdings.leaving {
                self.heartbeat().await;
            }
        }
    }

    /// Gives back the leases that this program can't go on with, to whoever can. They count as lost when the leases are read next.
    /// Returns whether there were any.
    async fn give_back_stuck(&mut self) -> bool {
        let all = self.context.progress.stuck();
        for stuck in &all {
            tracing::error!(
                subscription = self.context.subscription, partition = %stuck.partition,
                event_type = stuck.needs.event_type, schema = stuck.needs.schema,
                "this program does not know the next event; its partition waits for a newer program",
            );
        }
        for stuck in &all {
            self.holdings.outdated = true;
            let giving_back = self.leases.give_back(&self.holdings.owner, stuck);
            if let Err(error) = self.context.connections.until_lost(giving_back).await {
                tracing::warn!(subscription = self.context.subscription, %error, "giving leases back failed; trying again");
                break;
            }
        }
        !all.is_empty()
    }

    /// Reads all leases, gives up those that others have, and takes what is due: from living owners only what is prepared. Returns
    /// whether there was anything to do.
    async fn tend(&mut self, occasion: Occasion) -> Result<bool, Error> {
        let context = self.context.clone();
        let connections = &context.connections;
        // At other times this would only write all leases of this process, while readers wait for free ones.
        if occasion == Occasion::Renewal {
            connections.until_lost(self.leases.renew(&self.holdings.owner)).await?;
        }
        if self.holdings.leaving && !self.offered {
            connections.until_lost(self.leases.offer(&self.holdings.owner)).await?;
            self.offered = true;
        }
        let prepared = self.prepared.borrow_and_update().clone();
        let now = Instant::now();
        let all = connections.until_lost(self.leases.all()).await?;
        let nobodys = all.iter().filter(|lease| lease.owner.is_none());
        self.waiting = nobodys.filter(|lease| lease.is_beyond(self.holdings.shape)).count();
        let lost = self.holdings.observe(&all, now);
        let (takeovers, mut due): (Vec<_>, Vec<_>) = self
            .holdings
            .acquisitions(&all, now)
            .into_iter()
            .partition(|it| matches!(it, Acquisition::TakeOver(_)));
        due.extend(takeovers.iter().filter(|it| prepared.contains(&it.lease().partition)));
        let gained = self.take(&due).await;
        // A prepared lease that was not taken stays prepared until the next reading: another process may have it, or the command failed.
        let wanted = takeovers.iter().map(Acquisition::lease);
        let wanted: Vec<&Lease> = wanted
            .filter(|lease| !self.holdings.held.contains_key(&lease.partition))
            .collect();
        let partitions = wanted.iter().map(|lease| lease.partition).collect();
        let is_new = self.wanted != partitions;
        self.wanted = partitions;
        let changes = Changes {
            gained,
            lost,
            wanted: is_new.then(|| wanted.into_iter().cloned().collect()),
        };
        let handed_over = self.holdings.held.is_empty() || !self.holdings.have_successor(&all, now);
        self.end_sessions(&changes.gained, &due).await;
        // A generation that is dropped loses its leases last, when the processes that follow it are leaving.
        if all.len() < usize::from(PARTITIONS) && !self.holdings.leaving {
            tracing::error!(
                subscription = context.subscription,
                "leases are missing, and so what they say was handled may be missing too; everything is handled again",
            );
            if let Err(error) = connections.until_lost(context.make_missing(&self.leases)).await {
                tracing::warn!(subscription = context.subscription, %error, "making the missing leases failed; trying again");
            }
        }
        if self.offered && handed_over {
            self.handed_over.cancel();
        }
        let any = !due.is_empty() || !changes.lost.is_empty() || is_new;
        self.tell(changes);
        Ok(any)
    }

    /// Takes leases, and returns those that it got.
    async fn take(&mut self, due: &[Acquisition<'_>]) -> Vec<Lease> {
        let taking = self.leases.take(due, &self.holdings.owner);
        let gained = match self.context.connections.until_lost(taking).await {
            Ok(gained) => gained,
            // Those that were taken nevertheless are free for us at the next reading. What was lost has to be let go of now.
            Err(error) => {
                tracing::warn!(%error, "taking leases failed");
                Vec::new()
            }
        };
        let held = gained.iter().map(|lease| (lease.partition, lease.fence));
        self.holdings.held.extend(held);
        gained
    }

    /// Ends the sessions of owners that are gone: a transaction that one of them left open would block our handler on the same rows.
    async fn end_sessions(&self, gained: &[Lease], due: &[Acquisition<'_>]) {
        let free = due.iter().filter_map(|it| match it {
            Acquisition::Take(lease) if lease.owner.as_deref() != Some(self.holdings.owner.as_str()) => Some(lease),
            _ => None,
        });
        let taken = free.filter(|lease| gained.iter().any(|it| it.id == lease.id));
        let sessions: HashSet<bson::Uuid> = taken.filter_map(|lease| lease.session).collect();
        for session in sessions {
            // If this fails, the server gives the transaction up in its own time.
            if let Err(error) = self.context.connections.until_lost(self.leases.end(session)).await {
                tracing::warn!(%session, %error, "ending the session of an owner that is gone failed");
            }
        }
    }

    /// Tells the coordinator.
    fn tell(&self, changes: Changes) {
        let (gained, lost) = (changes.gained.len(), changes.lost.len());
        if gained + lost > 0 {
            let (metrics, labels) = (&self.context.metrics, self.context.labels());
            metrics.leases_taken.get_or_create(&labels).inc_by(gained as u64);
            metrics.leases_lost.get_or_create(&labels).inc_by(lost as u64);
            tracing::info!(subscription = self.context.subscription, gained, lost, "leases moved");
        }
        if gained + lost > 0 || changes.wanted.is_some() {
            // After the coordinator has ended, leases are only renewed while the last batches are under way.
            let _ = self.changes.send(changes);
        }
    }

    fn measure(&self) {
        let (metrics, labels) = (&self.context.metrics, self.context.labels());
        let (oldest, backlog) = self.context.progress.backlog();
        let lag = oldest.map_or(0.0, |at| (self.context.clock.now() - at).as_seconds_f64().max(0.0));
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        metrics.lag_seconds.get_or_create(&labels).set(lag);
        metrics.backlog.get_or_create(&labels).set(count(backlog));
        let queued = self.context.room.taken();
        metrics.queue_bytes.get_or_create(&labels).set(queued);
        metrics.leases_waiting.get_or_create(&labels).set(count(self.waiting));
    }

    /// Writes a mark when the stream has shown nothing for a while.
    async fn heartbeat(&mut self) {
        let (before, since) = self.frontier;
        let frontier = self.context.progress.frontier();
        if frontier == before && since.elapsed() < self.context.settings.heartbeat_every {
            return;
        }
        self.frontier = (frontier, Instant::now());
        if frontier == before
            && let Err(error) = self.context.connections.until_lost(self.context.store.mark_all()).await
        {
            tracing::warn!(subscription = self.context.subscription, %error, "writing a heartbeat failed");
        }
    }
}

/// The leases that this process holds, what it knows of the others, and what follows from that.
#[derive(Debug)]
struct Holdings {
    owner: Owner,
    lease_duration: Duration,
    /// What the handler writes.
    shape: i32,
    /// The leases held, with their fencing numbers.
    held: BTreeMap<Partition, i64>,
    /// This process is to end: it takes no more leases.
    leaving: bool,
    /// This process has met an event that it does not know, so a newer program is about to replace it. It takes nothing over for a fair
    /// share, or the leases that it gave back would soon return.
    outdated: bool,
    /// The fence and beat of each lease, and since when they are the same.
    seen: HashMap<Partition, (i64, i64, Instant)>,
}

impl Holdings {
    fn new(owner: Owner, lease_duration: Duration, shape: i32) -> Self {
        Self {
            owner,
            lease_duration,
            shape,
            held: BTreeMap::new(),
            leaving: false,
            outdated: false,
            seen: HashMap::new(),
        }
    }

    fn is_ours(&self, lease: &Lease) -> bool {
        lease.owner.as_deref() == Some(self.owner.as_str())
    }

    /// Notes how the leases look now. Returns those that were held and are lost.
    fn observe(&mut self, all: &[Lease], now: Instant) -> Vec<Partition> {
        for lease in all {
            let (fence, beat, since) = self
                .seen
                .entry(lease.partition)
                .or_insert((lease.fence, lease.beat, now));
            if (*fence, *beat) != (lease.fence, lease.beat) {
                (*fence, *beat, *since) = (lease.fence, lease.beat, now);
            }
        }
        let kept = all.iter().filter(|lease| self.is_ours(lease));
        let kept: HashSet<_> = kept.map(|lease| (lease.partition, lease.fence)).collect();
        let lost = self
            .held
            .extract_if(.., |&partition, fence| !kept.contains(&(partition, *fence)));
        lost.map(|(partition, _)| partition).collect()
    }

    /// Whether nobody works on the lease: it was released or never taken, or its owner shows no sign of life.
    fn is_free(&self, lease: &Lease, now: Instant) -> bool {
        if lease.owner.is_none() {
            return true;
        }
        if self.is_ours(lease) {
            // If we don't know of it, we took it and the answer was lost.
            return !self.held.contains_key(&lease.partition);
        }
        let seen = self.seen.get(&lease.partition);
        seen.is_some_and(|&(_, _, since)| now.duration_since(since) >= self.lease_duration)
    }

    /// Whether there is another owner that lives and stays.
    fn have_successor(&self, all: &[Lease], now: Instant) -> bool {
        all.iter()
            .any(|lease| !self.is_ours(lease) && !self.is_free(lease, now) && !lease.is_offered())
    }

    /// The leases to acquire: first available ones up to a fair share, then those of owners that have more than their share.
    fn acquisitions<'a>(&self, all: &'a [Lease], now: Instant) -> Vec<Acquisition<'a>> {
        if self.leaving {
            return Vec::new();
        }
        let mut by_owner: BTreeMap<&str, Vec<&Lease>> = BTreeMap::new();
        let mut available = Vec::new();
        for lease in all {
            if self.is_free(lease, now) || lease.is_offered() {
                if !lease.is_beyond(self.shape) {
                    available.push(lease);
                }
            } else if let Some(owner) = lease.owner.as_deref() {
                by_owner.entry(owner).or_default().push(lease);
            }
        }
        by_owner.remove(self.owner.as_str());
        let owners = by_owner.len() + 1;
        let most = all.len().div_ceil(owners);
        let least = all.len() / owners;
        // Leases that others gave back because they can't go on are beyond any share: nobody else may take them.
        let (needed, available): (Vec<&Lease>, Vec<&Lease>) =
            available.into_iter().partition(|lease| lease.needed().is_some());
        // Our own come first: we renew them without knowing of them, so that nobody else could ever take them.
        let (mut chosen, available): (Vec<&Lease>, Vec<&Lease>) =
            available.into_iter().partition(|lease| self.is_ours(lease));
        let share = most.saturating_sub(self.held.len());
        chosen.truncate(share);
        let share = share - chosen.len();
        // The others read the leases at the same moment. Each leaves the first ones to the owners whose names come before its own.
        let left_to_others: usize = by_owner
            .range(..self.owner.as_str())
            .map(|(_, held)| most.saturating_sub(held.len()))
            .sum();
        let first = left_to_others.min(available.len().saturating_sub(share));
        chosen.extend(available.into_iter().skip(first).take(share));
        chosen.extend(needed);
        let acquire = |lease| match self.is_free(lease, now) {
            true => Acquisition::Take(lease),
            false => Acquisition::TakeOver(lease),
        };
        let mut acquisitions: Vec<_> = chosen.into_iter().map(acquire).collect();
        // Whatever is missing is taken from the others. Nobody else may be there to take the rest of a share: the next reading does.
        let mut missing = match self.outdated {
            true => 0,
            false => least.saturating_sub(self.held.len() + acquisitions.len()),
        };
        for leases in by_owner.values() {
            let spare = leases.len().saturating_sub(most).min(missing);
            let ours = leases.iter().filter(|lease| !lease.is_beyond(self.shape)).take(spare);
            let before = acquisitions.len();
            acquisitions.extend(ours.map(|lease| Acquisition::TakeOver(lease)));
            missing -= acquisitions.len() - before;
        }
        acquisitions
    }
}

#[cfg(test)]
mod tests;
