//! The processes: started, killed, paused.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use event_log::mongo::Databases;
use local_mongodb::{Server, free_port};
use microblog::verify;
use reqwest::Url;
use rustix::process::{Pid, Signal, kill_process};
use service::auth::generate_signing_key_pem;
use service::config::{self, Environment};

/// A busy machine is slow. But a longer wait than this is a hang.
pub(crate) const DEADLINE: Duration = Duration::from_secs(180);
/// How many replicas each program has.
pub(crate) const REPLICAS: usize = 2;

/// Environment variables of the programs.
type Variables = Vec<(String, String)>;

/// One of the programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    Command,
    Query,
    Projector,
}

impl Program {
    pub(crate) const ALL: [Self; 3] = [Self::Command, Self::Query, Self::Projector];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Command => "command-svc",
            Self::Query => "query-svc",
            Self::Projector => "projector",
        }
    }

    fn listen(self) -> &'static str {
        match self {
            Self::Command => "command.listen",
            Self::Query => "query.listen",
            Self::Projector => "projector.listen",
        }
    }
}

/// A process that can be killed and started again at the same address.
#[derive(Debug)]
pub(crate) struct Process {
    program: Program,
    address: String,
    child: Child,
}

impl Process {
    fn start(program: Program, variables: &Variables) -> Self {
        let address = format!("127.0.0.1:{}", free_port().expect("a free port"));
        let child = spawn(program, &address, variables);
        Self {
            program,
            address,
            child,
        }
    }

    fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it can be waited for");
    }

    fn signal(&self, signal: Signal) {
        signal_process(self.child.id(), signal);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Kills the process however the test ends. It may be dead already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Debug)]
pub(crate) struct World {
    variables: Variables,
    processes: Vec<Process>,
    /// The last field, so that it is dropped after the processes that use it.
    server: Server,
}

impl World {
    pub(crate) async fn start() -> Self {
        event_log::crypto::install_provider();
        let server = Server::start_ephemeral().await.expect("a database");
        let variables: Variables = [
            ("mongodb.uri", server.uri().as_str()),
            ("auth.signing_key", &generate_signing_key_pem()),
            ("auth.refresh_secret", "a secret for the tests with chaos"),
            // Longer than the longest run.
            ("auth.access_token_ttl", "12h"),
            ("sweep.last_pass_after", "13h"),
            ("http.workers", "1"),
            ("rate_limit.enabled", "false"),
            ("telemetry.filter", "error"),
        ]
        .map(|(key, value)| (config::variable(key), value.to_owned()))
        .into();
        let processes = Program::ALL.iter().flat_map(|&program| [program; REPLICAS]);
        let processes = processes.map(|program| Process::start(program, &variables)).collect();
        let mut world = Self {
            variables,
            processes,
            server,
        };
        world.wait_until_ready().await;
        world
    }

    fn process(&mut self, program: Program, replica: usize) -> &mut Process {
        let of_program = self.processes.iter_mut().filter(|process| process.program == program);
        of_program.into_iter().nth(replica).expect("there are so many replicas")
    }

    /// The URLs of a program's replicas.
    pub(crate) fn urls(&self, program: Program) -> Vec<String> {
        let of_program = self.processes.iter().filter(|process| process.program == program);
        of_program
            .map(|process| format!("http://{}", process.address))
            .collect()
    }

    /// SIGKILL: the process stores nothing and releases no lease.
    pub(crate) fn kill(&mut self, program: Program, replica: usize) {
        self.process(program, replica).kill();
    }

    pub(crate) fn start_again(&mut self, program: Program, replica: usize) {
        let variables = self.variables.clone();
        let process = self.process(program, replica);
        process.child = spawn(program, &process.address, &variables);
    }

    /// SIGSTOP: the process lives and keeps everything that it holds, but does nothing.
    pub(crate) fn pause(&mut self, program: Program, replica: usize) {
        self.process(program, replica).signal(Signal::STOP);
    }

    pub(crate) fn resume(&mut self, program: Program, replica: usize) {
        self.process(program, replica).signal(Signal::CONT);
    }

    pub(crate) async fn kill_database(&mut self) {
        self.server.kill().await.expect("the database can be killed");
    }

    pub(crate) async fn start_database_again(&mut self) {
        self.server
            .restart()
            .await
            .expect("the database starts again with its data");
    }

    pub(crate) fn pause_database(&self) {
        signal_process(self.server.pid().expect("the database runs"), Signal::STOP);
    }

    pub(crate) fn resume_database(&self) {
        signal_process(self.server.pid().expect("the database runs"), Signal::CONT);
    }

    pub(crate) async fn wait_until_ready(&mut self) {
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(5))
            .build();
        let http = http.expect("a client");
        for process in &mut self.processes {
            let url = format!("http://{}/readyz", process.address);
            let what = format!("{} at {url} is ready", process.program.name());
            eventually(&what, async || {
                let ended = process.child.try_wait().expect("it can be asked");
                assert!(
                    ended.is_none(),
                    "{} has ended by itself: {ended:?}",
                    process.program.name()
                );
                let answer = http.get(&url).send().await.ok()?;
                answer.status().is_success().then_some(())
            })
            .await;
        }
    }

    fn sections(&self) -> Sections {
        let environment: Environment = self.variables.iter().cloned().collect();
        config::load(None, &environment).expect("the sections are there")
    }

    pub(crate) async fn databases(&self) -> Databases {
        let section = self.sections();
        let databases = Databases::connect(&section.mongodb, "chaos").await;
        databases.expect("the database is there")
    }

    /// Recomputes from the events what every query-svc should serve, and compares.
    pub(crate) async fn verify(&mut self) {
        self.wait_until_ready().await;
        let section = self.sections();
        let databases = self.databases().await;
        for url in self.urls(Program::Query) {
            let url = Url::parse(&url).expect("a URL");
            // What follows from a block may still go on.
            let report = eventually("nothing changes while verify looks", async || {
                let report = verify::verify(&databases, &section.auth, &url, &verify::Options::default()).await;
                Some(report.expect("verify runs")).filter(|report| report.in_motion == 0)
            })
            .await;
            assert!(report.differences.is_empty(), "{:#?}", report.differences);
            assert_eq!(
                (report.in_motion, report.waiting_letters, report.gave_up),
                (0, 0, false)
            );
            assert!(report.items > 0, "nothing was compared");
        }
        databases.close().await;
    }
}

#[derive(serde::Deserialize)]
struct Sections {
    mongodb: event_log::mongo::MongoDb,
    auth: config::Auth,
}

fn spawn(program: Program, address: &str, variables: &Variables) -> Child {
    let mut command = Command::new(beside_microblog().join(program.name()));
    command.env_clear();
    for name in ["PATH", "HOME", "LLVM_PROFILE_FILE"] {
        command.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    command
        .envs(variables.iter().cloned())
        .env(config::variable(program.listen()), address);
    let command = command.stdin(Stdio::null()).stdout(Stdio::null());
    command
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}; run `cargo build --workspace` first", program.name()))
}

/// Cargo puts all programs of the workspace into one directory, but tells tests only the paths of their own package's programs.
fn beside_microblog() -> PathBuf {
    let microblog = Path::new(env!("CARGO_BIN_EXE_microblog"));
    microblog.parent().expect("it is in a directory").to_owned()
}

fn signal_process(process: u32, signal: Signal) {
    let pid = i32::try_from(process)
        .ok()
        .and_then(Pid::from_raw)
        .expect("a process id");
    kill_process(pid, signal).expect("the process is there");
}

/// Repeats `look` until it returns something.
pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
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
