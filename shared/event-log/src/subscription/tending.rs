//! Tending the leases, on a task of its own, so that no slow handler makes them run out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mongodb::error::Error;
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::candidates::Prepared;
use super::keeper::{Changes, Keeper};
use super::leases::Vacancies;
use super::workshop::Workshop;
use crate::position::Position;

/// What a process does about its leases from its beginning to its end.
pub(super) struct Tending {
    pub(super) workshop: Arc<Workshop>,
    pub(super) keeper: Keeper,
    pub(super) prepared: watch::Receiver<Prepared>,
    pub(super) changes: mpsc::UnboundedSender<Changes>,
    /// Whether the process is to end.
    pub(super) shutdown: CancellationToken,
    /// Told when the others have what was held, or there are none.
    pub(super) handed_over: CancellationToken,
}

/// Why leases are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Occasion {
    /// It is time to renew them.
    Renewal,
    /// There may be some to be had.
    Look,
    /// Some can be taken over.
    Prepared,
    /// The process is to end.
    Shutdown,
}

/// How far a process has come with its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Working,
    /// It is to end.
    Leaving,
    /// The others know.
    Offered,
}

impl Tending {
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let settings = self.workshop.settings.clone();
        let mut every = tokio::time::interval(settings.renew_every);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut look = tokio::time::interval(settings.look_every);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heartbeat = Heartbeat::default();
        // What is to be had and more than our share: it is another's to take, or ours when leases are balanced next. What comes to be
        // had afterwards is looked at anew.
        let mut left_to_others = Vacancies::new();
        let mut phase = Phase::Working;
        loop {
            let occasion = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.shutdown.cancelled(), if phase == Phase::Working => Occasion::Shutdown,
                _ = every.tick() => Occasion::Renewal,
                Ok(()) = self.prepared.changed() => Occasion::Prepared,
                _ = look.tick() => Occasion::Look,
            };
            let gave_back = self.give_back().await;
            let mut vacant = Vacancies::new();
            if occasion == Occasion::Shutdown {
                phase = Phase::Leaving;
            } else if occasion == Occasion::Look && phase == Phase::Working {
                vacant = self.keeper.vacant().await;
                if !gave_back && (vacant.is_empty() || vacant == left_to_others) {
                    continue;
                }
            } else if occasion == Occasion::Look && self.handed_over.is_cancelled() {
                continue;
            }
            match self.tend(occasion, &mut phase).await {
                Ok(found) => {
                    // Where another was faster, some may be left.
                    let nothing_to_do = found.is_empty() && !found.went_for_some;
                    left_to_others = if nothing_to_do { vacant } else { Vacancies::new() };
                    if phase == Phase::Offered && found.handed_over {
                        self.handed_over.cancel();
                    }
                    self.tell(found);
                }
                Err(error) => {
                    tracing::warn!(subscription = self.workshop.subscription, %error, "tending the leases failed");
                }
            }
            self.measure();
            if phase == Phase::Working
                && heartbeat.is_due(
                    self.workshop.progress.frontier(),
                    Instant::now(),
                    settings.heartbeat_every,
                )
                && let Err(error) = self.workshop.losses.until_lost(self.workshop.store.mark_all()).await
            {
                tracing::warn!(subscription = self.workshop.subscription, %error, "writing a heartbeat failed");
            }
        }
    }

    /// Gives back what this program can't go on with; answers whether there was such a thing.
    async fn give_back(&mut self) -> bool {
        let stuck = self.workshop.progress.stuck();
        if stuck.is_empty() {
            return false;
        }
        for stuck in &stuck {
            tracing::error!(
                subscription = self.workshop.subscription, partition = %stuck.partition,
                event_type = stuck.needs.event_type, schema = stuck.needs.schema,
                "this program does not know the next event; its partition waits for a newer one",
            );
        }
        if let Err(error) = self.keeper.give_back(&stuck).await {
            tracing::warn!(subscription = self.workshop.subscription, %error, "giving leases back failed; trying again");
        }
        true
    }

    async fn tend(&mut self, occasion: Occasion, phase: &mut Phase) -> Result<Changes, Error> {
        // At other times it would only write all leases that are held, while readers wait for what is free.
        if occasion == Occasion::Renewal {
            self.keeper.renew().await?;
        }
        if *phase == Phase::Leaving {
            self.keeper.leave().await?;
            *phase = Phase::Offered;
        }
        let prepared = self.prepared.borrow_and_update().clone();
        let found = self.keeper.tend(&prepared, Instant::now()).await?;
        // A generation that is dropped loses its leases last, when those who followed it are leaving.
        if found.some_are_missing && *phase == Phase::Working {
            tracing::error!(
                subscription = self.workshop.subscription,
                "leases are gone, and what they say was handled is taken to be gone with them; everything is handled anew",
            );
            let making = self.workshop.make_missing(self.keeper.leases());
            if let Err(error) = self.workshop.losses.until_lost(making).await {
                tracing::warn!(subscription = self.workshop.subscription, %error, "making the leases anew failed; trying again");
            }
        }
        Ok(found)
    }

    /// Tells the coordinator.
    fn tell(&self, found: Changes) {
        if found.is_empty() {
            return;
        }
        let (gained, lost) = (found.gained.len(), found.lost.len());
        let (metrics, labels) = (&self.workshop.metrics, self.workshop.labels());
        metrics.leases_taken.get_or_create(&labels).inc_by(gained as u64);
        metrics.leases_lost.get_or_create(&labels).inc_by(lost as u64);
        if gained + lost > 0 {
            tracing::info!(subscription = self.workshop.subscription, gained, lost, "leases moved");
        }
        // Once it has ended, leases are only renewed: the last batches are under way.
        let _ = self.changes.send(found);
    }

    fn measure(&self) {
        let (metrics, labels) = (&self.workshop.metrics, self.workshop.labels());
        let (oldest, backlog) = self.workshop.progress.backlog();
        let lag = oldest.map_or(0.0, |at| (self.workshop.clock.now() - at).as_seconds_f64().max(0.0));
        metrics.lag_seconds.get_or_create(&labels).set(lag);
        let backlog = i64::try_from(backlog).unwrap_or(i64::MAX);
        metrics.backlog.get_or_create(&labels).set(backlog);
        metrics
            .queue_bytes
            .get_or_create(&labels)
            .set(self.workshop.room.taken());
        let waiting = i64::try_from(self.keeper.waiting()).unwrap_or(i64::MAX);
        metrics.leases_waiting.get_or_create(&labels).set(waiting);
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
