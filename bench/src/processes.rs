//! The programs as the operating system sees them (Linux).

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};

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

/// The resident memory of a process, in MB (10^6 bytes).
pub(crate) fn resident_mb(process: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: f64 = line
        .and_then(|line| line.trim().strip_suffix(" kB"))
        .context("the kernel does not report VmRSS")?
        .parse()?;
    Ok(kib * 1_024.0 / 1e6)
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
