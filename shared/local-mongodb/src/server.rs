//! One server process: start it, wait for it, stop it, kill it, start it again.

use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Write as _},
    net::TcpListener,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use crate::{Engine, replica_set::wait_for_primary};

/// Starts the server as its child. Ends it when our end of the guard's standard input closes.
const GUARD: &str = include_str!("guard.sh");
const LOG: &str = "server.log";
/// How long a server may take to write out its caches and end.
const STOPS_WITHIN: Duration = Duration::from_secs(60);
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);
/// Between our check that a port is free and the server's listening, another program may take it.
const PORT_ATTEMPTS: usize = 5;

/// Why there is no database.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("cannot install a database: {0}")]
    Install(String),
    #[error("the database did not start: {reason}\n{log}")]
    Start { reason: String, log: String },
    #[error("no free port was found")]
    NoPort,
}

impl Error {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            source,
        }
    }
}

/// The options for the start of a server.
#[derive(Debug, Clone)]
pub struct Options {
    /// Kept between runs. Each [`Engine`] has its own folder in it.
    pub data_dir: PathBuf,
    /// `None` takes a free port.
    pub port: Option<u16>,
    /// The memory for the storage engine's cache, in MiB.
    pub cache_mib: u32,
    /// How far back a change stream can be resumed: the number of changes (the stand-in only).
    pub oplog_max_entries: u64,
    /// The same in time (the stand-in only).
    pub oplog_retention: Duration,
    /// A server that does not accept writes by then counts as failed. This time includes the recovery after a crash.
    pub ready_within: Duration,
}

impl Options {
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            port: None,
            cache_mib: 1024,
            oplog_max_entries: 2_000_000,
            oplog_retention: Duration::from_secs(24 * 3600),
            ready_within: Duration::from_secs(120),
        }
    }
}

/// A running server. It ends when this value is dropped, or when this process ends.
#[derive(Debug)]
pub struct Server {
    engine: Engine,
    options: Options,
    port: u16,
    /// Whether the data is deleted with the server.
    ephemeral: bool,
    process: Option<Process>,
}

/// The guard, and the server as its child.
#[derive(Debug)]
struct Process {
    guard: Child,
    signals: ChildStdin,
    server_pid: u32,
}

/// What a whole test run writes, with a reserve.
#[cfg(target_os = "linux")]
const EPHEMERAL_BYTES: u64 = 4 << 30;

/// The directory for data that nobody keeps: `TMPDIR` if it is set, otherwise memory if there is enough room, otherwise the directory for
/// temporary files.
///
/// Every acknowledged write is flushed to its file. On a disk that a build has just filled, this takes seconds, and services under test
/// answer that the database is too slow. A file in memory also survives the death of its process.
fn ephemeral_parent() -> PathBuf {
    #[cfg(target_os = "linux")]
    if std::env::var_os("TMPDIR").is_none() {
        let memory = Path::new("/dev/shm");
        if let Ok(room) = rustix::fs::statvfs(memory)
            && room.f_bavail.saturating_mul(room.f_frsize) >= EPHEMERAL_BYTES
        {
            return memory.to_owned();
        }
    }
    std::env::temp_dir()
}

impl Server {
    /// Starts a server (and installs one first if there is none), and waits until it accepts writes.
    pub async fn start(options: Options) -> Result<Self, Error> {
        let engine = tokio::task::spawn_blocking(Engine::find)
            .await
            .expect("finding a server does not panic")?;
        Self::start_engine(engine, options, false).await
    }

    /// Starts a server on a free port with an empty data directory. The directory is deleted when the server is dropped, or when this
    /// process ends.
    pub async fn start_ephemeral() -> Result<Self, Error> {
        Self::start_ephemeral_with(|_| {}).await
    }

    /// Does the same with changed [`Options`]: `|options| options.oplog_max_entries = 100`.
    pub async fn start_ephemeral_with(adjust: impl FnOnce(&mut Options)) -> Result<Self, Error> {
        let engine = tokio::task::spawn_blocking(Engine::find)
            .await
            .expect("finding a server does not panic")?;
        let parent = ephemeral_parent();
        let directory = tempfile::Builder::new()
            .prefix("microblog-mongodb-")
            .tempdir_in(&parent)
            .map_err(|source| Error::io(&parent, source))?;
        let mut options = Options {
            cache_mib: 512,
            ..Options::new(directory.path())
        };
        adjust(&mut options);
        let server = Self::start_engine(engine, options, true).await?;
        // From here on the guard deletes the directory, also if this process is killed.
        let _ = directory.keep();
        Ok(server)
    }

