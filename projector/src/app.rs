//! The program: its parts, how it starts, and how it ends.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use commands::{Consequences, Retractions};
use event_log::event_store::{EventStore, Retries};
use event_log::mongo::{Databases, refused};
use event_log::subscription::SubscriptionMetrics;
use model::clock::{SharedClock, SystemClock};
use mongodb::error::Error;
use service::config::ConfigError;
use service::http::{Edge, Readiness, Server};
use service::program::stop_signal;
use service::telemetry::MetricsRegistry;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use views::ViewMetrics;
use views::generation::Generations;

use crate::config::Config;
use crate::discards::Discards;
use crate::health::Health;
use crate::leadership::{Leadership, Pace};
use crate::metrics::{ConsequenceMetrics, RebuildMetrics, SweepMetrics};
use crate::rebuild::{self, Rebuilder};
use crate::subscriptions::Subscriptions;
use crate::sweep::Sweeper;
use crate::upkeep::Upkeep;
use crate::{consequences, sweep};

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Database(#[from] Error),
    #[error(transparent)]
    Listen(#[from] io::Error),
}

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("the probes' server failed: {0}")]
    Serve(#[from] io::Error),
    #[error("the database can't be used: {0}")]
    Database(#[from] Error),
    #[error("a task of the program failed: {0}")]
    Task(#[from] JoinError),
}

/// The projector. It listens on its address, but does not work yet.
#[derive(Debug)]
pub struct App {
    config: Config,
    clock: SharedClock,
    databases: Databases,
    server: Server,
    readiness: Readiness,
    metrics: Metrics,
}

#[derive(Debug, Clone)]
struct Metrics {
    subscriptions: SubscriptionMetrics,
    views: ViewMetrics,
    rebuild: RebuildMetrics,
    sweep: SweepMetrics,
    consequences: ConsequenceMetrics,
}

/// Runs the program until a signal stops it.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let app = App::build(config, SystemClock::shared()).await?;
    tracing::info!(address = %app.local_addr(), "started");
    Ok(app.run_until_stopped(stop_signal()?).await?)
}

impl App {
    /// Binds the address and prepares the connections. The database need not be available yet.
    pub async fn build(config: Config, clock: SharedClock) -> Result<Self, StartError> {
        config.check()?;
        let registry = MetricsRegistry::default();
        let subscriptions = SubscriptionMetrics::default();
        let views = ViewMetrics::default();
        registry.register_all(|registry| {
            subscriptions.register(registry);
            views.register(registry);
        });
        let metrics = Metrics {
            subscriptions,
            views,
            rebuild: RebuildMetrics::register(&registry),
            sweep: SweepMetrics::register(&registry),
            consequences: ConsequenceMetrics::register(&registry),
        };
        let readiness = Readiness::default();
        let mut edge = Edge::new(registry, readiness.clone());
        edge.http = config.http.clone();
        // No load balancer sends requests here. So the server ends together with the work, without a drain delay.
        edge.shutdown.drain_delay = Duration::ZERO;
        edge.shutdown.grace = config.shutdown.grace;
        edge.rate_limit.enabled = false;
        let server = Server::bind(config.projector.listen, edge)?;
        let databases = Databases::connect(&config.mongodb, "projector").await?;
        Ok(Self {
            config,
            clock,
            databases,
            server,
            readiness,
            metrics,
        })
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// Works until `shutdown`. Then it is no longer ready, finishes the current batches, saves the checkpoints, gives leases and seats
    /// back, and ends.
    pub async fn run_until_stopped(self, shutdown: CancellationToken) -> Result<(), RunError> {
        let Self {
            config,
            clock,
            databases,
            server,
            readiness,
            metrics,
        } = self;
        let health = Health::default();
        let checked = health.clone();
        readiness.check("mongodb", move || {
            let checked = checked.clone();
            async move { checked.outcome() }
        });

        // The server outlives the work, so that probes see the drain.
        let stop_work = shutdown.child_token();
        let stop_serving = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let (watched, stop) = (databases.clone(), stop_work.clone());
        let (watch, mongodb) = (config.http.check_timeout, config.mongodb.clone());
        tasks.spawn(async move {
            health.watch(&watched, watch, &stop).await;
            Ok(())
        });
        let (work, stop) = (databases.clone(), stop_work.clone());
        tasks.spawn(async move {
            let Some(store) = open_store(&work, &config, &clock, &stop).await else {
                return Ok(());
            };
            Work::new(&config, &clock, &work, store, &metrics).run(&stop).await
        });
        let serving = server.run(|_| {}, stop_serving.clone());
        tokio::pin!(serving);

        let mut outcome = Ok(());
        loop {
            tokio::select! {
                served = &mut serving => {
                    // The server has ended although nothing told it to.
                    stop_work.cancel();
                    while tasks.join_next().await.is_some() {}
                    databases.close().await;
                    return outcome.and(served.map_err(RunError::from));
                }
                () = stop_work.cancelled(), if !readiness.is_draining() => readiness.drain(),
                refused = refused(&mongodb), if !stop_work.is_cancelled() => {
                    outcome = Err(refused.into());
                    stop_work.cancel();
                }
                ended = tasks.join_next() => match ended.map(Result::flatten) {
                    Some(Ok(())) => {}
                    Some(Err(error)) => {
                        tracing::error!(%error, "a task failed; the program ends");
                        outcome = Err(error.into());
                        stop_work.cancel();
                    }
                    None => break,
                },
            }
        }
        stop_serving.cancel();
        let served = serving.await;
        databases.close().await;
        outcome.and(served.map_err(RunError::from))
    }
}

/// Opens the event store as soon as the database is available. `None` if stopped before.
async fn open_store(
    databases: &Databases,
    config: &Config,
    clock: &SharedClock,
    stop: &CancellationToken,
) -> Option<EventStore> {
    loop {
        let opening = EventStore::open(databases.events.clone(), clock.clone(), Retries::default());
        match databases.connections.until_lost(opening).await {
            Ok(store) => return Some(store),
            Err(error) => tracing::warn!(%error, "could not open the event store; trying again"),
        }
        stop.run_until_cancelled(tokio::time::sleep(config.subscriptions.backoff))
            .await?;
    }
}

/// Everything that works on events.
#[derive(Debug)]
struct Work {
    subscriptions: Subscriptions,
    /// `None` if the rebuild runs in a process of its own.
    rebuild: Option<(Leadership, Rebuilder)>,
    sweep: (Leadership, Sweeper),
    consequences: (Leadership, consequences::Worker),
    upkeep: (Leadership, Upkeep),
}

impl Work {
    fn new(config: &Config, clock: &SharedClock, databases: &Databases, store: EventStore, metrics: &Metrics) -> Self {
        let views = &databases.views;
        let owner = Uuid::new_v4().to_string();
        let pace = Pace::of(&config.subscriptions);
        let seat = |name| Leadership::new(databases, name, owner.clone(), pace);
        let generations = Generations::new(views.clone(), clock.clone());
        let (sweeps, noted) = (sweep::Items::new(views), consequences::Items::new(views));
        let subscriptions = Subscriptions {
            generations: generations.clone(),
            store: store.clone(),
            databases: databases.clone(),
            timelines: config.timelines.clone(),
            settings: config.subscriptions.clone(),
            metrics: metrics.subscriptions.clone(),
            view_metrics: metrics.views.clone(),
            discards: Arc::new(Discards::new(views)),
            sweeps: sweeps.clone(),
            consequences: noted.clone(),
            clock: clock.clone(),
            look_every: config.projector.look_every,
        };
        let rebuilder = Rebuilder::new(
            config,
            clock,
            databases,
            store.clone(),
            metrics.rebuild.clone(),
            metrics.views.clone(),
        );
        let sweeper = Sweeper {
            items: sweeps,
            generations: generations.clone(),
            retractions: Retractions::new(store.clone(), config.mongodb.operation_timeout),
            store: store.clone(),
            databases: databases.clone(),
            config: config.sweep.clone(),
            clock: clock.clone(),
            metrics: metrics.sweep.clone(),
        };
        let worker = consequences::Worker {
            items: noted,
            consequences: Consequences::new(store.clone(), config.mongodb.operation_timeout),
            store,
            databases: databases.clone(),
            config: config.sweep.clone(),
            clock: clock.clone(),
            metrics: metrics.consequences.clone(),
        };
        let upkeep = Upkeep {
            generations,
            databases: databases.clone(),
            timelines: config.timelines.clone(),
            metrics: metrics.views.clone(),
            clock: clock.clone(),
            every: config.projector.idle_pass_every,
        };
        Self {
            subscriptions,
            rebuild: config.rebuild.hosted.then(|| (seat(rebuild::SEAT), rebuilder)),
            sweep: (seat("sweep"), sweeper),
            consequences: (seat("consequences"), worker),
            upkeep: (seat("upkeep"), upkeep),
        }
    }

    /// Works until `stop`, and until everything is given back. If a part fails, the other parts end too.
    async fn run(self, stop: &CancellationToken) -> Result<(), JoinError> {
        let Self {
            subscriptions,
            rebuild,
            sweep,
            consequences,
            upkeep,
        } = self;
        let stop = stop.child_token();
        let mut parts = JoinSet::new();
        let told = stop.clone();
        parts.spawn(async move { subscriptions.run(&told).await });
        if let Some((seat, rebuilder)) = rebuild {
            let told = stop.clone();
            parts.spawn(async move { rebuilder.lead(&seat, &told).await });
        }
        let told = stop.clone();
        parts.spawn(async move {
            let (seat, sweeper) = &sweep;
            seat.lead(&told, |_, stop| async move { sweeper.run(&stop).await })
                .await;
        });
        let told = stop.clone();
        parts.spawn(async move {
            let (seat, worker) = &consequences;
            seat.lead(&told, |_, stop| async move { worker.run(&stop).await }).await;
        });
        let told = stop.clone();
        parts.spawn(async move {
            let (seat, upkeep) = &upkeep;
            seat.lead(&told, |_, stop| async move { upkeep.run(&stop).await }).await;
        });
        let mut outcome = Ok(());
        while let Some(ended) = parts.join_next().await {
            if let Err(error) = ended {
                stop.cancel();
                outcome = Err(error);
            }
        }
        outcome
    }
}
