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
    /// Told when the others have what was held, or are no longer waited for.
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
        let mut leaving_since = None;
        loop {
            let occasion = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.shutdown.cancelled(), if leaving_since.is_none() => Occasion::Shutdown,
                _ = every.tick() => Occasion::Renewal,
                Ok(()) = self.prepared.changed() => Occasion::Prepared,
                _ = look.tick() => Occasion::Look,
            };
            let mut vacant = Vacancies::new();
            if occasion == Occasion::Shutdown {
                leaving_since = Some(Instant::now());
            } else if occasion == Occasion::Look && leaving_since.is_none() {
                vacant = self.keeper.vacant().await;
                if vacant.is_empty() || vacant == left_to_others {
                    continue;
                }
            } else if occasion == Occasion::Look && self.handed_over.is_cancelled() {
                continue;
            }
            let patience = match leaving_since {
                Some(since) if !self.handed_over.is_cancelled() => {
                    settings.hand_over_within.saturating_sub(since.elapsed())
                }
                _ => Duration::MAX,
            };
            match tokio::time::timeout(patience, self.tend(occasion)).await {
                Ok(Ok(found)) => {
                    // Where another was faster, some may be left.
                    let nothing_to_do = found.is_empty() && !found.went_for_some;
                    left_to_others = if nothing_to_do { vacant } else { Vacancies::new() };
                    if leaving_since.is_some() && found.handed_over {
                        self.handed_over.cancel();
                    }
                    if !found.is_empty() && !self.tell(found) {
                        return;
                    }
                }
                Ok(Err(error)) => {
                    tracing::warn!(subscription = self.workshop.subscription, %error, "tending the leases failed");
                    if leaving_since.is_some() {
                        self.handed_over.cancel();
                    }
                }
                Err(_) => {
                    tracing::warn!(
                        subscription = self.workshop.subscription,
                        "nobody took the leases over in time"
                    );
                    self.handed_over.cancel();
                }
            }
            self.measure();
            if heartbeat.is_due(
                self.workshop.progress.frontier(),
                Instant::now(),
                settings.heartbeat_every,
            ) && let Err(error) = self.workshop.losses.until_lost(self.workshop.store.mark_all()).await
            {
                tracing::warn!(subscription = self.workshop.subscription, %error, "writing a heartbeat failed");
            }
        }
    }

    async fn tend(&mut self, occasion: Occasion) -> Result<Changes, Error> {
        match occasion {
            Occasion::Renewal => self.keeper.renew().await?,
            Occasion::Shutdown => self.keeper.leave().await?,
            // To renew them writes all leases that are held, while readers wait for what is free.
            Occasion::Look | Occasion::Prepared => {}
        }
        let prepared = self.prepared.borrow_and_update().clone();
        self.keeper.tend(&prepared, Instant::now()).await
    }

    /// Tells the coordinator; false if it is gone.
    fn tell(&self, found: Changes) -> bool {
        let (gained, lost) = (found.gained.len(), found.lost.len());
        let (metrics, labels) = (&self.workshop.metrics, self.workshop.labels());
        metrics.leases_taken.get_or_create(&labels).inc_by(gained as u64);
        metrics.leases_lost.get_or_create(&labels).inc_by(lost as u64);
        if gained + lost > 0 {
            tracing::info!(subscription = self.workshop.subscription, gained, lost, "leases moved");
        }
        self.changes.send(found).is_ok()
    }

    fn measure(&self) {
        let (metrics, labels) = (&self.workshop.metrics, self.workshop.labels());
        let (oldest, backlog) = self.workshop.progress.backlog();
        let lag = oldest.map_or(0.0, |at| (self.workshop.clock.now() - at).as_seconds_f64().max(0.0));
        metrics.lag_seconds.get_or_create(&labels).set(lag);
        let backlog = i64::try_from(backlog).unwrap_or(i64::MAX);
        metrics.backlog.get_or_create(&labels).set(backlog);
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
