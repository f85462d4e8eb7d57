//! The processes: the bus, and the hub that listens to it.

use super::stream::{Item, Stream};
use super::{Cursor, Deed, Handled, Id, Live, Mutation, Position, Set, State, bit, members};

/// `bus::Change`: what is written, in the order in which it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Change {
    Row(Position),
    Checkpoint { author: usize, position: Position },
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) enum Bus {
    Closed,
    /// One of two things is done: the change stream is open, or the checkpoints are read.
    Opening(Option<Handled>),
    #[default]
    Open,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Process {
    bus: Bus,
    /// What was written since the bus was opened, and was not heard yet.
    changes: Vec<Change>,
    /// What the bus has shown.
    pub(super) handled: Handled,
    /// `hub::State::pending`
    pending: Set,
    /// The highest id that was handed out. Zero, unless a mutation needs it.
    top: Id,
}

impl Process {
    pub(super) fn is_open(&self) -> bool {
        self.bus == Bus::Open
    }

    pub(super) fn has_something_to_hear(&self) -> bool {
        self.is_open() && !self.changes.is_empty()
    }

    pub(super) fn has_yet_to_hear(&self, position: Position) -> bool {
        self.changes.contains(&Change::Row(position))
    }

    pub(super) fn has_heard_all(&self) -> bool {
        self.is_open() && self.changes.is_empty()
    }

    /// What a client knows that has received everything: `Hub::cursor`.
    pub(super) fn cursor(&self) -> Cursor {
        Cursor {
            handled: self.handled,
            highest: self.top,
        }
    }

    /// What a read model of this process holds: `Positions::handled`.
    pub(super) fn positions(&self, mutation: Mutation) -> Handled {
        let mut handled = self.handled;
        if mutation == Mutation::HubHearsLater {
            for change in &self.changes {
                if let &Change::Checkpoint { author, position } = change {
                    handled[author] = position;
                }
            }
        }
        handled
    }

    fn records(&self) -> bool {
        matches!(self.bus, Bus::Opening(None) | Bus::Open)
    }
}

impl State {
    /// Something is written: every open change stream will show it.
    pub(super) fn show(&mut self, change: Change) {
        let open = self.processes.iter_mut().filter(|process| process.records());
        open.for_each(|process| process.changes.push(change));
    }

    pub(super) fn break_bus(&mut self, process: usize, mutation: Mutation) {
        self.left.breaks -= 1;
        let broken = &mut self.processes[process];
        broken.bus = Bus::Closed;
        broken.changes.clear();
        broken.pending = 0;
        if mutation != Mutation::BreakCutsNothing {
            self.cut(process);
        }
    }

    /// First the change stream is opened, then the checkpoints are read.
    pub(super) fn open_bus(&mut self, process: usize, mutation: Mutation) {
        let checkpoints = self.checkpoints();
        let opened = &mut self.processes[process];
        opened.bus = match opened.bus {
            Bus::Closed => Bus::Opening((mutation == Mutation::CheckpointsBeforeOpening).then_some(checkpoints)),
            Bus::Opening(read) => {
                let begin = read.unwrap_or(checkpoints);
                opened.handled = std::array::from_fn(|author| opened.handled[author].max(begin[author]));
                // Memory is empty until then, and what is loaded later contains them.
                let log = &self.log;
                let is_denial = |position: Position| log[usize::from(position) - 1].deed == Deed::Deny;
                opened
                    .changes
                    .retain(|change| !matches!(*change, Change::Row(position) if is_denial(position)));
                Bus::Open
            }
            Bus::Open => Bus::Open,
        };
    }

    pub(super) fn hear(&mut self, process: usize, live: &Live) {
        let hub = &mut self.processes[process];
        match hub.changes.remove(0) {
            Change::Row(position) => match self.event(position).deed {
                Deed::Post { .. } | Deed::Repost { .. } if live.mutation == Mutation::ReleasedAtTheRow => {
                    self.hand_out(process, bit(position), self.processes[process].cursor(), live);
                }
                Deed::Post { .. } | Deed::Repost { .. } => {
                    let registered = self.stream_at(process).is_some_and(|stream| stream.registered);
                    if registered || !live.alone {
                        self.processes[process].pending |= bit(position);
                    }
                }
                Deed::Follow | Deed::Unfollow if live.mutation != Mutation::FollowCutsNothing => self.cut(process),
                Deed::Follow | Deed::Unfollow | Deed::Deny => {}
            },
            Change::Checkpoint { author, position } => {
                let before = hub.cursor();
                hub.handled[author] = hub.handled[author].max(position);
                let (handled, pending) = (hub.handled, hub.pending);
                let is_covered = |position: Position| match live.mutation {
                    Mutation::OnePartition => position <= handled[self.event(position).author],
                    _ => self.covers(&handled, position),
                };
                let released = members(pending).filter(|&position| is_covered(position));
                let released = released.fold(0, |set, position| set | bit(position));
                self.processes[process].pending &= !released;
                self.hand_out(process, released, before, live);
            }
        }
    }

    /// The last of these posts has the cursor that covers them all. A client that leaves in the middle gets the others again.
    fn hand_out(&mut self, process: usize, released: Set, before: Cursor, live: &Live) {
        if matches!(live.mutation, Mutation::HighestIdOnly | Mutation::NothingKnownAbove) {
            let highest = members(released).filter_map(|position| self.id(position)).max();
            let top = &mut self.processes[process].top;
            *top = highest.unwrap_or_default().max(*top);
        }
        let after = self.processes[process].cursor();
        let last = members(released).last();
        for position in members(released) {
            let covers_all = Some(position) == last || live.mutation == Mutation::CursorOfTheBatch;
            let item = Item {
                position,
                cursor: if covers_all { after } else { before },
            };
            let author = self.event(position).author;
            if let Some(stream) = self.stream_at(process) {
                stream.put(item, author, live);
            }
        }
    }

    pub(super) fn stream_at(&mut self, process: usize) -> Option<&mut Stream> {
        self.client.stream.as_mut().filter(|stream| stream.process == process)
    }

    fn cut(&mut self, process: usize) {
        if let Some(stream) = self.stream_at(process) {
            stream.cut();
        }
    }
}
