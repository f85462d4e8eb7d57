//! Other writes to a home timeline: the trim, the upkeep that marks owners idle, and the owner's visits.

use super::{Id, Mutation, Set, State, TICK, WINDOW, members};

/// A check of the timeline's length: `HomeTimelines::trim`.
///
/// In the code it follows some insertions, at random. Here it begins at any time. Its delay is not modelled, because pages are read in
/// one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Trim {
    Nothing,
    /// The header has no `trim_below`. Next: `HomeTimelines::end_of_window`.
    Measure {
        floor: Id,
    },
    /// Next: the floor and `trim_below` are written together.
    Mark {
        below: Id,
    },
    /// The header has `trim_below`. Next: `HomeTimelines::remove_below` removes the entries below it.
    Remove {
        below: Id,
    },
    /// Next: it removes `trim_below`.
    Unmark {
        below: Id,
    },
}

/// `HomeTimelines::mark_idle`, after it has asked who has not read for long. Any owner may be among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Upkeep {
    Nothing,
    /// `visited`: the owner has visited since, and the guard will refuse the write.
    Mark {
        visited: bool,
    },
}

/// The owner reads: `Home::look`, after it has read the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Visit {
    Nothing,
    /// The owner is not idle. Next: `HomeTimelines::note_visit`.
    Note,
    /// The owner is idle. Next: `HomeTimelines::wake`, with the time at which the visit began.
    Wake {
        now: u8,
    },
}

impl State {
    pub(super) fn may_trim(&self) -> bool {
        self.trim != Trim::Nothing
            || (self.left.trims > 0 && (self.home.trim_below.is_some() || self.end_of_window().is_some()))
    }

    pub(super) fn trim(&mut self, mutation: Mutation) {
        self.trim = match self.trim {
            Trim::Nothing => {
                self.left.trims -= 1;
                match self.home.trim_below {
                    Some(below) => Trim::Remove { below },
                    None => Trim::Measure { floor: self.home.floor },
                }
            }
            Trim::Measure { floor } => match self.end_of_window() {
                Some(end) if mutation == Mutation::TrimmedBeforeTheFloorIsRaised => {
                    Trim::Remove { below: floor.max(end) }
                }
                Some(end) => Trim::Mark { below: floor.max(end) },
                None => Trim::Nothing,
            },
            Trim::Mark { below } => {
                if self.home.trim_below.is_none() {
                    self.home.trim_below = Some(below);
                    self.home.floor = self.home.floor.max(below);
                }
                Trim::Nothing
            }
            Trim::Remove { below } => {
                let old = members(self.home.entries).filter(|&post| self.posts[post].id <= below);
                self.home.entries &= !old.map(|post| 1 << post).sum::<Set>();
                match mutation {
                    Mutation::TrimmedBeforeTheFloorIsRaised => Trim::Mark { below },
                    _ => Trim::Unmark { below },
                }
            }
            Trim::Unmark { below } => {
                if self.home.trim_below == Some(below) {
                    self.home.trim_below = None;
                }
                Trim::Nothing
            }
        };
    }

    /// `HomeTimelines::end_of_window`.
    fn end_of_window(&self) -> Option<Id> {
        let mut ids: Vec<Id> = members(self.home.entries).map(|post| self.posts[post].id).collect();
        ids.sort_unstable_by_key(|&id| std::cmp::Reverse(id));
        (ids.len() > 2 * WINDOW).then(|| ids[WINDOW])
    }

    pub(super) fn may_mark_idle(&self) -> bool {
        self.upkeep != Upkeep::Nothing || (self.left.absences > 0 && !self.home.idle)
    }

    pub(super) fn mark_idle(&mut self) {
        self.upkeep = match self.upkeep {
            Upkeep::Nothing => {
                self.left.absences -= 1;
                Upkeep::Mark { visited: false }
            }
            Upkeep::Mark { visited } => {
                self.home.idle |= !visited;
                Upkeep::Nothing
            }
        };
    }

    pub(super) fn visit(&mut self, margin: u8) {
        match self.visit {
            Visit::Nothing => {
                self.left.visits -= 1;
                self.visit = if self.home.idle {
                    Visit::Wake { now: self.created }
                } else {
                    Visit::Note
                };
                return;
            }
            Visit::Wake { now } if self.home.idle => {
                self.home.idle = false;
                self.home.floor = self.home.floor.max((now + margin) * TICK);
            }
            // Another request has noted the visit that ended the idleness.
            Visit::Wake { .. } | Visit::Note => {}
        }
        self.visit = Visit::Nothing;
        if let Upkeep::Mark { visited } = &mut self.upkeep {
            *visited = true;
        }
    }
}
