//! One owner's home timeline and its floor: `query-svc/views/`.
//!
//! Authors write and delete posts. The owner follows and unfollows them, and so does a crowd that makes their audience large. Runners
//! handle these events: one in each author's lane, and one more that has lost its lease and still works. Meanwhile the timeline is
//! trimmed, and the owner is away for long and comes back. All steps happen in any order.

mod handler;
mod properties;
mod reader;
mod tests;
mod upkeep;

use stateright::{Model, Property};

use self::handler::Runner;
use self::properties::Scene;
use self::reader::PageRead;
use self::upkeep::{Trim, Upkeep, Visit};

const AUTHORS: usize = 2;
const POSTS: usize = 3;
/// The most events of a lane.
const EVENTS: usize = 7;
/// `Timelines::window`.
const WINDOW: usize = 1;
/// `Timelines::fan_out_limit`.
const FAN_OUT_LIMIT: u8 = 2;
/// The accounts of the crowd. Their events always come together in one batch.
const CROWD: u8 = 2;

/// The id of a post: the time at which it was written, then a number that orders posts of the same time.
type Id = u8;

/// The ids of one time. One post is written at each time: that is the only clock.
const TICK: u8 = 4;

/// Posts, or places in a lane, as bits.
type Set = u8;

fn bit(number: u8) -> Set {
    1 << number
}

fn members(set: Set) -> impl Iterator<Item = usize> + Clone {
    (0..8).filter(move |member| set & 1 << member != 0)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Event {
    Nothing,
    Post(u8),
    Delete(u8),
    Follow,
    Unfollow,
    CrowdFollows,
    CrowdLeaves,
}

/// `profiles::Audience`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Audience {
    Small,
    Crossing,
    Large,
}

/// An author: the events of the audience in commit order, the rows made of them, and the runners that handle them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Lane {
    log: [Event; EVENTS],
    last: u8,
    /// The events that a runner has handled to the end.
    handled: Set,
    /// Events that are handled late: dead letters that wait for an operator, or events that a scan finds.
    aside: Set,
    /// The version of the row that says whether the owner follows: the place of its event, counted from one.
    follow: u8,
    /// The same for the crowd.
    crowd: u8,
    audience: Audience,
    /// `Reach::posted`.
    posted: bool,
    /// The runner of the lease's owner.
    current: Runner,
    /// The runner of the former owner, which may not know yet that it has lost the lease.
    stale: Option<Runner>,
}

/// A row of `posts`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Post {
    id: Id,
    author: u8,
    /// 0: none, 1: a post, 2: a tombstone.
    version: u8,
}

impl Post {
    fn is_live(&self) -> bool {
        self.version == 1
    }
}

/// The owner's entries and header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Home {
    entries: Set,
    /// Zero is below everything.
    floor: Id,
    idle: bool,
    large: [bool; AUTHORS],
    trim_below: Option<Id>,
}

/// How often each thing may happen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Bounds {
    posts: u8,
    deletions: u8,
    /// Follows and unfollows by the owner, of each author.
    follows: [u8; AUTHORS],
    /// The crowd comes or goes, always to the first author.
    crowds: u8,
    /// A lease moves. Its former owner may continue to work.
    takeovers: u8,
    /// An event is handled after its successors.
    delays: u8,
    /// A check whether the timeline is too long.
    trims: u8,
    /// The owner is away so long that it is marked idle.
    absences: u8,
    /// The owner reads.
    visits: u8,
    /// A page is read step by step.
    pages: u8,
}

