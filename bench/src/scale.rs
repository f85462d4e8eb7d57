//! How much is measured.

use std::time::Duration;

#[derive(Debug, Clone)]
pub(crate) struct Scale {
    pub(crate) name: &'static str,
    pub(crate) rounds: usize,
    /// One side of one round, where throughput is measured.
    pub(crate) round: Duration,
    /// Calls of each side in one round, where times are measured.
    pub(crate) calls: usize,
    /// Home timelines that are read.
    pub(crate) readers: usize,
    /// Followers of the one with a large audience.
    pub(crate) famous: usize,
    /// Followers of the one whose posts are fanned out.
    pub(crate) audience: usize,
    /// Posts that are fanned out in one round.
    pub(crate) fanned_out: usize,
    pub(crate) followees: usize,
    /// Posts that are stored beside those that are read: a few, and many.
    pub(crate) stored: (usize, usize),
    /// How long posts are written and waited for.
    pub(crate) freshness: Duration,
    /// One step of the rising load.
    pub(crate) step: Duration,
}

impl Scale {
    pub(crate) fn full() -> Self {
        Self {
            name: "full",
            rounds: 7,
            round: Duration::from_secs(4),
            calls: 200,
            readers: 1_000,
            famous: 1_000_000,
            audience: 9_000,
            fanned_out: 10,
            followees: 10_000,
            stored: (10_000, 1_000_000),
            freshness: Duration::from_secs(20),
            step: Duration::from_secs(6),
        }
    }

    pub(crate) fn quick() -> Self {
        Self {
            name: "quick",
            rounds: 3,
            round: Duration::from_millis(1_500),
            calls: 60,
            readers: 300,
            famous: 100_000,
            audience: 4_000,
            fanned_out: 5,
            followees: 10_000,
            stored: (10_000, 100_000),
            freshness: Duration::from_secs(6),
            step: Duration::from_secs(2),
        }
    }
}
