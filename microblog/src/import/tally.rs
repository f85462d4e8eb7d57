//! What is done so far: how much was accepted, what was refused and why, and where a later run continues.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What an import sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    User,
    Follow,
    Post,
    /// A user in a list.
    Listed,
    Tag,
    Mute,
    Block,
    Bookmark,
}

impl Kind {
    /// What the summary calls them.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::User => "users",
            Kind::Follow => "follows",
            Kind::Post => "posts",
            Kind::Listed => "in lists",
            Kind::Tag => "followed tags",
            Kind::Mute => "mutes",
            Kind::Block => "blocks",
            Kind::Bookmark => "bookmarks",
        }
    }
}

/// The result of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Accepted(Kind),
    Refused(Kind, Refusal),
}

impl Outcome {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Outcome::Accepted(kind) | Outcome::Refused(kind, _) => *kind,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// What many refusals have in common, as a heading.
    pub(super) reason: String,
    /// Where it happened, and the exact reason.
    pub(super) example: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RefusedFor {
    pub(super) count: u64,
    pub(super) first: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tally {
    pub(super) accepted: BTreeMap<Kind, u64>,
    pub(super) refused: BTreeMap<Kind, BTreeMap<String, RefusedFor>>,
}

impl Tally {
    pub(super) fn note(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Accepted(kind) => *self.accepted.entry(kind).or_default() += 1,
            Outcome::Refused(kind, Refusal { reason, example }) => {
                let entry = self.refused.entry(kind).or_default().entry(reason);
                entry
                    .or_insert(RefusedFor {
                        count: 0,
                        first: example,
                    })
                    .count += 1;
            }
        }
    }

    pub(super) fn accepted(&self, kind: Kind) -> u64 {
        self.accepted.get(&kind).copied().unwrap_or(0)
    }

    pub(super) fn refused(&self, kind: Kind) -> u64 {
        self.refused
            .get(&kind)
            .map_or(0, |reasons| reasons.values().map(|reason| reason.count).sum())
    }

    pub(super) fn refused_in_all(&self) -> u64 {
        self.refused
            .values()
            .flat_map(BTreeMap::values)
            .map(|reason| reason.count)
            .sum()
    }
}

/// Items finish in any order. A later run may skip only the items from the beginning up to the first that is not finished.
#[derive(Debug, Default)]
pub(super) struct Prefix {
    done: u64,
    tally: Tally,
    ahead: BTreeMap<u64, Outcome>,
}

impl Prefix {
    /// Continues where an earlier run stopped.
    pub(super) fn resume(done: u64, tally: Tally) -> Self {
        Self {
            done,
            tally,
            ahead: BTreeMap::new(),
        }
    }

    pub(super) fn finish(&mut self, number: u64, outcome: Outcome) {
        self.ahead.insert(number, outcome);
        while let Some(outcome) = self.ahead.remove(&self.done) {
            self.tally.note(outcome);
            self.done += 1;
        }
    }

    /// How many items from the beginning are finished, and their results.
    pub(super) fn done(&self) -> (u64, &Tally) {
        (self.done, &self.tally)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(reason: &str, example: &str) -> Outcome {
        Outcome::Refused(
            Kind::Post,
            Refusal {
                reason: reason.to_owned(),
                example: example.to_owned(),
            },
        )
    }

    #[test]
    fn only_what_has_no_gap_before_it_counts_as_done() {
        let mut prefix = Prefix::default();
        prefix.finish(1, Outcome::Accepted(Kind::Follow));
        prefix.finish(2, refused("too long", "line 2"));
        assert_eq!(prefix.done(), (0, &Tally::default()));
        prefix.finish(0, Outcome::Accepted(Kind::Post));
        let (done, tally) = prefix.done();
        assert_eq!(
            (done, tally.accepted(Kind::Follow), tally.accepted(Kind::Post)),
            (3, 1, 1)
        );
        assert_eq!(tally.refused_in_all(), 1);
    }

    #[test]
    fn a_resumed_prefix_goes_on_counting() {
        let mut prefix = Prefix::resume(7, Tally::default());
        prefix.finish(8, Outcome::Accepted(Kind::Post));
        prefix.finish(7, Outcome::Accepted(Kind::Post));
        assert_eq!(prefix.done().0, 9);
    }

    #[test]
    fn refusals_are_counted_by_reason_with_the_first_as_example() {
        let mut tally = Tally::default();
        tally.note(refused("too long", "line 3"));
        tally.note(refused("too long", "line 9"));
        tally.note(refused("empty", "line 4"));
        assert_eq!(
            tally.refused[&Kind::Post]["too long"],
            RefusedFor {
                count: 2,
                first: "line 3".to_owned()
            }
        );
        assert_eq!((tally.refused(Kind::Post), tally.refused(Kind::User)), (3, 0));
    }
}