/// The protocol, or one that is broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mutation {
    None,
    /// A follow copies posts, and then raises the floor.
    FloorAfterCopies,
    /// A repeated event counts as done, because its row exists.
    RefusedGuardSkipsFanOut,
    /// Crossing reads the followers, and then commits its flag.
    FollowersListedBeforeTheFlag,
    /// Crossing ends fan-out, and then tells the followers.
    LargeBeforeFollowersAreTold,
    /// An unfollow removes entries.
    UnfollowDeletesEntries,
    /// The floor of an owner who comes back is at the present time, and not above it.
    WokenAtNow,
    /// The owner becomes active only long after the time of the new floor.
    WokenTooLate,
    /// Entries below the window are removed, and then the floor is raised.
    TrimmedBeforeTheFloorIsRaised,
    /// A page reads the header, and then the entries.
    HeaderBeforeEntries,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    lanes: [Lane; AUTHORS],
    posts: [Post; POSTS],
    /// How many posts were written, which is also the time.
    created: u8,
    home: Home,
    trim: Trim,
    upkeep: Upkeep,
    visit: Visit,
    reading: PageRead,
    left: Bounds,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    /// A client's command is committed: `EventStore::append`. `skew`: how far the clock of a post's id is ahead.
    Write { author: usize, event: Event, skew: u8 },
    /// The handler gets the next events of a lane (`PartitionTask::ready_batches`), and commits their rows.
    Begin { author: usize, stale: bool, count: u8 },
    /// The handler continues: see [`handler::Step`].
    Step { author: usize, stale: bool },
    /// The lease of the lane moves. The new owner begins at the checkpoint.
    TakeOver { author: usize, from: u8 },
    /// An event is left for later: `Runner::put_aside`, or the stream is ahead of a scan.
    SetAside { author: usize },
    /// Such an event is handled: `PartitionTask::retry`, or `scan::deliver`.
    TakeUp { author: usize, place: u8 },
    /// The next step of [`Trim`].
    Trim,
    /// The next step of [`Upkeep`].
    MarkIdle,
    /// The next step of [`Visit`].
    Visit,
    /// The next step of [`PageRead`].
    Read,
}

#[derive(Debug, Clone)]
struct Timeline {
    authors: usize,
    /// The most events that are handled at once.
    batch: u8,
    /// The most that clocks are ahead. Waking allows for this, and for the same time again for the request.
    skew: u8,
    bounds: Bounds,
    mutation: Mutation,
    /// What must happen in some state, or the bounds are too narrow to say anything.
    scenes: Vec<Scene>,
}

/// The most time that passes while an idle owner is woken.
const LONGEST_WAKE: u8 = 1;

impl Timeline {
    /// Whether every event is handled once, and one at a time.
    fn is_calm(&self) -> bool {
        self.batch == 1 && self.bounds.takeovers == 0 && self.bounds.delays == 0
    }

    fn events_to_come(&self, author: usize, state: &State) -> Vec<Event> {
        let (lane, left) = (&state.lanes[author], &state.left);
        let mut events = Vec::new();
        // No more than one batch waits. More would change nothing: an event has no effect before it is handled.
        let has_room = lane.current.work.is_none() && lane.last - lane.current.next < self.batch;
        if !has_room {
            return events;
        }
        if left.follows[author] > 0 {
            events.push(if lane.owner_should_follow() {
                Event::Unfollow
            } else {
                Event::Follow
            });
        }
        if left.crowds > 0 && author == 0 {
            events.push(if lane.crowd_should_follow() {
                Event::CrowdLeaves
            } else {
                Event::CrowdFollows
            });
        }
        if left.deletions > 0 {
            let live = (0..state.created).filter(|&post| state.should_be_live(author, post));
            events.extend(live.map(Event::Delete));
        }
        if left.posts > 0 && self.has_time_for_a_post(state) {
            events.push(Event::Post(state.created));
        }
        events
    }

    /// While an owner is woken, no more time may pass than the margin allows.
    fn has_time_for_a_post(&self, state: &State) -> bool {
        let longest = match self.mutation {
            Mutation::WokenTooLate => LONGEST_WAKE + 1,
            _ => LONGEST_WAKE,
        };
        match state.visit {
            Visit::Wake { now } => state.created - now < longest,
            Visit::Nothing | Visit::Note => true,
        }
    }
}

