//! Leases to take over from owners that live: their events are kept until then, so that nobody waits for a stream to be opened.
//!
//! The owner goes on until the lease is another's. By then the stream of who takes it over has shown everything above the lease's
//! checkpoint, and what it has shown lies here: checkpoints never go back, and the stream was opened at an earlier one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::watch;

use super::leases::Lease;
use crate::event_store::RecordedEvent;
use crate::ids::Partition;
use crate::position::Position;

/// The partitions whose leases can be taken over now.
pub(super) type Prepared = BTreeSet<Partition>;

/// An event that the stream has shown.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    pub(super) event: Arc<RecordedEvent>,
    pub(super) position: Position,
    /// What the stream showed right before.
    pub(super) previous: Position,
}

#[derive(Debug)]
struct Candidate {
    /// What the stream has shown up to here is kept.
    kept: Position,
    /// A stream that began at `kept` or below was opened.
    covered: bool,
    shown: Vec<Shown>,
}

impl Candidate {
    /// Nothing is kept: whoever takes it over opens a stream, or scans the event store.
    const COLD: Self = Self {
        kept: Position::ORIGIN,
        covered: false,
        shown: Vec::new(),
    };

    fn is_cold(&self) -> bool {
        self.kept == Position::ORIGIN
    }
}

/// The leases that the keeper wants, and what the stream has shown of them.
#[derive(Debug)]
pub(super) struct Candidates {
    all: BTreeMap<Partition, Candidate>,
    /// The most events of one partition that are kept.
    most: usize,
    prepared: watch::Sender<Prepared>,
}

impl Candidates {
    pub(super) fn new(most: usize, prepared: watch::Sender<Prepared>) -> Self {
        Self {
            all: BTreeMap::new(),
            most,
            prepared,
        }
    }

    /// Prepares these leases from now on, and no others.
    pub(super) fn want(&mut self, leases: &[Lease]) {
        let mut before = std::mem::take(&mut self.all);
        for lease in leases {
            let new = Candidate {
                kept: lease.position,
                ..Candidate::COLD
            };
            let candidate = before.remove(&lease.partition).unwrap_or(new);
            self.all.insert(lease.partition, candidate);
        }
        self.tell();
    }

    /// Whether a stream is to be opened for some of them.
    pub(super) fn want_a_stream(&self) -> bool {
        self.all
            .values()
            .any(|candidate| !candidate.covered && !candidate.is_cold())
    }

    /// What a stream has to show, and from where on.
    pub(super) fn needs(&self) -> impl Iterator<Item = (Partition, Position)> {
        let warm = self.all.iter().filter(|(_, candidate)| !candidate.is_cold());
        warm.map(|(&partition, candidate)| (partition, candidate.kept))
    }

    /// A stream was opened that shows everything of these partitions above `start`.
    pub(super) fn stream_opened(&mut self, start: Position, partitions: &[Partition]) {
        for (partition, candidate) in &mut self.all {
            candidate.covered |= start <= candidate.kept && partitions.contains(partition);
        }
        self.tell();
    }

    /// The stream shows an event.
    pub(super) fn show(&mut self, shown: Shown) {
        let Some(candidate) = self.all.get_mut(&shown.event.partition) else {
            return;
        };
        if !candidate.covered || shown.position <= candidate.kept {
            return;
        }
        if candidate.shown.len() >= self.most {
            // It is taken over by now, or the database does not let us.
            *candidate = Candidate::COLD;
        } else {
            candidate.kept = shown.position;
            candidate.shown.push(shown);
        }
    }

    /// The oplog has rolled over: no stream shows what any of them needs.
    pub(super) fn begin_anew(&mut self) {
        self.all.values_mut().for_each(|candidate| *candidate = Candidate::COLD);
        self.tell();
    }

    /// The lease of this partition was taken: what the stream has shown of it, or none if there is more that it has not.
    pub(super) fn taken(&mut self, partition: Partition) -> Option<Vec<Shown>> {
        let candidate = self.all.remove(&partition)?;
        candidate.covered.then_some(candidate.shown)
    }

    fn tell(&self) {
        let ready = |candidate: &Candidate| candidate.covered || candidate.is_cold();
        let prepared: Prepared = self
            .all
            .iter()
            .filter(|(_, candidate)| ready(candidate))
            .map(|(&partition, _)| partition)
            .collect();
        self.prepared.send_if_modified(|told| {
            let other = *told != prepared;
            *told = prepared;
            other
        });
    }
}
