//! The process that does what follows from events, and the deletion sweep.

use super::{FOLLOWEE, FOLLOWER, Mutation, Relation, State};

/// The event that the process looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// `Block::ends` is the version in `named`.
    Blocked {
        by: usize,
        named: u8,
    },
    Unprotected,
    Deleted {
        user: usize,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Look {
    First,
    Second,
}

/// `consequences::Item`, or `sweep::Item`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Item {
    pub(super) kind: Kind,
    pub(super) look: Look,
}

/// A look under way, and what it has read so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Work {
    item: usize,
    look: Look,
    kind: Kind,
    follow: Option<(u8, Relation)>,
    /// Whether the block is active, or the account is open.
    other: Option<bool>,
}

impl Work {
    pub(super) fn item(&self) -> usize {
        self.item
    }
}

impl State {
    /// `noting::Notes::handle`
    pub(super) fn note(&mut self, kind: Kind) {
        for command in self.commands.iter_mut().flatten() {
            command.missed |= 1 << self.noted;
        }
        self.items[self.noted] = Some(Item {
            kind,
            look: Look::First,
        });
        self.noted += 1;
    }

    /// The second look waits for `Sweep::settle_after`, which is longer than a command lives.
    pub(super) fn is_due(&self, item: usize, mutation: Mutation) -> bool {
        let under_way = self.commands.iter().flatten();
        match self.items[item].map(|item| item.look) {
            None => false,
            Some(Look::First) => true,
            Some(Look::Second) if mutation == Mutation::SecondLookTooEarly => true,
            Some(Look::Second) => under_way.clone().all(|command| command.missed & 1 << item == 0),
        }
    }

    pub(super) fn look(&mut self, worker: usize, item: usize) {
        let Item { kind, look } = self.items[item].unwrap();
        self.workers[worker] = Some(Work {
            item,
            look,
            kind,
            follow: None,
            other: None,
        });
    }

    /// The next step of `Consequences::end_follows`, `Consequences::accept`, or `Retractions`.
    pub(super) fn work(&mut self, worker: usize, mutation: Mutation) {
        let follow = (self.follow.version, self.follow.relation);
        let other_first = matches!(mutation, Mutation::BlockBeforeFollow | Mutation::AccountBeforeFollow);
        let mut work = self.workers[worker].unwrap();
        let other = match work.kind {
            Kind::Blocked { by, .. } => self.blocks[by] || mutation == Mutation::EndsAfterUnblock,
            Kind::Unprotected => {
                let open = !self.protected && !self.deleted[FOLLOWEE];
                open || mutation == Mutation::AcceptsWithoutLooking
            }
            Kind::Deleted { .. } => {
                self.sweep(mutation);
                return self.complete(worker, mutation);
            }
        };
        match (work.follow, work.other) {
            (None, Some(_)) => work.follow = Some(follow),
            (None, None) if !other_first => work.follow = Some(follow),
            (_, None) => work.other = Some(other),
            (Some(read), Some(other)) if read.0 == self.follow.version => {
                self.decide(work.kind, read, other, mutation);
                return self.complete(worker, mutation);
            }
            // The append conflicts, or finds nothing to do: the command decides again.
            (Some(_), Some(_)) => (work.follow, work.other) = (None, None),
        }
        self.workers[worker] = Some(work);
    }

    fn decide(&mut self, kind: Kind, (version, relation): (u8, Relation), other: bool, mutation: Mutation) {
        match kind {
            Kind::Blocked { named, .. } if relation != Relation::None => {
                let is_named = version <= named && mutation != Mutation::NamesNothing;
                if is_named || other {
                    self.ended_wrongly |= self.follow.unblocked && version > named;
                    self.append(Relation::None);
                }
            }
            Kind::Unprotected if other && relation == Relation::Requested => {
                self.accepted_wrongly |= !self.follow.open;
                self.append(Relation::Following);
            }
            _ => {}
        }
    }

    /// Each of these commands reads and writes one stream, so it is one step.
    fn sweep(&mut self, mutation: Mutation) {
        let leaves = mutation == Mutation::SweepLeavesRequests && self.follow.relation == Relation::Requested;
        if self.follow.relation != Relation::None && !leaves {
            self.append(Relation::None);
        }
        self.blocks = [FOLLOWER, FOLLOWEE].map(|_| false);
    }

    /// `Items::look_again` and `Items::remove`. Their guards leave alone what another process has completed.
    fn complete(&mut self, worker: usize, mutation: Mutation) {
        let work = self.workers[worker].take().unwrap();
        let item = &mut self.items[work.item];
        if item.is_some_and(|item| item.look == work.look) {
            *item = match work.look {
                Look::First if mutation != Mutation::OneLook => Some(Item {
                    kind: work.kind,
                    look: Look::Second,
                }),
                Look::First | Look::Second => None,
            };
        }
    }
}
