//! The rebuild: builds a new generation of all views, beside the one that is read.
//!
//! 1. A horizon is noted, and every event is scanned into rows. The scan finds everything that was committed up to the horizon.
//! 2. Home timelines are filled from posts and follows. Nothing else writes to the generation yet.
//! 3. Leases that begin at the horizon are made, and every projector follows the generation from there. Events that the scan has already
//!    seen come again, which is harmless to handlers.
//! 4. As soon as the generation passes a mark within the allowed lag, it becomes the active one.
//! 5. When no reader of the former generation is left, projectors stop following it, and it is dropped.
//!
//! One process at a time does this. Each finished part is noted in the control document afterwards. So if the process is killed at any
//! point, its successor has to repeat at most one batch.

mod filling;
mod host;
mod retirement;
mod scanning;

use std::sync::OnceLock;
use std::time::Duration;

use bson::Document;
use event_log::event_store::EventStore;
use event_log::mongo::{ConnectionMonitor, Databases};
use event_log::subscription::SubscriptionSettings;
use event_log::subscription::dead_letters::DeadLetters;
use event_log::subscription::leases::Leases;
use model::clock::SharedClock;
use model::events::DecodeError;
use mongodb::Database;
use mongodb::error::Error;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use views::Timelines;
use views::generation::{Building, GenerationError, Generations, Phase, Progress, Term};
use views::{ViewMetrics, ViewProjection, Views, subscription_name};

use crate::barrier::wait_until_passed;
use crate::config::{Config, Rebuild};
use crate::discards::Discards;
use crate::leadership::Leadership;
use crate::metrics::RebuildMetrics;

pub use host::{HostError, host_rebuilds};

/// The process that holds it rebuilds.
pub(crate) const SEAT: &str = "rebuild";

/// The allowed lag grows to at most this multiple of its configured value.
const LAG_GROWS_TO: u32 = 16;

/// The work of the rebuild, which one process at a time does.
#[derive(Debug)]
pub(crate) struct Rebuilder {
    generations: Generations,
    store: EventStore,
    views: Database,
    connections: ConnectionMonitor,
    dead_letters: DeadLetters,
    discards: Discards,
    timelines: Timelines,
    subscriptions: SubscriptionSettings,
    config: Rebuild,
    clock: SharedClock,
    metrics: RebuildMetrics,
    view_metrics: ViewMetrics,
}

