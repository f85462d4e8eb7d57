//! The client, and its stream.

use super::{AUTHORS, Cursor, Handled, Id, Live, Mutation, Position, Set, State, bit};

/// A post that waits for the client, with what a client knows that has received it: `mailbox::Item`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Item {
    pub(super) position: Position,
    pub(super) cursor: Cursor,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    /// The stream has no queue yet.
    Begin,
    /// The queue fills. What the client knows.
    Queuing(Cursor),
    Replaying(Replay),
    Following {
        /// The cursor of `resumed`.
        since: Cursor,
        /// What the replay has sent, and this cursor does not cover.
        overlap: Set,
        /// The replay is repeated once every partition has passed this.
        second_look: Option<Position>,
    },
}

/// A replay under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Replay {
    known: Cursor,
    /// What the read model held.
    handled: Handled,
    /// The place that the pages have reached.
    at: Id,
    /// The last page has found nothing more.
    ended: bool,
    overlap: Set,
    /// The highest event that was hidden for want of a row, and that `handled` does not cover.
    hidden: Option<Position>,
}

/// `stream::LiveStream`, and its `mailbox::Mailbox`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Stream {
    pub(super) process: usize,
    pub(super) registered: bool,
    /// Whom the reader follows.
    interest: Option<[bool; AUTHORS]>,
    queues: bool,
    queue: Vec<Item>,
    pub(super) cut: bool,
    pub(super) phase: Phase,
    /// The posts that the stream has sent since it began, or was cut. Only the properties read it.
    came: Set,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Client {
    /// The last that the client has received.
    pub(super) cursor: Option<Cursor>,
    /// The first.
    pub(super) first: Option<Handled>,
    pub(super) received: Set,
    pub(super) stream: Option<Stream>,
}

/// What a stream can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// `Hub::register`
    Register,
    /// `Queries::followed_by`
    ReadFollowees,
    /// `Registration::follow`
    Queue,
    /// `ReadModels::take_at_once`
    TakeReadModel,
    /// The next row of the replay: `Queries::missed`.
    Read,
    /// The end of the replay.
    Resume,
    /// `LiveStream::events_of`
    Send,
    /// A heartbeat brings the hub's cursor: `Registration::cursor`.
    Idle,
    /// `SecondLook::due`
    LookAgain,
    /// The stream sees that it was cut.
    BeginAgain,
}

impl Client {
    pub(super) fn new(has_cursor: bool) -> Self {
        let handled = [0; AUTHORS];
        Self {
            cursor: has_cursor.then_some(Cursor { handled, highest: 0 }),
            first: has_cursor.then_some(handled),
            received: 0,
            stream: None,
        }
    }

    pub(super) fn connect(&mut self, process: usize) {
        self.stream = Some(Stream::new(process));
    }
}

impl Stream {
    fn new(process: usize) -> Self {
        Self {
            process,
            registered: false,
            interest: None,
            queues: false,
            queue: Vec::new(),
            cut: false,
            phase: Phase::Begin,
            came: 0,
        }
    }

    /// `Mailbox::put`, if the post concerns the stream.
    pub(super) fn put(&mut self, item: Item, author: usize, live: &Live) {
        let concerns = self.interest.is_some_and(|interest| interest[author]);
        if !self.queues || self.cut || !concerns {
            return;
        }
        if self.queue.len() < live.capacity {
            self.queue.push(item);
        } else if live.mutation == Mutation::DropsTheOldest {
            self.queue.remove(0);
            self.queue.push(item);
        } else {
            self.cut();
        }
    }

    pub(super) fn cut(&mut self) {
        if self.registered {
            self.cut = true;
            self.queue.clear();
        }
    }

    pub(super) fn is_following(&self) -> bool {
        matches!(self.phase, Phase::Following { .. })
    }
}

impl State {
    pub(super) fn steps(&self, mutation: Mutation) -> Vec<Step> {
        let stream = self.client.stream.as_ref().unwrap();
        let process = &self.processes[stream.process];
        match stream.phase {
            Phase::Begin => {
                let may_register = process.is_open() || mutation == Mutation::RegistersWhileClosed;
                let first = stream.interest.is_none() && mutation == Mutation::FolloweesBeforeRegistering;
                match (stream.registered, stream.interest) {
                    (false, _) if !first => may_register.then_some(Step::Register).into_iter().collect(),
                    (_, None) => vec![Step::ReadFollowees],
                    (_, Some(_)) => vec![Step::Queue],
                }
            }
            Phase::Queuing(_) => vec![Step::TakeReadModel],
            Phase::Replaying(Replay { ended: false, .. }) => vec![Step::Read],
            Phase::Replaying(_) => vec![Step::Resume],
            Phase::Following { .. } if stream.cut => vec![Step::BeginAgain],
            Phase::Following { second_look, .. } => {
                let mut steps = Vec::new();
                let may_move = second_look.is_none() || mutation == Mutation::CursorBeforeTheSecondLook;
                if !stream.queue.is_empty() {
                    steps.push(Step::Send);
                } else if may_move && process.is_open() && self.client.cursor != Some(process.cursor()) {
                    steps.push(Step::Idle);
                }
                if second_look.is_some_and(|at| process.handled.iter().all(|&handled| handled >= at)) {
                    steps.push(Step::LookAgain);
                }
                steps
            }
        }
    }

