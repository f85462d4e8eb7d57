//! The database and the three services, each as a process of its own.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use event_log::mongo::Databases;
use event_log::mongo::{MongoDb, MongoUri};
use local_mongodb::Server;
use service::auth::generate_signing_key_pem;
use service::config::Environment;
use tempfile::TempDir;

use crate::http::is_ok;
use crate::processes::{Process, busy};

const READY_WITHIN: Duration = Duration::from_secs(60);
/// Short enough to measure milliseconds.
const BETWEEN_LOOKS: Duration = Duration::from_millis(2);

/// The variable that names the database.
const DATABASE: &str = "MICROBLOG__MONGODB__URI";

/// Environment variables of the programs.
type Variables = Vec<(String, String)>;

#[derive(Debug)]
pub(crate) struct Stack {
    pub(crate) command: Process,
    pub(crate) query: Process,
    pub(crate) projector: Process,
    pub(crate) databases: Databases,
    variables: Variables,
    server: Server,
    programs: PathBuf,
    logs: TempDir,
}

/// The directory where Cargo puts all programs.
pub(crate) fn beside_this_program() -> Result<PathBuf> {
    let this = std::env::current_exe()?;
    Ok(this.parent().context("this program is in a directory")?.to_owned())
}

impl Stack {
    pub(crate) async fn start(programs: &Path) -> Result<Self> {
        // In memory if there is room, so that the time of a disk does not hide the time of the programs.
        let server = Server::start_ephemeral_with(|options| options.cache_mib = 2_048).await?;
        let logs = tempfile::tempdir()?;
        let variables: Variables = [
            ("MONGODB__URI", server.uri()),
            ("AUTH__SIGNING_KEY", generate_signing_key_pem()),
            (
                "AUTH__REFRESH_SECRET",
                "a secret for nothing but measurements".to_owned(),
            ),
            // All load comes from one address.
            ("RATE_LIMIT__ENABLED", "false".to_owned()),
            ("SHUTDOWN__DRAIN_DELAY", "0s".to_owned()),
        ]
        .map(|(name, value)| (format!("MICROBLOG__{name}"), value))
        .into();
        let databases = Databases::connect(&MongoDb::at(uri(&server)?), "bench").await?;
        let start = |name| start(programs, logs.path(), &variables, name);
        let (command, query, projector) = (start("command-svc")?, start("query-svc")?, start("projector")?);
        let mut stack = Self {
            command,
            query,
            projector,
            databases,
            variables,
            server,
            programs: programs.to_owned(),
            logs,
        };
        let mut ready = Ok(());
        for process in [&mut stack.command, &mut stack.query, &mut stack.projector] {
            ready = ready.and(wait_until_ready(process).await.map(drop));
        }
        ready.with_context(|| stack.last_words())?;
        Ok(stack)
    }

    /// Waits until query-svc is ready.
    pub(crate) async fn wait_for_query(&mut self) -> Result<()> {
        wait_until_ready(&mut self.query).await.map(drop)
    }

    /// Starts query-svc again, with nothing in memory. Returns how long it took to be ready.
    pub(crate) async fn restart_query(&mut self) -> Result<Duration> {
        let mut started = start(&self.programs, self.logs.path(), &self.variables, "query-svc")?;
        let took = wait_until_ready(&mut started).await?;
        self.query = started;
        Ok(took)
    }

    /// How long another process of a program takes to be ready.
    pub(crate) async fn time_to_ready(&self, name: &'static str) -> Result<Duration> {
        let mut started = start(&self.programs, self.logs.path(), &self.variables, name)?;
        wait_until_ready(&mut started).await
    }

    /// The configuration of the programs.
    pub(crate) fn environment(&self) -> Environment {
        self.variables.iter().cloned().collect()
    }

    /// How long command-svc, query-svc, the projector and the database have kept processors busy, in seconds.
    pub(crate) fn busy(&self) -> Result<[f64; 4]> {
        let database = self.server.pid().context("the database runs")?;
        let mut seconds = [0.0; 4];
        let processes = [self.command.id(), self.query.id(), self.projector.id(), database];
        for (seconds, process) in seconds.iter_mut().zip(processes) {
            *seconds = busy(process)?.as_secs_f64();
        }
        Ok(seconds)
    }

    /// Starts a gateway in front of both services.
    pub(crate) async fn start_gateway(&self) -> Result<Process> {
        let mut variables = self.variables.clone();
        for (name, service) in [("COMMAND", &self.command), ("QUERY", &self.query)] {
            let url = format!("http://{}", service.address);
            variables.push((format!("MICROBLOG__GATEWAY__{name}_URL"), url));
        }
        let mut started = start(&self.programs, self.logs.path(), &variables, "gateway")?;
        wait_until_ready(&mut started).await?;
        Ok(started)
    }

