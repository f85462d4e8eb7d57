//! All programs in this process, each on a free port, with databases of their own for each test.

mod requests;
mod streams;

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use event_log::consistency::ConsistencyToken;
use event_log::mongo::Databases;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, TryFutureExt};
use local_mongodb::{TestDatabase, wait_in_drop};
use microblog::verify::{self, Report};
use model::clock::SystemClock;
use reqwest::Url;
use service::auth::generate_signing_key_pem;
use service::config::{self, Environment};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) use requests::Person;
pub(crate) use streams::EventReader;

/// A busy machine is slow. But a longer wait than this is a hang.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// The programs and the database. Dropping it ends them.
#[derive(Debug)]
pub(crate) struct Stack {
    pub(crate) environment: Environment,
    pub(crate) command: Program,
    /// More than one if the test added some.
    pub(crate) queries: Vec<Program>,
    pub(crate) projectors: Vec<Program>,
    http: reqwest::Client,
    /// The positions of everything that was answered.
    seen: Mutex<Option<ConsistencyToken>>,
    /// The last field, so that it is dropped after the programs that use it. Dropping it removes the databases.
    pub(crate) database: TestDatabase,
}

/// A running program.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) url: String,
    stop: CancellationToken,
    task: Option<JoinHandle<Result<(), String>>>,
}

impl Program {
    fn start<E: std::fmt::Debug + 'static>(
        address: SocketAddr,
        run: impl FnOnce(CancellationToken) -> BoxFuture<'static, Result<(), E>>,
    ) -> Self {
        let stop = CancellationToken::new();
        let task = tokio::spawn(run(stop.clone()).map_err(|error| format!("{error:?}")));
        Self {
            url: format!("http://{address}"),
            stop,
            task: Some(task),
        }
    }
}

impl Program {
    /// Tells it to end, and does not wait.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(task) = self.task.take() {
            wait_in_drop(task);
        }
    }
}

impl Drop for Stack {
    /// All programs are told to end before the first is waited for.
    fn drop(&mut self) {
        self.programs().for_each(|program| program.stop.cancel());
    }
}

impl Stack {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// One of each program, with these keys of the configuration overridden.
    pub(crate) async fn start_with(overrides: &[(&str, &str)]) -> Self {
        let mut stack = Self::start_without_projector(overrides).await;
        stack.add_projector().await;
        stack.wait_until_ready().await;
        stack
    }

    pub(crate) async fn start_without_projector(overrides: &[(&str, &str)]) -> Self {
        Self::start_on(TestDatabase::new().await, overrides).await
    }

    pub(crate) async fn start_on(database: TestDatabase, overrides: &[(&str, &str)]) -> Self {
        event_log::crypto::install_provider();
        let mut environment = Environment::default();
        for (key, value) in [
            ("mongodb.uri", database.uri()),
            ("mongodb.events_database", database.events_database()),
            ("mongodb.views_database", database.views_database()),
            ("auth.signing_key", &generate_signing_key_pem()),
            ("auth.refresh_secret", "a secret for the tests of the whole"),
            ("auth.client_secret", "the secret of the gateway of the tests"),
            ("command.listen", "127.0.0.1:0"),
            ("query.listen", "127.0.0.1:0"),
            ("projector.listen", "127.0.0.1:0"),
            ("http.workers", "1"),
            ("rate_limit.enabled", "false"),
            ("shutdown.drain_delay", "0s"),
            // A machine with two processors may have to run a dozen programs.
            ("command.deadline", "30s"),
            ("command.max_queueing", "30s"),
            ("mongodb.operation_timeout", "25s"),
            ("mongodb.server_selection_timeout", "20s"),
            ("mongodb.connect_timeout", "20s"),
            ("query.request_timeout", "10s"),
            ("query.claim_for", "60s"),
            ("clock.max_age", "60s"),
        ] {
            environment.set(key, value);
        }
        for (key, value) in overrides {
            environment.set(key, *value);
        }
        let clock = SystemClock::shared();
        let config = config::load(None, &environment).expect("the configuration of command-svc");
        let command = command_svc::App::build(config, clock)
            .await
            .expect("command-svc is built");
        let command = Program::start(command.local_addr(), |stop| command.run_until_stopped(stop).boxed());
        let mut stack = Self {
            environment,
            command,
            queries: Vec::new(),
            projectors: Vec::new(),
            http: reqwest::Client::builder().no_proxy().build().expect("a client"),
            seen: Mutex::new(None),
            database,
        };
        stack.add_query().await;
        stack
    }

    pub(crate) async fn add_query(&mut self) {
        let config = config::load(None, &self.environment).expect("the configuration of query-svc");
        let app = query_svc::App::build(config, SystemClock::shared())
            .await
            .expect("query-svc is built");
        let query = Program::start(app.local_addr(), |stop| app.run_until_stopped(stop).boxed());
        self.queries.push(query);
    }

