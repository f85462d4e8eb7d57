//! The program: it is built from its configuration, then runs until it is stopped.

use std::net::SocketAddr;

use service::config::ConfigError;
use service::http::{Edge, EndOfStreams, Readiness, Server};
use service::program::stop_signal;
use service::telemetry::MetricsRegistry;
use tokio_util::sync::CancellationToken;

use crate::backends::{Backend, Backends};
use crate::config::{Config, authority};
use crate::forward::Remote;
use crate::web::Jar;
use crate::{description, routes};

/// Why the program did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// A gateway with its address. It answers once it runs.
#[derive(Debug)]
pub struct App {
    server: Server,
    backends: Backends,
    jar: Jar,
    end_of_streams: EndOfStreams,
}

/// Runs the program until a signal stops it.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let app = App::build(config)?;
    tracing::info!(address = %app.local_addr(), "started");
    Ok(app.run_until_stopped(stop_signal()?).await?)
}

impl App {
    /// Passes requests on to the services at the configured addresses. They need not be there yet.
    pub fn build(config: Config) -> Result<Self, StartError> {
        let end_of_streams = EndOfStreams::new(&config.shutdown);
        let service = |name, key, url: &str| {
            let remote = authority(key, url).map(|authority| Remote::new(name, authority, end_of_streams.clone()));
            remote.map(|remote| Backend::Remote(Box::new(remote)))
        };
        let backends = Backends {
            command: service("command-svc", "gateway.command_url", &config.gateway.command_url)?,
            query: service("query-svc", "gateway.query_url", &config.gateway.query_url)?,
        };
        Self::with(config, backends, end_of_streams)
    }

    /// The same for services in this process.
    pub fn build_in_process(config: Config, backends: Backends) -> Result<Self, StartError> {
        let end_of_streams = EndOfStreams::new(&config.shutdown);
        Self::with(config, backends, end_of_streams)
    }

    fn with(config: Config, backends: Backends, end_of_streams: EndOfStreams) -> Result<Self, StartError> {
        let jar = Jar::new(&config.gateway)?;
        // It answers without any service: that a service is away is an answer too.
        let mut edge = Edge::new(MetricsRegistry::default(), Readiness::default());
        edge.http = config.http;
        edge.shutdown = config.shutdown;
        // The services count by whom a request is, and know it.
        edge.rate_limit.enabled = false;
        edge.openapi = Some(description::openapi());
        edge.asyncapi = Some(description::asyncapi());
        Ok(Self {
            server: Server::bind(config.gateway.listen, edge)?,
            backends,
            jar,
            end_of_streams,
        })
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// Serves requests until `shutdown` is cancelled, then drains.
    pub async fn run_until_stopped(self, shutdown: CancellationToken) -> std::io::Result<()> {
        let Self {
            server,
            backends,
            jar,
            end_of_streams,
        } = self;
        let serve = server.run(
            move |service| routes::configure(service, &backends, &jar),
            shutdown.clone(),
        );
        let stop = async {
            shutdown.cancelled().await;
            end_of_streams.begin();
        };
        tokio::join!(serve, stop).0
    }
}