    /// Starts `microblog up` with a database of its own. Returns it, with the address of its query-svc, and that of its command-svc.
    pub(crate) async fn start_up(&self, data: &Path) -> Result<(Process, String)> {
        let name = "microblog";
        let [gateway, command_svc, query_svc, projector] = [free()?, free()?, free()?, free()?];
        let mut command = Command::new(program(&self.programs, name)?);
        command.arg("up").arg("--data-dir").arg(data).env_clear();
        // With these it finds the program of its database.
        for variable in ["PATH", "HOME", "XDG_CACHE_HOME"] {
            command.envs(std::env::var_os(variable).map(|value| (variable, value)));
        }
        command
            .envs(self.variables.iter().filter(|(name, _)| name != DATABASE).cloned())
            .env(listen("gateway"), &gateway)
            .env(listen("command-svc"), &command_svc)
            .env(listen("query-svc"), &query_svc)
            .env(listen("projector"), &projector);
        let mut started = Process::start(command, name, query_svc.clone(), log(self.logs.path(), name)?)?;
        for address in [&query_svc, &command_svc] {
            wait_for(&mut started, address).await?;
        }
        Ok((started, command_svc))
    }

    pub(crate) async fn stop(self) -> Result<()> {
        let Self {
            command,
            query,
            projector,
            databases,
            mut server,
            ..
        } = self;
        drop((command, query, projector));
        databases.close().await;
        Ok(server.stop().await?)
    }
}

fn uri(server: &Server) -> Result<MongoUri> {
    MongoUri::parse(&server.uri()).map_err(anyhow::Error::msg)
}

fn start(programs: &Path, logs: &Path, variables: &Variables, name: &'static str) -> Result<Process> {
    let address = free()?;
    let mut command = Command::new(program(programs, name)?);
    command
        .env_clear()
        .envs(variables.iter().cloned())
        .env(listen(name), &address);
    Process::start(command, name, address, log(logs, name)?)
}

fn program(programs: &Path, name: &str) -> Result<PathBuf> {
    let program = programs.join(name);
    ensure!(
        program.is_file(),
        "{} does not exist: build it first",
        program.display()
    );
    Ok(program)
}

fn log(logs: &Path, name: &str) -> Result<File> {
    let log = logs.join(format!("{name}.log"));
    Ok(File::options().create(true).append(true).open(log)?)
}

/// An address that is free now. If another process takes it first, the start fails.
fn free() -> Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

fn listen(program: &str) -> &'static str {
    match program {
        "command-svc" => "MICROBLOG__COMMAND__LISTEN",
        "query-svc" => "MICROBLOG__QUERY__LISTEN",
        "gateway" => "MICROBLOG__GATEWAY__LISTEN",
        _ => "MICROBLOG__PROJECTOR__LISTEN",
    }
}

async fn wait_until_ready(process: &mut Process) -> Result<Duration> {
    let address = process.address.clone();
    wait_for(process, &address).await
}

/// Waits until the process says at this address that it is ready.
async fn wait_for(process: &mut Process, address: &str) -> Result<Duration> {
    let begun = Instant::now();
    while !is_ok(address, "/readyz").await {
        ensure!(!process.has_ended()?, "{} ended before it was ready", process.name);
        ensure!(
            begun.elapsed() < READY_WITHIN,
            "{} is not ready after {READY_WITHIN:?}",
            process.name
        );
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
    Ok(begun.elapsed())
}

impl Stack {
    /// The value of a counter of the projector.
    pub(crate) async fn projector_counter(&self, name: &str) -> Result<f64> {
        let mut connection = crate::http::Connection::to(&self.projector.address).await?;
        let answer = connection.send(&crate::http::Call::get("/metrics")).await?;
        let text = String::from_utf8(answer.body.to_vec())?;
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        Ok(line.with_context(|| format!("no metric {name}"))?.trim().parse()?)
    }

    /// The last lines of the programs' logs, to explain why they failed.
    pub(crate) fn last_words(&self) -> String {
        let mut words = String::new();
        for name in ["command-svc", "query-svc", "projector", "gateway", "microblog"] {
            let log = fs::read_to_string(self.logs.path().join(format!("{name}.log"))).unwrap_or_default();
            let last: Vec<&str> = log.lines().rev().take(3).collect();
            for line in last.into_iter().rev() {
                words.push_str(line);
                words.push('\n');
            }
        }
        words
    }
}
