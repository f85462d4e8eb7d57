//! What the program tells whoever watches it: one line an action, with the time since the start.

use std::fmt::Display;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A line at the left margin.
#[expect(clippy::print_stdout, reason = "its log is what this program is watched by")]
pub(crate) fn say(text: impl Display) {
    println!("[{:6.1}] {text}", BEGUN.elapsed().as_secs_f64());
}

/// Something longer, as another program printed it: indented, without empty lines.
#[expect(clippy::print_stdout, reason = "its log is what this program is watched by")]
pub(crate) fn quote(text: &str) {
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        println!("             {line}");
    }
}

/// `12.3 s`, or `0.123 s` where that would say nothing.
pub(crate) fn seconds(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 1.0 {
        format!("{seconds:.3} s")
    } else {
        format!("{seconds:.1} s")
    }
}
