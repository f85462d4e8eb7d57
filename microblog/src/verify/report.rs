//! The result of `verify`.

use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

/// The result of one run.
#[derive(Debug)]
pub struct Report {
    pub users: u64,
    /// How many posts were read completely, and the seed that chose them.
    pub posts: u64,
    pub seed: u64,
    pub events: u64,
    /// Compared items, over all lists.
    pub items: u64,
    pub pages: u64,
    pub differences: Vec<Finding>,
    /// Differences that say nothing, because what they are about changed during the run.
    pub in_motion: u64,
    /// There were so many differences that the rest was not compared.
    pub gave_up: bool,
    /// Events that an operator discarded, and that count as if they had never happened.
    pub discarded: u64,
    /// Events that are dead letters and that wait for a decision.
    pub waiting_letters: u64,
    pub took: Duration,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which list, and whose.
    pub place: String,
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

impl Report {
    /// Prints every difference (up to `limit` of them), then the summary.
    pub fn print(&self, out: &mut impl Write, limit: usize) -> io::Result<()> {
        for difference in self.differences.iter().take(limit) {
            writeln!(out, "{difference}")?;
        }
        if self.differences.len() > limit {
            writeln!(out, "… and {} more", self.differences.len() - limit)?;
        }
        let seconds = self.took.as_secs_f64();
        writeln!(
            out,
            "{} differences: {} users, {} posts, {} events, {} items on {} pages compared in {seconds:.1} s (--seed {})",
            self.differences.len(),
            self.users,
            self.posts,
            self.events,
            self.items,
            self.pages,
            self.seed,
        )?;
        if self.gave_up {
            writeln!(out, "So much differs that the rest was not compared.")?;
        }
        if self.in_motion > 0 {
            writeln!(
                out,
                "{} places were not compared, because events that affect them were written during the run.",
                self.in_motion
            )?;
        }
        if self.discarded > 0 {
            writeln!(
                out,
                "{} events are discarded dead letters and count as if they had never happened.",
                self.discarded
            )?;
        }
        if self.waiting_letters > 0 {
            writeln!(
                out,
                "{} events wait as dead letters, which may be the cause; see `microblog dead-letters list`.",
                self.waiting_letters
            )?;
        }
        Ok(())
    }
}
