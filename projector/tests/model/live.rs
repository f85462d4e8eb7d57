//! The cut-over of a live stream from replay to what happens: `query-svc/src/live/`.
//!
//! Two authors write, and one reader follows the first of them, and perhaps the second. The projector handles the events of each author in
//! order. Each query-svc hears by its bus what is written, and its hub hands posts to the reader's stream. Meanwhile buses break, the reader
//! follows and unfollows, the connection breaks, and the reader comes back to any process. All steps happen in any order.

mod hub;
mod properties;
mod stream;
mod tests;
mod views;

use stateright::{Model, Property};

use self::hub::Process;
use self::properties::Scene;
use self::stream::{Client, Step};
use self::views::Lane;

/// Each author has a partition.
const AUTHORS: usize = 2;
const PROCESSES: usize = 2;

/// The author whom the reader follows from the beginning. The other one is followed and unfollowed, and writes what is reposted.
const FOLLOWED: usize = 0;
const OTHER: usize = 1;

/// The place of an event in the commit order, counted from one. Zero is the origin.
type Position = u8;

/// Events by their positions, as bits.
type Set = u8;

fn bit(position: Position) -> Set {
    1 << position
}

fn members(set: Set) -> impl Iterator<Item = Position> + Clone {
    (1..8).filter(move |&member| set & bit(member) != 0)
}

/// The id of a post, which is its place in lists.
type Id = u8;

/// The clocks that make ids are ahead of this, or behind it.
const NOON: Id = 8;

/// `handled::Handled`: the position up to which the events of each author are handled.
type Handled = [Position; AUTHORS];

/// `cursor::LiveCursor`. The code's cursor also says up to which place its reader has looked: the present time, or the end of a page. So it
/// knows less, and loses nothing that this one does not lose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Cursor {
    handled: Handled,
    /// Zero, unless a mutation needs it.
    highest: Id,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Deed {
    Post {
        id: Id,
    },
    Repost {
        id: Id,
        of: Position,
    },
    /// The reader follows the author.
    Follow,
    Unfollow,
    /// The author blocks the reader.
    Deny,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Event {
    author: usize,
    deed: Deed,
}

/// How often each thing may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Bounds {
    /// Posts of each author.
    posts: [u8; AUTHORS],
    /// [`FOLLOWED`] reposts a post of [`OTHER`].
    reposts: u8,
    /// The reader follows or unfollows [`OTHER`].
    follows: u8,
    /// Of each author.
    denials: [u8; AUTHORS],
    /// The bus of a process breaks.
    breaks: u8,
    /// The connection of the client breaks.
    disconnects: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    log: Vec<Event>,
    lanes: [Lane; AUTHORS],
    processes: [Process; PROCESSES],
    client: Client,
    /// A post came that should not have come again.
    doubled: bool,
    /// A post came that was denied.
    leaked: bool,
    left: Bounds,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    /// A command is committed: `EventStore::append`.
    Write(Event),
    /// The row of an author's next event is committed: `Projection::handle`.
    Row {
        author: usize,
    },
    /// The entry of that post is written: fan-out.
    Entry {
        author: usize,
    },
    /// The checkpoint of the author's partition moves: `Leases::save`.
    Checkpoint {
        author: usize,
    },
    /// `changes::Follower::follow` ends: `Hub::close`.
    Break {
        process: usize,
    },
    /// The next step of `changes::Follower::follow`, up to `Hub::open`.
    Open {
        process: usize,
    },
    /// `Hub::hear`.
    Hear {
        process: usize,
    },
    /// `LiveStream::open`.
    Connect {
        process: usize,
    },
    Disconnect,
    /// See [`Step`].
    Stream(Step),
}

/// The protocol, or one that is broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mutation {
    None,
    /// A replay reads the entries of the home timeline.
    FromEntries,
    /// A stream reads whom its reader follows, and then registers.
    FolloweesBeforeRegistering,
    /// A stream begins to queue at the end of its replay.
    QueueAfterReplay,
    /// The hub hands a post out when it hears of its row.
    ReleasedAtTheRow,
    /// A repost waits for the partition of its author, and not for that of the original's author.
    OnePartition,
    /// A full queue loses its oldest post.
    DropsTheOldest,
    /// A post is sent with the hub's cursor at that time.
    CursorWhenSent,
    /// All posts that one checkpoint releases have the cursor that covers them all.
    CursorOfTheBatch,
    /// A cursor says the highest id, and not what was handled.
    HighestIdOnly,
    /// A cursor also says the highest id that was looked at, and knows nothing above it.
    NothingKnownAbove,
    /// Streams go on when the bus breaks.
    BreakCutsNothing,
    /// A stream registers while no bus is open.
    RegistersWhileClosed,
    /// The checkpoints are read, and then the bus is opened.
    CheckpointsBeforeOpening,
    /// A follow does not cut the stream of who follows.
    FollowCutsNothing,
    /// A stream that was cut during its replay says `resumed`.
    ResumedThoughCut,
    /// The positions of the process are ahead of what its hub has heard.
    HubHearsLater,
    /// What the read model held is asked at the end of a replay.
    HandledAfterReading,
    /// A replay that hid a repost is not repeated.
    NoSecondLook,
    /// It is repeated, and meanwhile posts bring cursors.
    CursorBeforeTheSecondLook,
    /// The queue is sent as it is.
    NothingLeftOut,
    /// Of the queue, what the replay has sent and its cursor does not cover is not left out.
    OverlapForgotten,
    /// What is ahead of the bus is decided from memory.
    DecidedFromMemory,
}

