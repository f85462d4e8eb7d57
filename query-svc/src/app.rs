//! Builds and runs the program, for its `main` and its tests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use event_log::clock_guard::ClockGuard;
use event_log::mongo::MongoDb;
use event_log::mongo::{Databases, refused};
use model::clock::{SharedClock, SystemClock};
use serde_json::json;
use service::auth::{LiveSessions, SCOPE_USER, SCOPE_VERIFY, Tickets, Verifier};
use service::config::ConfigError;
use service::http::{Access, Edge, EndOfStreams, InProcess, Readiness, Server};
use service::program::stop_signal;
use service::telemetry::MetricsRegistry;
use tokio::runtime::Handle;
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::changes::{Follower, Settings};
use crate::config::Config;
use crate::handles::Handles;
use crate::live::{self, Hub, Live, Lookup};
use crate::metrics::{LiveMetrics, Metrics};
use crate::queries::Queries;
use crate::read_model::{Gate, ReadModels};
use crate::routes::{self, Service};
use crate::timelines::HomeSettings;
use views::generation::Generations;

/// Why the program could not be built, or why it ended.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("the database can't be used: {0}")]
    Database(#[from] mongodb::error::Error),
    #[error(transparent)]
    Server(#[from] std::io::Error),
    /// Without it, connections would not end with their sessions.
    #[error("the task that looks things up for live streams failed: {0}")]
    LookingUp(#[from] JoinError),
}

/// query-svc, bound to its address and not yet answering.
#[derive(Debug)]
pub struct App {
    server: Server,
    service: Arc<Service>,
    databases: Databases,
    generations: Generations,
    settings: Settings,
    lookups: Receiver<Lookup>,
    sessions: LiveSessions,
    /// How long the work that still runs may take at the end.
    grace: Duration,
    mongodb: MongoDb,
}

/// Runs the program until a signal stops it.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let app = App::build(config, SystemClock::shared()).await?;
    tracing::info!(address = %app.local_addr(), "started");
    Ok(app.run_until_stopped(stop_signal()?).await?)
}

impl App {
    /// Binds the address, and asks nothing of the database. The service starts without the database, and is not ready until
    /// it is there.
    pub async fn build(config: Config, clock: SharedClock) -> Result<Self, AppError> {
        let verifier = Verifier::from_config(&config.auth, clock.clone())?;
        config.check()?;
        let instance = config.instance();
        let settings = Settings {
            cache_bytes: config.cache.max_bytes(),
            heads_bytes: config.cache.heads_bytes(),
            silence: config.query.stream_silence,
            max_backoff: config.query.stream_max_backoff,
            claim_for: config.query.claim_for,
            request_timeout: config.query.request_timeout,
        };
        settings.check()?;
        let databases = Databases::connect(&config.mongodb, "query-svc").await?;
        let registry = MetricsRegistry::default();
        let metrics = Arc::new(Metrics::register(&registry));
        let at_once = usize::try_from(config.query.database_concurrency.get()).unwrap_or(usize::MAX);
        let gate = Arc::new(Gate::new(at_once, config.mongodb.operation_timeout));
        let read_models = Arc::new(ReadModels::new(
            databases.events.clone(),
            gate,
            metrics,
            clock.clone(),
            config.consistency.max_wait,
            config.clock.max_skew,
        ));

        let readiness = Readiness::default();
        let (pinged, timeout) = (databases.clone(), config.http.check_timeout);
        readiness.check("mongodb", move || {
            let databases = pinged.clone();
            async move { databases.ping(timeout).await }
        });
        let checked = read_models.clone();
        readiness.check("views", move || {
            let checked = checked.clone();
            async move { checked.check().await }
        });

        let clock_guard = ClockGuard::new(config.clock);
        let guard = clock_guard.clone();
        readiness.check("clock", move || {
            let checked = guard.check().map_err(|unsure| unsure.to_string());
            async move { checked }
        });

        let grace = config.shutdown.grace;
        let end_of_streams = EndOfStreams::new(&config.shutdown);
        let live_metrics = LiveMetrics::register(&registry);
        let mut edge = Edge::new(registry, readiness);
        edge.http = config.http;
        edge.consistency = config.consistency;
        let allowed_origins = config.cors.allowed_origins.iter().cloned().collect();
        edge.cors = config.cors;
        edge.rate_limit = config.rate_limit;
        edge.shutdown = config.shutdown;
        edge.access = Some(Access {
            verifier: Arc::new(verifier),
            scopes: &[SCOPE_USER, SCOPE_VERIFY],
        });
        edge.streams = [config.live.max_connections, config.live.max_connections_per_caller];
        edge.openapi = Some(json!(crate::openapi()));
        edge.asyncapi = Some(crate::asyncapi());
        let server = Server::bind(config.query.listen, edge)?;

        let queries = Arc::new(Queries {
            clock: clock.clone(),
            clock_guard,
            prev_overlap: TimeDelta::from_std(config.timelines.prev_overlap).unwrap_or(TimeDelta::MAX),
            home: HomeSettings {
                note_visit_every: config.timelines.note_visit_every,
                wake_margin: config.timelines.wake_margin,
            },
            handles: Handles::default(),
        });
        let (hub, lookups) = Hub::new(clock.clone(), queries.prev_overlap, live_metrics);
        let live = Arc::new(Live {
            hub,
            queries: queries.clone(),
            read_models: read_models.clone(),
            heartbeat: config.live.heartbeat,
        });
        let service = Arc::new(Service {
            queries,
            read_models,
            live,
            tickets: Tickets::new(&databases.events, clock.clone()),
            allowed_origins,
            end_of_streams,
            request_timeout: config.query.request_timeout,
            instance,
            runtime: Handle::current(),
        });
        let sessions = LiveSessions::new(&databases.events, clock.clone());
        let generations = Generations::new(databases.views.clone(), clock);
        Ok(Self {
            lookups,
            sessions,
            server,
            service,
            databases,
            generations,
            settings,
            grace,
            mongodb: config.mongodb,
        })
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// For callers in this process, while it runs.
    pub fn in_process(&self) -> InProcess {
        let service = self.service.clone();
        self.server
            .in_process(move |routes| routes::configure(routes, &service))
    }

    /// Answers until `shutdown`, then drains.
    pub async fn run_until_stopped(self, shutdown: CancellationToken) -> Result<(), AppError> {
        let Self {
            server,
            service,
            databases,
            generations,
            settings,
            lookups,
            sessions,
            grace,
            mongodb,
        } = self;
        // The stream ends after the server, because the last requests still read.
        let stop_following = CancellationToken::new();
        let following = tokio::spawn(Follower::run(
            service.read_models.clone(),
            service.live.hub.clone(),
            generations,
            databases.views.clone(),
            settings,
            stop_following.clone(),
        ));
        let mut looking_up = tokio::spawn(live::look_up(
            service.live.clone(),
            lookups,
            sessions,
            stop_following.clone(),
        ));
        let (stopping, streams) = (shutdown.clone(), service.end_of_streams.clone());
        let telling = AbortOnDropHandle::new(tokio::spawn(async move {
            stopping.cancelled().await;
            streams.begin();
        }));
        let (guard, clock) = (service.queries.clock_guard.clone(), service.queries.clock.clone());
        let served = tokio::select! {
            served = server.run(move |routes| routes::configure(routes, &service), shutdown) => served.map_err(AppError::from),
            refused = refused(&mongodb) => Err(AppError::Database(refused)),
            never = guard.watch(databases.events.clone(), clock) => match never {},
            Err(failed) = &mut looking_up => Err(AppError::LookingUp(failed)),
        };
        drop(telling);
        stop_following.cancel();
        if let Err(error) = following.await {
            tracing::error!(%error, "the task that follows the changes failed");
        }
        if !looking_up.is_finished()
            && let Err(error) = looking_up.await
        {
            tracing::error!(%error, "the task that looks things up for live streams failed");
        }
        if tokio::time::timeout(grace, databases.close()).await.is_err() {
            tracing::warn!("connections to the database were still in use at the end");
        }
        served
    }
}
