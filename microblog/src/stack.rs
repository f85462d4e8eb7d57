//! command-svc, query-svc, the projector and the gateway in this process.

use std::{
    fmt,
    future::Future,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow, bail};
use backon::{ConstantBuilder, Retryable as _};
use event_log::event_store::{EventStore, Retries};
use event_log::mongo::Databases;
use event_log::subscription::leases::Leases;
use gateway::{Backend, Backends};
use model::clock::SystemClock;
use model::ids::PARTITIONS;
use service::config::{self, ConfigError, Environment};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use views::{generation::Generations, subscription_name};

const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// The running programs. Dropping it ends them without a drain.
pub struct Stack {
    gateway: SocketAddr,
    command: SocketAddr,
    query: SocketAddr,
    projector: SocketAddr,
    mongodb: event_log::mongo::MongoDb,
    shutdown: CancellationToken,
    programs: JoinSet<(&'static str, anyhow::Result<()>)>,
}

/// The configuration that each program would read as a process of its own.
#[derive(Debug)]
pub struct Configs {
    gateway: gateway::Config,
    command: command_svc::Config,
    query: query_svc::Config,
    projector: projector::Config,
}

impl Configs {
    /// Loads all of them from one environment, and from the file that it names.
    pub fn load(environment: &Environment) -> Result<Self, ConfigError> {
        Ok(Self {
            gateway: config::load(None, environment)?,
            command: config::load(None, environment)?,
            query: config::load(None, environment)?,
            projector: config::load(None, environment)?,
        })
    }
}

impl Stack {
    /// Builds all of them and starts them as soon as the database can be used. Gives up after `within`.
    pub async fn start(configs: Configs, within: Duration) -> anyhow::Result<Self> {
        let clock = SystemClock::shared();
        let Configs {
            gateway,
            command,
            query,
            projector,
        } = configs;
        let mongodb = projector.mongodb.clone();
        let built = command_svc::App::build_when_ready(command, clock.clone());
        let command = tokio::time::timeout(within, built)
            .await
            .with_context(|| {
                format!(
                    "the database can't be used after {} s; the log says why",
                    within.as_secs()
                )
            })?
            .context("command-svc")?;
        let query = query_svc::App::build(query, clock.clone()).await.context("query-svc")?;
        let projector = projector::App::build(projector, clock).await.context("projector")?;
        let services = Backends {
            command: Backend::InProcess(command.in_process()),
            query: Backend::InProcess(query.in_process()),
        };
        let gateway = gateway::App::build_in_process(gateway, services).context("gateway")?;
        let shutdown = CancellationToken::new();
        let mut stack = Self {
            gateway: gateway.local_addr(),
            command: command.local_addr(),
            query: query.local_addr(),
            projector: projector.local_addr(),
            mongodb,
            shutdown: shutdown.clone(),
            programs: JoinSet::new(),
        };
        stack.spawn("gateway", gateway.run_until_stopped(shutdown.clone()));
        stack.spawn("command-svc", command.run_until_stopped(shutdown.clone()));
        stack.spawn("query-svc", query.run_until_stopped(shutdown.clone()));
        stack.spawn("projector", projector.run_until_stopped(shutdown));
        Ok(stack)
    }

    fn spawn<E: Into<anyhow::Error>>(
        &mut self,
        name: &'static str,
        program: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        self.programs
            .spawn(async move { (name, program.await.map_err(Into::into)) });
    }

    /// The one address for everything but the projector.
    pub fn url(&self) -> String {
        url(self.gateway)
    }

    pub fn command_url(&self) -> String {
        url(self.command)
    }

    pub fn query_url(&self) -> String {
        url(self.query)
    }

    pub fn projector_url(&self) -> String {
        url(self.projector)
    }