    /// The next row of the followees that the client does not know, in the order of places.
    fn next_row(&self, stream: &Stream, replay: &Replay, mutation: Mutation) -> Option<Position> {
        let interest = stream.interest.unwrap();
        let is_there = |position: &Position| {
            let author = self.event(*position).author;
            let lane = &self.lanes[author];
            let is_home = match mutation {
                Mutation::FromEntries => *position <= lane.entries && self.follows(author, *position),
                _ => *position <= lane.rows,
            };
            let id = self.id(*position);
            let is_next = id.is_some_and(|id| id > replay.at) && interest[author];
            is_next && is_home && !self.knows(&replay.known, *position, mutation)
        };
        (1..=self.now())
            .filter(is_there)
            .min_by_key(|&position| self.id(position))
    }

    pub(super) fn step(&mut self, step: Step, live: &Live) {
        let mutation = live.mutation;
        let mut stream = self.client.stream.take().unwrap();
        let process = stream.process;
        match step {
            Step::Register => {
                stream.registered = true;
                if live.bounds.follows == 0 {
                    // They are the same at any time.
                    stream.interest = Some(std::array::from_fn(|author| self.follows(author, 0)));
                }
            }
            Step::ReadFollowees => {
                stream.interest = Some(std::array::from_fn(|author| {
                    self.follows(author, self.lanes[author].rows)
                }));
            }
            Step::Queue => {
                let hub = &self.processes[process];
                if hub.is_open() || mutation == Mutation::RegistersWhileClosed {
                    stream.queues = mutation != Mutation::QueueAfterReplay;
                    stream.phase = Phase::Queuing(self.client.cursor.unwrap_or(hub.cursor()));
                } else {
                    stream = Stream::new(process);
                }
            }
            Step::TakeReadModel => {
                if let Phase::Queuing(known) = stream.phase {
                    stream.phase = Phase::Replaying(Replay {
                        known,
                        handled: self.processes[process].positions(mutation),
                        at: 0,
                        ended: false,
                        overlap: 0,
                        hidden: None,
                    });
                }
            }
            Step::Read => self.read(&mut stream, mutation),
            Step::Resume => self.resume(&mut stream, mutation),
            Step::Send => self.send(&mut stream, mutation),
            Step::Idle => self.client.cursor = Some(self.processes[process].cursor()),
            Step::LookAgain | Step::BeginAgain => stream = Stream::new(process),
        }
        self.client.stream = Some(stream);
    }

    fn read(&mut self, stream: &mut Stream, mutation: Mutation) {
        let Phase::Replaying(mut replay) = stream.phase else {
            return;
        };
        let Some(position) = self.next_row(stream, &replay, mutation) else {
            replay.ended = true;
            stream.phase = Phase::Replaying(replay);
            return;
        };
        replay.at = self.id(position).unwrap();
        let is_covered = self.covers(&replay.handled, position);
        if self.is_shown(stream.process, position, mutation) {
            self.receive(stream, position, false);
            if !is_covered {
                replay.overlap |= bit(position);
            }
        } else if !is_covered {
            replay.hidden = replay.hidden.max(Some(position));
        }
        stream.phase = Phase::Replaying(replay);
    }

    /// A stream that was cut meanwhile may have missed whom its reader follows, and begins again.
    fn resume(&mut self, stream: &mut Stream, mutation: Mutation) {
        let Phase::Replaying(replay) = stream.phase else {
            return;
        };
        if stream.cut && mutation != Mutation::ResumedThoughCut {
            *stream = Stream::new(stream.process);
            return;
        }
        let mut since = Cursor {
            handled: replay.handled,
            ..replay.known
        };
        match mutation {
            Mutation::HandledAfterReading => since.handled = self.processes[stream.process].handled,
            Mutation::HighestIdOnly | Mutation::NothingKnownAbove => since.highest = since.highest.max(replay.at),
            _ => {}
        }
        self.client.cursor = Some(since);
        self.client.first.get_or_insert(replay.known.handled);
        stream.queues = true;
        stream.phase = Phase::Following {
            since,
            overlap: replay.overlap,
            second_look: match mutation {
                Mutation::NoSecondLook => None,
                _ => replay.hidden,
            },
        };
    }

    /// While a second look is due, the client keeps the cursor of `resumed`: a later one may cover what was hidden.
    fn send(&mut self, stream: &mut Stream, mutation: Mutation) {
        let Phase::Following {
            since,
            overlap,
            second_look,
        } = &mut stream.phase
        else {
            return;
        };
        let Item { position, cursor } = stream.queue.remove(0);
        let is_overlap = *overlap & bit(position) != 0 && mutation != Mutation::OverlapForgotten;
        let is_known = self.knows(since, position, mutation) || is_overlap;
        *overlap &= !bit(position);
        let keeps_cursor = second_look.is_some() && mutation != Mutation::CursorBeforeTheSecondLook;
        let is_left_out = is_known && mutation != Mutation::NothingLeftOut;
        if !is_left_out && self.is_shown(stream.process, position, mutation) {
            self.receive(stream, position, true);
        }
        // The stream knows the cursor even if nothing is sent.
        if !keeps_cursor {
            self.client.cursor = Some(match mutation {
                Mutation::CursorWhenSent => self.processes[stream.process].cursor(),
                _ => cursor,
            });
        }
    }

    /// The client receives a post, from a replay or live.
    fn receive(&mut self, stream: &mut Stream, position: Position, live: bool) {
        let author = self.event(position).author;
        let (origin, _) = self.origin(position);
        let known = self
            .client
            .cursor
            .is_some_and(|cursor| self.covers(&cursor.handled, position));
        self.doubled |= known || live && stream.came & bit(position) != 0;
        self.leaked |= self.denies(author, position) || live && self.denies(origin, position);
        self.client.received |= bit(position);
        stream.came |= bit(position);
    }
}
