//! The program: it is built from its configuration, then runs until it is stopped.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use bson::doc;
use event_log::mongo::MongoDb;
use event_log::mongo::{Databases, Refusals, is_misconfigured};
use model::clock::{SharedClock, SystemClock};
use mongodb::Database;
use serde_json::json;
use service::auth::{Signer, Verifier};
use service::config::ConfigError;
use service::http::{Access, Edge, InProcess, Readiness, Server};
use service::program::stop_signal;
use service::telemetry::MetricsRegistry;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::routes;
use commands::{Commands, Parts, refresh_tokens};
use event_log::clock_guard::ClockGuard;

/// The first pause between two attempts while the database can't be used yet.
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

/// A command-svc with its address and its database. It answers once it runs.
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

/// Runs the program until a signal stops it.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let app = App::build_when_ready(config, SystemClock::shared()).await?;
    tracing::info!(address = %app.local_addr(), "started");
    Ok(app.run_until_stopped(stop_signal()?).await?)
}

impl App {
    /// Connects, creates what is missing in the database, and takes the address. The database client belongs to the runtime that calls
    /// this.
    pub async fn build(config: Config, clock: SharedClock) -> Result<Self, StartError> {
        let registry = MetricsRegistry::default();
        let signer = Signer::from_config(&config.auth, clock.clone())?;
        let verifier = Arc::new(Verifier::from_config(&config.auth, clock.clone())?);
        let refresh_tokens = refresh_tokens(&config.auth)?;
        let limits = &config.command;
        // For the driver, 0 means no limit.
        if (1..=limits.max_concurrent.get()).contains(&config.mongodb.max_pool_size) {
            let reason = "must be below mongodb.max_pool_size: probes need a connection, too";
            return Err(ConfigError::invalid("command.max_concurrent", reason).into());
        }

        // This program does not use the views, wherever they are.
        let mongodb = MongoDb {
            views_uri: None,
            ..config.mongodb.clone()
        };
        let databases = Databases::connect(&mongodb, "command-svc").await?;
        let database = databases.events.clone();
        let clock_guard = ClockGuard::new(config.clock.clone());
        let parts = Parts {
            database: database.clone(),
            clock: clock.clone(),
            clock_guard: clock_guard.clone(),
            signer,
            refresh_tokens,
        };
        let commands = Commands::open(parts, limits, &config.follows, &config.lists, &config.auth, &registry).await?;
        // This comes after the first use of the database. Only the first answer of the database shows a refused password, and this check
        // would swallow it.
        clock_guard.look(&database, &clock).await;

        let readiness = readiness(&database, &clock_guard);
        let mut edge = Edge::new(registry, readiness);
        edge.http = config.http;
        edge.cors = config.cors;
        edge.rate_limit = config.rate_limit;
        edge.shutdown = config.shutdown.clone();
        edge.access = Some(Access {
            verifier: verifier.clone(),
            scopes: &[service::auth::SCOPE_USER],
        });
        edge.openapi = Some(json!(routes::openapi()));
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

    /// Does the same for programs that start together with their database. While the database can't be used, it tries again, and logs why.
    /// It does not try again after other errors, or when the password is refused for long.
    pub async fn build_when_ready(config: Config, clock: SharedClock) -> Result<Self, StartError> {
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

    /// For callers in this process, while it runs.
    pub fn in_process(&self) -> InProcess {
        let routes = self.routes.clone();
        self.server
            .in_process(move |service| routes::configure(service, &routes))
    }

    /// Serves requests until `shutdown` is cancelled, then drains.
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

/// The checks run in the server's threads. But the database client lives in our runtime.
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