    async fn start_engine(engine: Engine, options: Options, ephemeral: bool) -> Result<Self, Error> {
        let mut server = Self {
            engine,
            port: 0,
            options,
            ephemeral,
            process: None,
        };
        fs::create_dir_all(server.files()).map_err(|source| Error::io(&server.files(), source))?;
        if let Some(port) = server.options.port {
            server.port = port;
            server.run().await?;
            return Ok(server);
        }
        let mut last = Error::NoPort;
        for _ in 0..PORT_ATTEMPTS {
            server.port = free_port().ok_or(Error::NoPort)?;
            match server.run().await {
                Ok(()) => return Ok(server),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The URI for drivers. It stays the same across [`Server::restart`].
    ///
    /// It is a direct connection to the set's only member. Transactions, retryable writes, change streams and causally consistent sessions
    /// work, and the name under which the member knows itself does not matter.
    pub fn uri(&self) -> String {
        format!("mongodb://127.0.0.1:{}/?directConnection=true", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The process id of the server itself, for tests that look at its memory. `None` while it is down.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(|process| process.server_pid)
    }

    /// The folder of its files.
    pub fn files(&self) -> PathBuf {
        self.options.data_dir.join(self.engine.folder())
    }

    /// The path of its log.
    pub fn log(&self) -> PathBuf {
        self.options.data_dir.join(format!("{}-{LOG}", self.engine.folder()))
    }

    /// Sends SIGTERM and waits for the end. The data stays. It does nothing if the server is down already.
    pub async fn stop(&mut self) -> Result<(), Error> {
        self.end("TERM").await
    }

    /// Sends SIGKILL, like a crash: nothing is written out, and connections break.
    pub async fn kill(&mut self) -> Result<(), Error> {
        self.end("KILL").await
    }

    /// Starts the server again on the same port with the same data. If it runs, it is stopped first.
    pub async fn restart(&mut self) -> Result<(), Error> {
        self.stop().await?;
        self.run().await
    }

    async fn run(&mut self) -> Result<(), Error> {
        let mut process = self.spawn()?;
        let deadline = Instant::now() + self.options.ready_within;
        let uri = self.uri();
        let gone = || matches!(process.guard.try_wait(), Ok(Some(_)) | Err(_));
        let ready = wait_for_primary(&uri, self.port, process.server_pid, deadline, gone).await;
        self.process = Some(process);
        if let Err(reason) = ready {
            self.stop().await?;
            return Err(Error::Start {
                reason,
                log: tail(&self.log()),
            });
        }
        Ok(())
    }

    fn spawn(&self) -> Result<Process, Error> {
        let log = self.log();
        // Keeps one former log, so that the output of a crashed server can be read after its restart.
        if log.exists() {
            fs::rename(&log, log.with_extension("log.previous")).map_err(|source| Error::io(&log, source))?;
        }
        File::create(&log).map_err(|source| Error::io(&log, source))?;
        let mut command = Command::new("sh");
        // The script without its comments, which would fill the process list.
        let guard: Vec<&str> = GUARD
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'))
            .collect();
        command.args(["-c", &guard.join("\n"), "guard"]);
        if self.ephemeral {
            command.arg(&self.options.data_dir)
        } else {
            command.arg("")
        };
        command.arg(&log).arg(self.engine.program());
        command.args(self.engine.arguments(&self.options, &self.files(), self.port));
        // A person's settings for other runs of the stand-in (./secantusd.toml) must not apply to this one.
        command.current_dir(self.files());
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        // It gets its own process group. Ctrl-C goes to the terminal's foreground group, but programs that still drain need the database.
        command.process_group(0);
        let failed = |source| Error::io(Path::new("sh"), source);
        let mut guard = command.spawn().map_err(failed)?;
        let signals = guard.stdin.take().expect("standard input was asked to be piped");
        let output = guard.stdout.take().expect("standard output was asked to be piped");
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).map_err(failed)?;
        let server_pid = line.trim().parse().map_err(|error| failed(io::Error::other(error)))?;
        Ok(Process {
            guard,
            signals,
            server_pid,
        })
    }

    async fn end(&mut self, signal: &str) -> Result<(), Error> {
        let Some(mut process) = self.process.take() else {
            return Ok(());
        };
        // A guard that has ended has no pipe any more, and no server.
        let _ = writeln!(process.signals, "{signal}");
        if wait(&mut process.guard, STOPS_WITHIN).await?.is_none() {
            let _ = writeln!(process.signals, "KILL");
            wait(&mut process.guard, STOPS_WITHIN).await?;
        }
        Ok(())
    }
}

impl Drop for Server {
    /// If the server runs, its guard ends it and deletes ephemeral data. If it does not run, nobody else would delete the data.
    fn drop(&mut self) {
        if self.ephemeral && self.process.is_none() {
            let _ = fs::remove_dir_all(&self.options.data_dir);
        }
    }
}

async fn wait(child: &mut Child, within: Duration) -> Result<Option<ExitStatus>, Error> {
    let deadline = Instant::now() + within;
    loop {
        let status = child.try_wait().map_err(|source| Error::io(Path::new("sh"), source))?;
        if status.is_some() || Instant::now() >= deadline {
            return Ok(status);
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}

/// A port that nobody listens on, from below the range of ports for outgoing connections. While a server is down, a client that tries to
/// reach it must not get this very port for its own end of a connection. So a server that is started again and again takes its port from
/// here.
pub fn free_port() -> Option<u16> {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    (0..100).find_map(|_| {
        let random = uuid::Uuid::new_v4().as_u128() % u128::from(COUNT);
        let port = FIRST + u16::try_from(random).expect("the remainder is below COUNT");
        is_free(port).then_some(port)
    })
}

/// Whether a server could listen on the port at this moment.
pub fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

/// The end of the log, for an error message.
fn tail(log: &Path) -> String {
    const LINES: usize = 20;
    let text = fs::read(log)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(LINES)..];
    format!("The end of {}:\n{}", log.display(), last.join("\n"))
}