/// Why the work can't continue now.
#[derive(Debug, thiserror::Error)]
enum RebuildError {
    /// The process is ending, or has lost the seat. Another process continues the work.
    #[error("stopped")]
    Stopped,
    /// A newer program can read it. It gets the seat when this process has ended.
    #[error("this program can't read the next event: {0}")]
    Unknown(DecodeError),
    #[error(transparent)]
    Generation(#[from] GenerationError),
    #[error(transparent)]
    Database(#[from] Error),
}

impl Rebuilder {
    pub(crate) fn new(
        config: &Config,
        clock: &SharedClock,
        databases: &Databases,
        store: EventStore,
        metrics: RebuildMetrics,
        view_metrics: ViewMetrics,
    ) -> Self {
        let views = &databases.views;
        Self {
            generations: Generations::new(views.clone(), clock.clone()),
            store,
            views: views.clone(),
            connections: databases.connections.clone(),
            dead_letters: DeadLetters::new(views),
            discards: Discards::new(views),
            timelines: config.timelines.clone(),
            subscriptions: config.subscriptions.clone(),
            config: config.rebuild.clone(),
            clock: clock.clone(),
            metrics,
            view_metrics,
        }
    }

    /// Works whenever this process holds the seat, until `stop`. At an unknown event, it waits until it is replaced, because the process
    /// has other work too.
    pub(crate) async fn lead(&self, seat: &Leadership, stop: &CancellationToken) {
        seat.lead(stop, |term, stop| async move {
            while self.run(&term, &stop).await.is_err() {
                if pause(self.config.retry_after, &stop).await.is_err() {
                    return;
                }
            }
        })
        .await;
    }

    /// The same, but ends at an unknown event, so that a newer process can continue.
    async fn lead_until_unknown(&self, seat: &Leadership, stop: &CancellationToken) -> Result<(), DecodeError> {
        let (met, over) = (OnceLock::new(), stop.child_token());
        let (unknown, ends) = (&met, &over);
        seat.lead(&over, |term, stop| async move {
            if let Err(error) = self.run(&term, &stop).await {
                let _ = unknown.set(error);
                ends.cancel();
            }
        })
        .await;
        met.into_inner().map_or(Ok(()), Err)
    }

    /// Works under `term` until `stop`, or until an event that this program does not know.
    async fn run(&self, term: &Term, stop: &CancellationToken) -> Result<(), DecodeError> {
        let mut cleaned: Option<Instant> = None;
        while !stop.is_cancelled() {
            let pause = match self.connections.until_lost(self.step(term, stop)).await {
                Ok(()) if cleaned.is_none_or(|at| at.elapsed() >= self.config.clean_every) => {
                    cleaned = Some(Instant::now());
                    if let Err(error) = self.connections.until_lost(self.clean()).await {
                        tracing::warn!(%error, "could not search for leftovers of former generations");
                    }
                    self.config.look_every
                }
                Ok(()) => self.config.look_every,
                Err(RebuildError::Stopped) => return Ok(()),
                Err(RebuildError::Unknown(error)) => {
                    tracing::error!(%error, "this program can't read the next event; the rebuild waits for a newer program");
                    return Err(error);
                }
                Err(error) => {
                    tracing::warn!(%error, "the work on a generation was interrupted; continuing from there");
                    self.config.retry_after
                }
            };
            // The pause does not synchronise anything. It keeps the loop from sending requests to a broken database without a break.
            if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Does the next work, if there is any.
    async fn step(&self, term: &Term, stop: &CancellationToken) -> Result<(), RebuildError> {
        let control = self.generations.ensure_first().await?;
        self.metrics.show(&control);
        self.generations.request_if_outdated().await?;
        if let Some(retiring) = &control.retiring {
            self.retire(retiring, stop).await?;
        }
        if let Some(building) = self.take_up(term).await? {
            tracing::info!(
                generation = building.generation,
                phase = building.phase.as_str(),
                "builds a generation"
            );
            self.metrics.building.set(building.generation);
            self.build(term, building, stop).await?;
        }
        Ok(())
    }

    /// The generation to work on: one that was begun, or else one that was requested.
    async fn take_up(&self, term: &Term) -> Result<Option<Building>, RebuildError> {
        if let Some(building) = self.generations.adopt(term).await? {
            return Ok(Some(building));
        }
        if self.generations.ensure_first().await?.requested.is_none() {
            return Ok(None);
        }
        let horizon = self.store.horizon().await?;
        let events = self.store.estimate().await?;
        Ok(self
            .generations
            .begin(term, horizon, i64::try_from(events).unwrap_or(i64::MAX))
            .await?)
    }

    async fn build(&self, term: &Term, mut building: Building, stop: &CancellationToken) -> Result<(), RebuildError> {
        let generation = building.generation;
        let views = Views::new(&self.views, generation);
        loop {
            match building.phase {
                Phase::Scanning => {
                    views.ensure().await?;
                    self.scan(term, &mut building, &views, stop).await?;
                    let profiles = self.views.collection::<Document>(views.profiles.name());
                    let owners = profiles.estimated_document_count().await?;
                    let owners = i64::try_from(owners).unwrap_or(i64::MAX);
                    self.enter(term, &mut building, Phase::Filling, owners).await?;
                }
                Phase::Filling => {
                    self.fill(term, &mut building, &views, stop).await?;
                    // The leases must exist before a projector follows: a subscription without leases begins with the first event ever.
                    Leases::new(self.views.clone(), &subscription_name(generation))
                        .ensure(building.horizon, building.shape())
                        .await?;
                    self.enter(term, &mut building, Phase::CatchingUp, 0).await?;
                }
                Phase::CatchingUp => {
                    self.catch_up(generation, stop).await?;
                    let control = self.generations.switch(term, generation).await?;
                    self.metrics.completed.inc();
                    self.metrics.show(&control);
                    tracing::info!(generation, "this generation is read from now on");
                    return Ok(());
                }
            }
        }
    }

    /// Waits until the new generation keeps up. Every projector, this one too, follows it by now.
    ///
    /// If everything is so slow that no mark is passed within the configured lag, the allowed lag grows each time. Otherwise a generation
    /// on a slow machine would wait forever. While the projection is paused, nothing keeps up.
    async fn catch_up(&self, generation: i64, stop: &CancellationToken) -> Result<(), RebuildError> {
        let mut lag = self.config.max_lag;
        loop {
            if self.generations.ensure_first().await?.paused {
                pause(self.config.look_every, stop).await?;
                continue;
            }
            let mark = self.store.mark_all().await?;
            if wait_until_passed(&self.views, generation, mark, lag, stop).await? {
                return Ok(());
            }
            if stop.is_cancelled() {
                return Err(RebuildError::Stopped);
            }
            lag = (lag * 2).min(self.config.max_lag * LAG_GROWS_TO);
        }
    }

    fn projection(&self, views: &Views) -> ViewProjection {
        ViewProjection::new(
            views.clone(),
            self.timelines.clone(),
            self.clock.clone(),
            self.view_metrics.clone(),
        )
    }

    async fn enter(&self, term: &Term, building: &mut Building, phase: Phase, total: i64) -> Result<(), RebuildError> {
        (building.phase, building.scanned, building.total, building.cursor) = (phase, 0, total, None);
        self.note(term, building).await
    }

    /// Stores what is done.
    async fn note(&self, term: &Term, building: &Building) -> Result<(), RebuildError> {
        let &Building {
            generation,
            phase,
            scanned,
            total,
            cursor,
            ..
        } = building;
        self.metrics.progress(phase, scanned, total);
        self.generations
            .progress(
                term,
                generation,
                Progress {
                    phase,
                    scanned,
                    total,
                    cursor,
                },
            )
            .await?;
        Ok(())
    }
}

/// Waits. It is an error if `stop` comes first.
async fn pause(duration: Duration, stop: &CancellationToken) -> Result<(), RebuildError> {
    stop.run_until_cancelled(tokio::time::sleep(duration))
        .await
        .ok_or(RebuildError::Stopped)
}
