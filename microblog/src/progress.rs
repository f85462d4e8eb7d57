//! Progress bars with rate and ETA on a terminal. Elsewhere, a line at intervals.

use std::fmt;
use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

const TEMPLATE: &str = "{prefix:>10} {wide_bar} {human_pos}/{human_len} {per_sec} ETA {eta} {msg}";
/// How often a line is written if there is no terminal.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

/// The progress bars of one command.
#[derive(Debug)]
pub(crate) struct Progress {
    bars: MultiProgress,
    lines: bool,
    silent: bool,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let terminal = std::io::stderr().is_terminal();
        let target = if terminal {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        Self {
            bars: MultiProgress::with_draw_target(target),
            lines: !terminal,
            silent: false,
        }
    }

    /// Shows nothing. For callers that are not the command line.
    pub(crate) fn silent() -> Self {
        Self {
            bars: MultiProgress::with_draw_target(ProgressDrawTarget::hidden()),
            lines: false,
            silent: true,
        }
    }

    /// A bar that begins at `done`, the point that an earlier run reached.
    pub(crate) fn bar(&self, name: &'static str, total: u64, done: u64) -> Bar {
        let style = ProgressStyle::with_template(TEMPLATE)
            .expect("the template is well-formed")
            .progress_chars("##-");
        let bar = self
            .bars
            .add(ProgressBar::new(total).with_style(style).with_prefix(name));
        bar.set_position(done);
        // The work of an earlier run must not count in the rate of this run.
        bar.reset_eta();
        bar.enable_steady_tick(Duration::from_millis(250));
        Bar {
            bar,
            name,
            begun: Instant::now(),
            from: done,
            told: self.lines.then(|| Mutex::new(Instant::now())),
        }
    }

    /// Prints a line above the bars.
    pub(crate) fn say(&self, line: impl fmt::Display) {
        if !self.silent {
            self.bars.suspend(|| tell(line));
        }
    }
}

/// One bar.
#[derive(Debug)]
pub(crate) struct Bar {
    bar: ProgressBar,
    name: &'static str,
    begun: Instant,
    from: u64,
    told: Option<Mutex<Instant>>,
}

impl Bar {
    pub(crate) fn advance(&self) {
        self.bar.inc(1);
        self.line(false);
    }

    pub(crate) fn set(&self, done: u64, total: u64) {
        self.bar.set_length(total);
        self.bar.set_position(done);
        self.line(false);
    }

    pub(crate) fn message(&self, message: impl Into<String>) {
        self.bar.set_message(message.into());
    }

    /// Leaves the bar as it is.
    pub(crate) fn end(&self) {
        self.bar.abandon();
        self.line(true);
    }

    fn line(&self, now: bool) {
        let Some(told) = &self.told else { return };
        let mut told = told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !now && told.elapsed() < BETWEEN_LINES {
            return;
        }
        *told = Instant::now();
        let (done, total) = (self.bar.position(), self.bar.length().unwrap_or(0));
        let rate = done.saturating_sub(self.from) as f64 / self.begun.elapsed().as_secs_f64().max(0.001);
        let eta = total.saturating_sub(done) as f64 / rate.max(0.001);
        let percent = (done * 100).checked_div(total).unwrap_or(100);
        tell(format_args!(
            "{:>10} {done}/{total} ({percent} %) {rate:.0}/s ETA {eta:.0} s {}",
            self.name,
            self.bar.message()
        ));
    }
}

/// Writes a line to standard error. A closed pipe does not end the program.
pub(crate) fn tell(line: impl fmt::Display) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}