impl Model for Timeline {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let lane = Lane {
            log: [Event::Nothing; EVENTS],
            last: 0,
            handled: 0,
            aside: 0,
            follow: 0,
            crowd: 0,
            audience: Audience::Small,
            posted: false,
            current: Runner::default(),
            stale: None,
        };
        let post = Post {
            id: 0,
            author: 0,
            version: 0,
        };
        let home = Home {
            entries: 0,
            floor: 0,
            idle: false,
            large: [false; AUTHORS],
            trim_below: None,
        };
        vec![State {
            lanes: [lane; AUTHORS],
            posts: [post; POSTS],
            created: 0,
            home,
            trim: Trim::Nothing,
            upkeep: Upkeep::Nothing,
            visit: Visit::Nothing,
            reading: PageRead::Nothing,
            left: self.bounds,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for author in 0..self.authors {
            for event in self.events_to_come(author, state) {
                let skews = if matches!(event, Event::Post(_)) { self.skew } else { 0 };
                actions.extend((0..=skews).map(|skew| Action::Write { author, event, skew }));
            }
            let lane = &state.lanes[author];
            for stale in [false, true] {
                match lane.runner(stale) {
                    None => {}
                    Some(runner) if runner.work.is_some() => actions.push(Action::Step { author, stale }),
                    Some(runner) => {
                        let counts = 1..=self.batch.min(lane.last - runner.next);
                        actions.extend(counts.map(|count| Action::Begin { author, stale, count }));
                    }
                }
            }
            if state.left.takeovers > 0 {
                let from = (0..=lane.current.finished()).filter(|&from| from < lane.last);
                actions.extend(from.map(|from| Action::TakeOver { author, from }));
            }
            if lane.current.work.is_none() {
                if state.left.delays > 0 && lane.current.next < lane.last {
                    actions.push(Action::SetAside { author });
                }
                let aside = (0..lane.last).filter(|&place| lane.aside & bit(place) != 0);
                actions.extend(aside.map(|place| Action::TakeUp { author, place }));
            }
        }
        if state.may_trim() {
            actions.push(Action::Trim);
        }
        if state.may_mark_idle() {
            actions.push(Action::MarkIdle);
        }
        if state.visit != Visit::Nothing || state.left.visits > 0 {
            actions.push(Action::Visit);
        }
        if matches!(state.reading, PageRead::UnderWay(_)) || state.left.pages > 0 {
            actions.push(Action::Read);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Write { author, event, skew } => state.write(author, event, skew),
            Action::Begin { author, stale, count } => {
                let lane = &mut state.lanes[author];
                let runner = if stale { lane.stale.as_mut()? } else { &mut lane.current };
                let batch = (bit(count) - 1) << runner.next;
                runner.next += count;
                state.commit_rows(author, stale, batch, count, self.mutation);
            }
            Action::Step { author, stale } => state.take_step(author, stale, self.mutation),
            Action::TakeOver { author, from } => {
                state.left.takeovers -= 1;
                let lane = &mut state.lanes[author];
                lane.stale = Some(lane.current);
                lane.current = Runner { next: from, work: None };
            }
            Action::SetAside { author } => {
                state.left.delays -= 1;
                let lane = &mut state.lanes[author];
                lane.aside |= bit(lane.current.next);
                lane.current.next += 1;
            }
            Action::TakeUp { author, place } => {
                state.lanes[author].aside &= !bit(place);
                state.commit_rows(author, false, bit(place), 0, self.mutation);
            }
            Action::Trim => state.trim(self.mutation),
            Action::MarkIdle => state.mark_idle(),
            Action::Visit => state.visit(match self.mutation {
                Mutation::WokenAtNow => 0,
                _ => self.skew + LONGEST_WAKE + 1,
            }),
            Action::Read => state.read(self.mutation),
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![properties::exact()];
        if self.is_calm() {
            properties.push(properties::no_hole());
        }
        properties.extend(self.scenes.iter().map(|scene| scene.property()));
        properties
    }
}

impl State {
    fn write(&mut self, author: usize, event: Event, skew: u8) {
        if let PageRead::UnderWay(page) = &mut self.reading {
            page.settled = false;
        }
        let lane = &mut self.lanes[author];
        lane.log[usize::from(lane.last)] = event;
        lane.last += 1;
        match event {
            Event::Follow | Event::Unfollow => self.left.follows[author] -= 1,
            Event::CrowdFollows | Event::CrowdLeaves => self.left.crowds -= 1,
            Event::Delete(_) => self.left.deletions -= 1,
            Event::Post(post) => {
                self.left.posts -= 1;
                self.created += 1;
                self.posts[usize::from(post)] = Post {
                    // If different clocks write two posts at one time, the later one has the lower id.
                    id: (self.created + skew) * TICK + TICK - self.created,
                    author: u8::try_from(author).unwrap(),
                    version: 0,
                };
            }
            Event::Nothing => {}
        }
    }
}
