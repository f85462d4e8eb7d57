//! The program: built from its configuration, then run until it is stopped.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use bson::doc;
use mongodb::Database;
use shared::auth::{Signer, Verifier};
use shared::clock::SharedClock;
use shared::config::{ConfigError, MongoDb};
use shared::event_store::{EventStore, Retries};
use shared::http::{Access, Edge, Readiness, Server};
use shared::mongo::{Databases, Refusals, is_misconfigured};
use shared::telemetry::MetricsRegistry;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::codes::Codes;
use crate::commands::{Commands, Executor, Inner};
use crate::config::Config;
use crate::credentials::CredentialStore;
use crate::metrics::Metrics;
use crate::origins::Origins;
use crate::passwords::Passwords;
use crate::routes;
use crate::sessions::{SessionStore, refresh_tokens};
use shared::clock_guard::ClockGuard;

/// Between two looks for a database that can't be used yet.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// Why the program did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("the database can't be used: {0}")]
    Database(#[from] mongodb::error::Error),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// A command-svc that has its address and its database, and answers once it is run.
#[derive(Debug)]
pub struct App {
    server: Server,
    routes: routes::State,
    database: Database,
    databases: Databases,
    clock: SharedClock,
    clock_guard: ClockGuard,
    grace: Duration,
}

impl App {
    /// Connects, makes what is missing in the database, and takes the address. The database's client belongs to the
    /// runtime that this is called in.
    pub async fn build(config: Config, clock: SharedClock) -> Result<Self, StartError> {
        let registry = MetricsRegistry::default();
        let metrics = Metrics::registered(&registry);
        let signer = Signer::from_config(&config.auth, clock.clone())?;
        let verifier = Arc::new(Verifier::from_config(&config.auth, clock.clone())?);
        let tokens = refresh_tokens(&config.auth)?;
        let limits = &config.command;
        // 0 is without limit, to the driver.
        if (1..=limits.max_concurrent.get()).contains(&config.mongodb.max_pool_size) {
            let reason = "must be below mongodb.max_pool_size: probes need a connection, too";
            return Err(ConfigError::invalid("command.max_concurrent", reason).into());
        }

        // The views are no business of this program, wherever they are.
        let mongodb = MongoDb {
            views_uri: None,
            ..config.mongodb.clone()
        };
        let databases = Databases::connect(&mongodb, "command-svc").await?;
        let database = databases.events.clone();
        let store = EventStore::open(database.clone(), clock.clone(), Retries::default()).await?;
        let clock_guard = ClockGuard::new(config.clock.clone());
        clock_guard.look(&database, &clock).await;

        let hashing = limits.max_hashing.map_or_else(
            || available_parallelism().map_or(1, NonZeroUsize::get),
            |hashing| usize::try_from(hashing.get()).unwrap_or(1),
        );
        let at_once = usize::try_from(limits.max_concurrent.get()).unwrap_or(1);
        let commands = Commands::new(Inner {
            executor: Executor::new(store, at_once, limits.max_queueing, metrics.clone()),
            credentials: CredentialStore::open(&database).await?,
            sessions: SessionStore::open(&database, tokens, &config.auth, clock.clone()).await?,
            origins: Origins::open(&database, &config.auth, clock.clone()).await?,
            codes: Codes::open(&database, clock.clone()).await?,
            registration: limits.registration,
            passwords: Passwords::new(hashing, limits.max_queueing, metrics.clone()),
            signer,
            clock: clock.clone(),
            clock_guard: clock_guard.clone(),
            max_queueing: limits.max_queueing,
            max_follows: config.follows.max.get(),
            metrics,
            deadline: limits.deadline,
            runtime: Handle::current(),
        });

        let readiness = readiness(&database, &clock_guard);
        let mut edge = Edge::new(registry, readiness);
        edge.http = config.http;
        edge.cors = config.cors;
        edge.rate_limit = config.rate_limit;
        edge.shutdown = config.shutdown.clone();
        edge.access = Some(Access {
            verifier: verifier.clone(),
            scopes: &[shared::auth::SCOPE_USER],
        });
        edge.openapi = Some(routes::openapi());
        edge.classes = routes::classes();
        let server = Server::bind(config.command.listen, edge)?;
        let routes = routes::State::new(commands, &verifier);
        Ok(Self {
            server,
            routes,
            database,
            databases,
            clock,
            clock_guard,
            grace: config.shutdown.grace,
        })
    }

    /// The same, for programs that are started together with their database: while it can't be used, it is tried again, and the log
    /// says why. Nothing else is worth a second try, nor is a password that is refused for long.
    pub async fn build_with_patience(config: Config, clock: SharedClock) -> Result<Self, StartError> {
        let pace = ExponentialBuilder::default()
            .with_min_delay(FIRST_PAUSE)
            .with_max_delay(LONGEST_PAUSE)
            .without_max_times();
        let mut refusals = Refusals::new(config.mongodb.refused_for);
        (|| Self::build(config.clone(), clock.clone()))
            .retry(pace)
            .when(|error| match error {
                StartError::Database(error) => !is_misconfigured(error) && !refusals.are_final(error),
                StartError::Config(_) | StartError::Io(_) => false,
            })
            .notify(|error, _| tracing::warn!(%error, "not started yet"))
            .await
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// Answers until `shutdown` is cancelled, then drains.
    pub async fn run_until_stopped(self, shutdown: CancellationToken) -> std::io::Result<()> {
        let Self {
            server,
            routes,
            database,
            databases,
            clock,
            clock_guard,
            grace,
        } = self;
        let serve = server.run(move |service| routes::configure(service, &routes), shutdown);
        let served = tokio::select! {
            served = serve => served,
            never = clock_guard.watch(database, clock) => match never {},
        };
        if tokio::time::timeout(grace, databases.close()).await.is_err() {
            tracing::warn!("connections to the database were still in use at the end");
        }
        served
    }
}

/// Asked in the server's threads; the database's client lives in ours.
fn readiness(database: &Database, clock_guard: &ClockGuard) -> Readiness {
    let readiness = Readiness::default();
    let (database, runtime) = (database.clone(), Handle::current());
    readiness.check("mongodb", move || {
        let database = database.clone();
        let answered = runtime.spawn(async move { database.run_command(doc! { "ping": 1 }).await });
        async move {
            match answered.await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(error.to_string()),
                Err(error) => Err(error.to_string()),
            }
        }
    });
    let clock_guard = clock_guard.clone();
    readiness.check("clock", move || {
        let checked = clock_guard.check().map_err(|unsure| unsure.to_string());
        async move { checked }
    });
    readiness
}