    pub(crate) async fn add_projector(&mut self) {
        let config = config::load(None, &self.environment).expect("the configuration of the projector");
        let app = projector::App::build(config, SystemClock::shared())
            .await
            .expect("the projector is built");
        let projector = Program::start(app.local_addr(), |stop| app.run_until_stopped(stop).boxed());
        self.projectors.push(projector);
    }

    /// A gateway in front of both services, with these keys of the configuration overridden.
    pub(crate) fn gateway(&self, overrides: &[(&str, &str)]) -> Program {
        let mut environment = self.environment.clone();
        for (key, value) in [
            ("gateway.listen", "127.0.0.1:0"),
            ("gateway.command_url", &self.command.url),
            ("gateway.query_url", &self.queries[0].url),
        ] {
            environment.set(key, value);
        }
        for (key, value) in overrides {
            environment.set(key, *value);
        }
        let config = config::load(None, &environment).expect("the configuration of the gateway");
        let app = gateway::App::build(config).expect("the gateway is built");
        Program::start(app.local_addr(), |stop| app.run_until_stopped(stop).boxed())
    }

    fn programs(&self) -> impl Iterator<Item = &Program> {
        [&self.command].into_iter().chain(&self.queries).chain(&self.projectors)
    }

    /// Waits until all programs are ready.
    pub(crate) async fn wait_until_ready(&self) {
        for url in self.programs().map(|program| format!("{}/readyz", program.url)) {
            eventually(&format!("{url} is ready"), || async {
                let answer = self.http.get(&url).send().await.ok()?;
                answer.status().is_success().then_some(())
            })
            .await;
        }
    }

    /// A projector in a process of its own, which can be killed. Its other configuration is the same as here.
    pub(crate) fn projector_process(&self) -> std::process::Child {
        self.microblog()
            .arg("projector")
            .stdout(Stdio::null())
            .spawn()
            .expect("the program is there")
    }

    /// The same, but it checks more often for a requested rebuild, and rebuilds in small steps.
    pub(crate) fn quick_projector_process(&self) -> std::process::Child {
        let mut command = self.microblog();
        for (key, value) in [
            ("rebuild.look_every", "50ms"),
            ("rebuild.batch", "20"),
            ("rebuild.reader_grace", "500ms"),
            ("projector.look_every", "100ms"),
        ] {
            command.env(config::variable(key), value);
        }
        command
            .arg("projector")
            .stdout(Stdio::null())
            .spawn()
            .expect("the program is there")
    }

    /// The program `microblog`, with the same configuration as the services here.
    pub(crate) fn microblog(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_microblog"));
        command.env_clear();
        for name in ["PATH", "HOME", "LLVM_PROFILE_FILE"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        for key in [
            "mongodb.uri",
            "mongodb.events_database",
            "mongodb.views_database",
            "auth.signing_key",
        ] {
            let name = config::variable(key);
            command.env(&name, self.environment.get(&name).expect("it was set above"));
        }
        command.env(config::variable("projector.listen"), "127.0.0.1:0");
        command.env(config::variable("http.workers"), "1");
        command.env(config::variable("telemetry.filter"), "error");
        command
            .env("MICROBLOG_COMMAND_URL", &self.command.url)
            .env("MICROBLOG_QUERY_URL", &self.queries[0].url);
        command
    }

    pub(crate) async fn databases(&self) -> Databases {
        #[derive(serde::Deserialize)]
        struct Section {
            mongodb: event_log::mongo::MongoDb,
        }
        let section: Section = config::load(None, &self.environment).expect("the section is there");
        Databases::connect(&section.mongodb, "tests")
            .await
            .expect("the database is there")
    }

    /// Compares what every query-svc serves with the events.
    pub(crate) async fn verify(&self) -> Vec<Report> {
        #[derive(serde::Deserialize)]
        struct Section {
            auth: config::Auth,
        }
        let section: Section = config::load(None, &self.environment).expect("the section is there");
        let databases = self.databases().await;
        let mut reports = Vec::new();
        for query in &self.queries {
            let url = Url::parse(&query.url).expect("a URL");
            // Small pages, so that there are many page boundaries; and of many posts a sample, because each costs fifty requests.
            let options = verify::Options {
                page_size: 7,
                posts: 40,
                ..verify::Options::default()
            };
            reports.push(
                verify::verify(&databases, &section.auth, &url, &options)
                    .await
                    .expect("verify runs"),
            );
        }
        databases.close().await;
        reports
    }

    pub(crate) async fn assert_verified(&self) {
        for report in self.verify().await {
            assert!(report.differences.is_empty(), "{:#?}", report.differences);
            assert_eq!(
                (report.in_motion, report.waiting_letters, report.gave_up),
                (0, 0, false)
            );
            assert!(report.items > 0, "nothing was compared");
        }
    }
}

/// Repeats `look` until it returns something.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "timed out waiting until {what}");
        // A pause between two checks, so that the checks do not take the processor from what they wait for.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
