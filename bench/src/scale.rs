//! How much to measure.

use std::time::Duration;

#[derive(Debug, Clone)]
pub(crate) struct Scale {
    pub(crate) name: &'static str,
    pub(crate) rounds: usize,
    /// The duration of one side of one round, if throughput is measured.
    pub(crate) round: Duration,
    /// The calls of each side in one round, if times are measured.
    pub(crate) calls: usize,
    /// How many home timelines are read.
    pub(crate) readers: usize,
    /// The followers of the author with a large audience.
    pub(crate) famous: usize,
    /// The followers of the author whose posts are fanned out.
    pub(crate) audience: usize,
    /// How many posts are fanned out in one round.
    pub(crate) fanned_out: usize,
    pub(crate) followees: usize,
    /// How many posts are stored besides those that are read: few, and many.
    pub(crate) stored: (usize, usize),
    /// How long posts are written and waited for.
    pub(crate) freshness: Duration,
    /// The posts of one round, if they are written as fast as they are answered.
    pub(crate) posts: usize,
    /// How many streams are open while posts are written, and how many that are idle.
    pub(crate) sockets: usize,
    pub(crate) idle_sockets: usize,
    /// How long posts are written while streams are open.
    pub(crate) live: Duration,
    /// The duration of one step of the rising load.
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
            posts: 2_000,
            sockets: 1_000,
            idle_sockets: 4_000,
            live: Duration::from_secs(20),
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
            posts: 640,
            sockets: 200,
            idle_sockets: 1_000,
            live: Duration::from_secs(5),
            step: Duration::from_secs(2),
        }
    }
}
