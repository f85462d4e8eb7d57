//! The programs as the operating system sees them (Linux).

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Resource, Signal, getrlimit, kill_process, setrlimit};

const ENDS_WITHIN: Duration = Duration::from_secs(60);
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// A program that is killed when this value is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    pub(crate) name: &'static str,
    /// Host and port.
    pub(crate) address: String,
}

impl Process {
    pub(crate) fn start(mut command: Command, name: &'static str, address: String, log: fs::File) -> Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("{name} could not be started"))?;
        Ok(Self { child, name, address })
    }

    /// Ends it at once. Its remaining work is not needed any more.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to end, as Ctrl-C does, and waits for that.
    pub(crate) async fn interrupt(&mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::INT)?;
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                ensure!(status.success(), "{} ended with {status}", self.name);
                return Ok(());
            }
            ensure!(begun.elapsed() < ENDS_WITHIN, "{} does not end", self.name);
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended by itself, which is an error.
    pub(crate) fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Its remaining work is not needed any more. It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A part of the memory of a process, in KiB: `RssAnon` is what it has allocated, `VmRSS` also has the pages of its program.
pub(crate) fn memory_kib(process: u32, part: &str) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(part)?.strip_prefix(':'));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(kib
        .with_context(|| format!("the kernel does not report {part}"))?
        .parse()?)
}

/// The same in MB (10^6 bytes).
pub(crate) fn memory_mb(process: u32, part: &str) -> Result<f64> {
    Ok(memory_kib(process, part)? * 1_024.0 / 1e6)
}

/// Lets this process, and those that it starts from now on, open as many files as the system allows. Returns how many.
pub(crate) fn allow_open_files() -> Result<u64> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    Ok(limit.current.unwrap_or(u64::MAX))
}

/// How long a process has kept processors busy.
pub(crate) fn busy(process: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name is in parentheses and can contain anything.
    let (_, fields) = stat.rsplit_once(')').context("a line of /proc/*/stat")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |at: usize| -> Result<u64> { Ok(fields.get(at).context("utime and stime")?.parse()?) };
    // Every Linux counts a hundred ticks a second (USER_HZ).
    Ok(Duration::from_millis(10 * (ticks(11)? + ticks(12)?)))
}