#[derive(Debug, Clone)]
struct Live {
    processes: usize,
    /// With one author, there is only [`FOLLOWED`].
    authors: usize,
    /// Whether no other client has a stream. Then the hubs keep nothing while this client has none.
    alone: bool,
    /// How many posts a queue holds.
    capacity: usize,
    /// Whether clocks differ, so that a later post may have a lower id.
    clocks_differ: bool,
    /// Whether the client comes with a cursor, which knows nothing. Otherwise it begins with the present.
    has_cursor: bool,
    bounds: Bounds,
    mutation: Mutation,
    /// What must happen in some state, or the bounds are too narrow to say anything.
    scenes: Vec<Scene>,
}

impl Live {
    fn events_to_come(&self, state: &State) -> Vec<Event> {
        let (left, now) = (&state.left, state.now());
        let ids = [NOON + now + 1, NOON - now - 1];
        let ids = &ids[..if self.clocks_differ { 2 } else { 1 }];
        let mut events = Vec::new();
        // One event of an author waits at most. More would change nothing: an event has no effect before it is handled.
        let has_room = |author: usize| {
            let lane = &state.lanes[author];
            lane.entries == lane.rows && state.next_of(author).is_none()
        };
        for author in (0..self.authors).filter(|&author| has_room(author)) {
            if left.posts[author] > 0 {
                events.extend(ids.iter().map(|&id| Event {
                    author,
                    deed: Deed::Post { id },
                }));
            }
            if left.denials[author] > 0 {
                events.push(Event {
                    author,
                    deed: Deed::Deny,
                });
            }
        }
        if left.reposts > 0 && has_room(FOLLOWED) {
            let originals = (1..=now).filter(|&position| {
                let event = state.event(position);
                event.author == OTHER && matches!(event.deed, Deed::Post { .. })
            });
            events.extend(originals.flat_map(|of| {
                ids.iter().map(move |&id| Event {
                    author: FOLLOWED,
                    deed: Deed::Repost { id, of },
                })
            }));
        }
        if left.follows > 0 && has_room(OTHER) {
            let deed = if state.follows(OTHER, now) {
                Deed::Unfollow
            } else {
                Deed::Follow
            };
            events.push(Event { author: OTHER, deed });
        }
        events
    }
}

impl Model for Live {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            log: Vec::new(),
            lanes: [Lane::default(); AUTHORS],
            processes: std::array::from_fn(|_| Process::default()),
            client: Client::new(self.has_cursor),
            doubled: false,
            leaked: false,
            left: self.bounds,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.extend(self.events_to_come(state).into_iter().map(Action::Write));
        for author in 0..self.authors {
            let lane = &state.lanes[author];
            if lane.entries < lane.rows {
                actions.push(Action::Entry { author });
            } else if state.next_of(author).is_some() {
                actions.push(Action::Row { author });
            }
            if state.has_checkpoint_to_save(author) {
                actions.push(Action::Checkpoint { author });
            }
        }
        for process in 0..self.processes {
            if !state.processes[process].is_open() {
                actions.push(Action::Open { process });
            } else if state.left.breaks > 0 {
                actions.push(Action::Break { process });
            }
            if state.processes[process].has_something_to_hear() {
                actions.push(Action::Hear { process });
            }
            if state.client.stream.is_none() {
                actions.push(Action::Connect { process });
            }
        }
        if state.client.stream.is_some() {
            if state.left.disconnects > 0 {
                actions.push(Action::Disconnect);
            }
            actions.extend(state.steps(self.mutation).into_iter().map(Action::Stream));
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Write(event) => state.write(event),
            Action::Row { author } => state.commit_row(author),
            Action::Entry { author } => state.lanes[author].entries = state.lanes[author].rows,
            Action::Checkpoint { author } => state.save_checkpoint(author),
            Action::Break { process } => state.break_bus(process, self.mutation),
            Action::Open { process } => state.open_bus(process, self.mutation),
            Action::Hear { process } => state.hear(process, self),
            Action::Connect { process } => state.client.connect(process),
            Action::Disconnect => {
                state.left.disconnects -= 1;
                state.client.stream = None;
            }
            Action::Stream(step) => state.step(step, self),
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = properties::always();
        properties.extend(self.scenes.iter().map(|scene| scene.property()));
        properties
    }
}
