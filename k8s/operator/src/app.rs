//! The program: what it is made of, how it starts, and how it ends.

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
    #[error("the work ended in disorder: {0}")]
    Task(#[from] JoinError),
}

/// Where the operator runs.
#[derive(Debug, Clone)]
pub struct Place {
    pub namespace: String,
    /// Its own name in the Lease and in events: the pod's.
    pub identity: String,
}

impl Place {
    /// In a pod, its own namespace and name; elsewhere, what the kubeconfig says, and a name that nobody else has.
    fn here(client: &Client) -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            namespace: variable("POD_NAMESPACE").unwrap_or_else(|| client.default_namespace().to_owned()),
            identity: variable("POD_NAME").unwrap_or_else(|| format!("operator-{}", std::process::id())),
        }
    }
}

/// The operator: it has its address, and does not work yet.
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

impl App {
    /// With the client and the place that this process has by itself.
    pub async fn in_cluster(config: Config) -> anyhow::Result<Self> {
        let client = Client::try_default().await?;
        let place = Place::here(&client);
        Ok(Self::build(config, client, place, SystemClock::shared()).await?)
    }

    /// Takes the address and prepares the connections. Neither Kubernetes nor the database need be there yet.
    pub async fn build(config: Config, client: Client, place: Place, clock: SharedClock) -> Result<Self, StartError> {
        config.check()?;
        let template = Arc::new(Template::read(&config.operator.job_template)?);
        let registry = MetricsRegistry::default();
        let metrics = OperatorMetrics::register(&registry);
        let readiness = Readiness::default();
        let mut edge = Edge::new(registry, readiness.clone());
        edge.http = config.http.clone();
        // Nobody is sent here by a load balancer.
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

    /// Works whenever it is the leader, until `shutdown`; then it finishes the look under way and gives the Lease back.
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
                // Nobody has told it to end.
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
