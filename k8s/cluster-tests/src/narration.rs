//! The output of the program: one line for each action, with the time since the start.

use std::fmt::Display;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Prints a line at the left margin.
#[expect(clippy::print_stdout, reason = "this program writes its log to standard output")]
pub(crate) fn say(text: impl Display) {
    println!("[{:6.1}] {text}", BEGUN.elapsed().as_secs_f64());
}

/// Prints a longer output of another program, indented and without empty lines.
#[expect(clippy::print_stdout, reason = "this program writes its log to standard output")]
pub(crate) fn quote(text: &str) {
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        println!("             {line}");
    }
}

/// `12.3 s`, or `0.123 s` for less than a second.
pub(crate) fn seconds(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 1.0 {
        format!("{seconds:.3} s")
    } else {
        format!("{seconds:.1} s")
    }
}
