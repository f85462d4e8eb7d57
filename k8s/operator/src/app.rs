//! The program: its parts, how it starts, and how it ends.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use event_log::mongo::{Databases, refused};
use kube::Client;
use kube::runtime::events::{Recorder, Reporter};
use model::clock::{SharedClock, SystemClock};
use service::config::ConfigError;
use service::http::{Edge, Readiness, Server};
use service::program::stop_signal;
use service::telemetry::MetricsRegistry;
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::controller::Context;
use crate::job::{Template, TemplateError};
use crate::leader::Election;
use crate::metrics::OperatorMetrics;
use crate::views::Views;

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("operator.job_template (MICROBLOG__OPERATOR__JOB_TEMPLATE) {0}")]
    Template(#[from] TemplateError),
    #[error(transparent)]
    Database(#[from] mongodb::error::Error),
    #[error(transparent)]
    Listen(#[from] io::Error),
}

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("the probes' server failed: {0}")]
    Serve(#[from] io::Error),
    #[error("the database can't be used: {0}")]
    Database(#[from] mongodb::error::Error),
    #[error("the work ended unexpectedly: {0}")]
    Task(#[from] JoinError),
}

/// Where the operator runs.
#[derive(Debug, Clone)]
pub struct Place {
    pub namespace: String,
    /// The name of this operator in the Lease and in events. In a pod, it is the name of the pod.
    pub identity: String,
}

impl Place {
    /// In a pod: the pod's namespace and name. Elsewhere: the namespace of the kubeconfig, and a unique name.
    fn here(client: &Client) -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            namespace: variable("POD_NAMESPACE").unwrap_or_else(|| client.default_namespace().to_owned()),
            identity: variable("POD_NAME").unwrap_or_else(|| format!("operator-{}", std::process::id())),
        }
    }
}

/// The operator, which listens on its address already, but does not work yet.
pub struct App {
    config: Config,
    databases: Databases,
    election: Election,
    context: Context,
    metrics: OperatorMetrics,
    readiness: Readiness,
    server: Server,
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// Runs the program until a signal stops it.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let app = App::in_cluster(config).await?;
    tracing::info!(address = %app.local_addr(), "started");
    Ok(app.run_until_stopped(stop_signal()?).await?)
}

impl App {
    /// Builds the operator with the default client and place of this process.
    pub async fn in_cluster(config: Config) -> anyhow::Result<Self> {
        let client = Client::try_default().await?;
        let place = Place::here(&client);
        Ok(Self::build(config, client, place, SystemClock::shared()).await?)
    }

    /// Listens on the address and prepares the connections. Kubernetes and the database may still be unavailable.
    pub async fn build(config: Config, client: Client, place: Place, clock: SharedClock) -> Result<Self, StartError> {
        config.check()?;
        let template = Arc::new(Template::read(&config.operator.job_template)?);
        let registry = MetricsRegistry::default();
        let metrics = OperatorMetrics::register(&registry);
        let readiness = Readiness::default();
        let mut edge = Edge::new(registry, readiness.clone());
        edge.http = config.http.clone();
        // No load balancer sends requests here, so there is no need to wait before the drain.
        edge.shutdown.drain_delay = Duration::ZERO;
        edge.shutdown.grace = config.shutdown.grace;
        edge.rate_limit.enabled = false;
        let server = Server::bind(config.operator.listen, edge)?;
        let databases = Databases::connect(&config.mongodb, "operator").await?;
        let election = Election::new(
            client.clone(),
            &place.namespace,
            &config.operator.lease,
            &place.identity,
            (config.operator.lease_duration, config.operator.renew_every),
            metrics.clone(),
        );
        let reporter = Reporter {
            controller: "microblog-operator".to_owned(),
            instance: Some(place.identity),
        };
        let context = Context {
            recorder: Recorder::new(client.clone(), reporter),
            client,
            namespace: place.namespace,
            views: Arc::new(Views::new(databases.clone(), clock)),
            template,
            metrics: metrics.clone(),
            config: config.operator.clone(),
            memory: Arc::default(),
        };
        Ok(Self {
            config,
            databases,
            election,
            context,
            metrics,
            readiness,
            server,
        })
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// Works whenever it is the leader, until `shutdown`. Then it finishes the current reconcile and releases the Lease.
    pub async fn run_until_stopped(self, shutdown: CancellationToken) -> Result<(), RunError> {
        let Self {
            config,
            databases,
            election,
            context,
            metrics,
            readiness,
            server,
        } = self;
        readiness.check("kubernetes", move || {
            let metrics = metrics.clone();
            async move { metrics.kubernetes() }
        });
        tracing::info!(namespace = context.namespace, lease = config.operator.lease, "runs");
        let stop_serving = CancellationToken::new();
        let stop_work = shutdown.child_token();
        let told = stop_work.clone();
        let working = tokio::spawn(async move {
            election.lead(&told, |stop| context.clone().run(stop)).await;
        });
        let serving = server.run(|_| {}, stop_serving.clone());
        tokio::pin!(serving, working);
        let outcome = tokio::select! {
            served = &mut serving => {
                // The server ended although there was no shutdown.
                stop_work.cancel();
                let worked = working.await;
                databases.close().await;
                return worked.map_err(RunError::from).and(served.map_err(RunError::from));
            }
            worked = &mut working => worked.map_err(RunError::from),
            refused = refused(&config.mongodb) => {
                stop_work.cancel();
                (&mut working).await.map_err(RunError::from).and(Err(refused.into()))
            }
        };
        readiness.drain();
        stop_serving.cancel();
        let served = serving.await;
        databases.close().await;
        outcome.and(served.map_err(RunError::from))
    }
}
