//! The events, the rows that the projector makes of them, and how far it is.

use super::hub::Change;
use super::{Cursor, Deed, Event, FOLLOWED, Handled, Id, Mutation, OTHER, Position, State};

/// How far the events of an author have come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Lane {
    /// The rows of the author's events up to here are committed.
    pub(super) rows: Position,
    /// The entries too.
    pub(super) entries: Position,
    pub(super) checkpoint: Position,
}

impl State {
    /// The position of the last event.
    pub(super) fn now(&self) -> Position {
        u8::try_from(self.log.len()).unwrap()
    }

    pub(super) fn event(&self, position: Position) -> Event {
        self.log[usize::from(position) - 1]
    }

    /// The id of a post or repost.
    pub(super) fn id(&self, position: Position) -> Option<Id> {
        match self.event(position).deed {
            Deed::Post { id } | Deed::Repost { id, .. } => Some(id),
            Deed::Follow | Deed::Unfollow | Deed::Deny => None,
        }
    }

    /// The author of what is shown: of a repost, of the original.
    pub(super) fn origin(&self, position: Position) -> (usize, Position) {
        match self.event(position) {
            Event {
                deed: Deed::Repost { of, .. },
                ..
            } => (OTHER, of),
            event => (event.author, position),
        }
    }

    pub(super) fn write(&mut self, event: Event) {
        match event.deed {
            Deed::Post { .. } => self.left.posts[event.author] -= 1,
            Deed::Repost { .. } => self.left.reposts -= 1,
            Deed::Follow | Deed::Unfollow => self.left.follows -= 1,
            Deed::Deny => self.left.denials[event.author] -= 1,
        }
        self.log.push(event);
    }

    /// The first event of an author whose row is not committed.
    pub(super) fn next_of(&self, author: usize) -> Option<Position> {
        self.next_after(author, self.lanes[author].rows)
    }

    fn next_after(&self, author: usize, position: Position) -> Option<Position> {
        (position + 1..=self.now()).find(|&next| self.event(next).author == author)
    }

    pub(super) fn commit_row(&mut self, author: usize) {
        let next = self.next_of(author).unwrap();
        let lane = &mut self.lanes[author];
        lane.rows = next;
        if self.id(next).is_none() {
            self.lanes[author].entries = next;
        }
        self.show(Change::Row(next));
    }

    /// The checkpoint would move, and cover something more.
    pub(super) fn has_checkpoint_to_save(&self, author: usize) -> bool {
        let lane = &self.lanes[author];
        // A partition passes the events of others too. That matters to reposts alone.
        let mut passed = (lane.checkpoint + 1..=self.frontier(author)).map(|position| self.event(position));
        passed.any(|event| event.author == author || author == OTHER && matches!(event.deed, Deed::Repost { .. }))
    }

    /// Everything of the author up to here is handled.
    fn frontier(&self, author: usize) -> Position {
        let next = self.next_after(author, self.lanes[author].entries);
        next.map_or(self.now(), |next| next - 1)
    }

    pub(super) fn save_checkpoint(&mut self, author: usize) {
        let position = self.frontier(author);
        self.lanes[author].checkpoint = position;
        self.show(Change::Checkpoint { author, position });
    }

    pub(super) fn checkpoints(&self) -> Handled {
        self.lanes.map(|lane| lane.checkpoint)
    }

    /// Whether the reader follows the author after the events up to a position.
    pub(super) fn follows(&self, author: usize, up_to: Position) -> bool {
        let last = (1..=up_to).rev().map(|position| self.event(position));
        let mut follows = last.filter(|event| event.author == author);
        let last = follows.find(|event| matches!(event.deed, Deed::Follow | Deed::Unfollow));
        last.map_or(author == FOLLOWED, |event| event.deed == Deed::Follow)
    }

    /// Whether the author denies the reader after the events up to a position.
    pub(super) fn denies(&self, author: usize, up_to: Position) -> bool {
        (1..=up_to).any(|position| {
            let event = self.event(position);
            event.author == author && event.deed == Deed::Deny
        })
    }

    /// `Handled::shows`
    pub(super) fn covers(&self, handled: &Handled, position: Position) -> bool {
        let (author, (origin, _)) = (self.event(position).author, self.origin(position));
        position <= handled[author] && position <= handled[origin]
    }

    /// Whether who has this cursor has received the post, or was not to be shown it: `Since::knows`.
    pub(super) fn knows(&self, cursor: &Cursor, position: Position, mutation: Mutation) -> bool {
        let is_covered = self.covers(&cursor.handled, position);
        let is_below = self.id(position).is_some_and(|id| id <= cursor.highest);
        match mutation {
            Mutation::HighestIdOnly => is_below,
            Mutation::NothingKnownAbove => is_covered && is_below,
            _ => is_covered,
        }
    }

    /// `ReadModel::show`. The memory of the process lacks what its bus has not shown. So for what is ahead of the bus, `look_again` asks the
    /// database.
    pub(super) fn is_shown(&self, process: usize, position: Position, mutation: Mutation) -> bool {
        let author = self.event(position).author;
        let (origin, original) = self.origin(position);
        let may_see = |author: usize, position: Position| {
            let process = &self.processes[process];
            let ahead = position > process.handled[author] && mutation != Mutation::DecidedFromMemory;
            let rows = self.lanes[author].rows;
            let unheard = (1..=rows).any(|position| {
                let event = self.event(position);
                event.author == author && event.deed == Deed::Deny && process.has_yet_to_hear(position)
            });
            !self.denies(author, rows) || unheard && !ahead
        };
        let there = original <= self.lanes[origin].rows;
        there && self.follows(author, self.lanes[author].rows) && may_see(author, position) && may_see(origin, original)
    }

    /// The events are handled, and all checkpoints say so.
    pub(super) fn all_is_handled(&self, authors: usize) -> bool {
        (0..authors).all(|author| {
            let lane = &self.lanes[author];
            let under_way = lane.entries < lane.rows || self.next_of(author).is_some();
            !under_way && !self.has_checkpoint_to_save(author)
        })
    }
}