    /// Waits until all of them are ready at `/readyz`. It is an error if a program ends, or if `within` passes.
    pub async fn wait_until_ready(&mut self, within: Duration) -> anyhow::Result<()> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(5))
            .build()?;
        let deadline = Instant::now() + within;
        for url in [self.url(), self.command_url(), self.query_url(), self.projector_url()] {
            let url = format!("{url}/readyz");
            loop {
                let last = match http.get(&url).send().await {
                    Ok(response) if response.status().is_success() => break,
                    Ok(response) => response.text().await.unwrap_or_default(),
                    Err(error) => error.to_string(),
                };
                if let Some(ended) = self.programs.try_join_next() {
                    bail!(explain(ended.map_err(Into::into)));
                }
                if Instant::now() >= deadline {
                    bail!("{url} is not ready after {} s: {last}", within.as_secs());
                }
                tokio::time::sleep(BETWEEN_LOOKS).await;
            }
        }
        Ok(())
    }

    /// Waits until the views have everything that was acknowledged before now. Returns false if that takes longer than `within`.
    ///
    /// A projector that has just started first takes its leases, so that the views are ready a moment later than its `/readyz`. The
    /// programs are running: if the database goes away now, they look for it again, and none ends.
    pub async fn wait_until_caught_up(&self, within: Duration) -> anyhow::Result<bool> {
        let databases = Databases::connect(&self.mongodb, "up").await?;
        let looking = (|| async {
            databases
                .connections
                .until_lost(catch_up(&databases))
                .await
                .inspect_err(|error| {
                    tracing::warn!(%error, "could not look whether the views have caught up; trying again");
                })
        })
        .retry(ConstantBuilder::default().with_delay(BETWEEN_LOOKS).without_max_times());
        let caught_up = tokio::time::timeout(within, looking)
            .await
            .is_ok_and(|looked| looked.is_ok());
        databases.close().await;
        Ok(caught_up)
    }

    /// Waits until one of the programs ends. None ends by itself.
    pub async fn failed(&mut self) -> anyhow::Error {
        match self.programs.join_next().await {
            Some(ended) => explain(ended.map_err(Into::into)),
            None => anyhow!("all programs have ended"),
        }
    }

    /// Drains and ends all of them, and waits for them. The first error is returned after the last program has ended.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.shutdown.cancel();
        let mut outcome = Ok(());
        while let Some(ended) = self.programs.join_next().await {
            let ended = ended
                .context("a program was aborted")
                .and_then(|(name, result)| result.context(name));
            outcome = outcome.and(ended);
        }
        outcome
    }
}

impl fmt::Debug for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            gateway,
            command,
            query,
            projector,
            ..
        } = self;
        let stack = &mut f.debug_struct("Stack");
        stack
            .field("gateway", gateway)
            .field("command", command)
            .field("query", query)
            .field("projector", projector)
            .finish_non_exhaustive()
    }
}

async fn catch_up(databases: &Databases) -> Result<(), mongodb::error::Error> {
    let store = EventStore::open(databases.events.clone(), SystemClock::shared(), Retries::default()).await?;
    let mark = store.mark_all().await?;
    let generations = Generations::new(databases.views.clone(), SystemClock::shared());
    loop {
        if let Some(control) = generations.current().await? {
            let leases = Leases::new(databases.views.clone(), &subscription_name(control.active))
                .all()
                .await?;
            if leases.len() == usize::from(PARTITIONS) && leases.iter().all(|lease| lease.position >= mark) {
                return Ok(());
            }
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}

fn explain(ended: anyhow::Result<(&'static str, anyhow::Result<()>)>) -> anyhow::Error {
    match ended {
        Ok((name, Ok(()))) => anyhow!("{name} has ended, which it should not"),
        Ok((name, Err(error))) => error.context(name),
        Err(panicked) => panicked.context("a program was aborted"),
    }
}

/// The URL at which a client on this machine reaches a listener.
fn url(mut address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    format!("http://{address}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_all_addresses_is_reached_on_this_machine() {
        assert_eq!(url("0.0.0.0:8081".parse().unwrap()), "http://127.0.0.1:8081");
        assert_eq!(url("[::]:8081".parse().unwrap()), "http://[::1]:8081");
        assert_eq!(url("10.0.0.7:80".parse().unwrap()), "http://10.0.0.7:80");
    }

    /// Whoever sets a key of a section that is not known gets an error instead of a program.
    #[test]
    fn every_section_of_every_program_is_known() {
        let mut environment = Environment::default();
        environment.set("mongodb.uri", "mongodb://127.0.0.1:27017");
        let configs = Configs::load(&environment).unwrap();
        let written = [
            serde_json::to_value(&configs.gateway),
            serde_json::to_value(&configs.command),
            serde_json::to_value(&configs.query),
            serde_json::to_value(&configs.projector),
        ];
        for written in written {
            let written = written.unwrap();
            let sections = written.as_object().unwrap();
            assert!(sections.contains_key("http"), "{sections:?}");
            for section in sections.keys() {
                assert!(config::SECTIONS.contains(&section.as_str()), "{section}");
            }
        }
    }
}
