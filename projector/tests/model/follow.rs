//! One follow, asked for and answered by commands, and the process that ends and accepts it: `command-svc/commands/src/` and
//! `projector/src/consequences/`.
//!
//! Both users give commands at once. A command reads the follow, then blocks, then accounts, and appends at last. Only the stream that it
//! appends to tells it that something has changed meanwhile. So it may follow in spite of a block that came in between, or ask an account
//! that is no longer protected. The process, and the deletion sweep, look at each event twice. All steps happen in any order.

mod process;
mod properties;
mod tests;

use stateright::{Model, Property};

use self::process::{Item, Kind, Work};
use self::properties::Scene;

const COMMANDS: usize = 2;
const WORKERS: usize = 2;
/// The most events that the process looks at: blocks, ends of protections and deletions together.
const ITEMS: usize = 4;

/// The two users, as numbers of the arrays below.
const FOLLOWER: usize = 0;
const FOLLOWEE: usize = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Relation {
    None,
    Requested,
    Following,
}

/// The stream of the follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Follow {
    version: u8,
    relation: Relation,
    /// Nobody has blocked the other since this version was written. Only the properties read it.
    unblocked: bool,
    /// The account was open at some time since this version was written. Only the properties read it.
    open: bool,
}

/// What a command does that reads more than it writes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum What {
    /// `Change::Follow`
    Follow,
    /// `Change::Accept`
    Accept,
    /// `Change::Block`
    Block { by: usize },
}

/// A command under way, and what it has read so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Command {
    what: What,
    follow: (u8, Relation),
    /// Whether there is a block, and which version the last one has named.
    blocked: Option<(bool, u8)>,
    /// Whether the followee is protected. `None` if a user is deleted.
    accounts: Option<Option<bool>>,
    /// The items whose events came while the command was under way, as bits.
    missed: u8,
}

/// How often each thing may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Bounds {
    follows: u8,
    accepts: u8,
    /// Unfollow, cancel, reject and remove. Each is an end that the stream itself guards.
    ends: u8,
    blocks: u8,
    unblocks: u8,
    protects: u8,
    unprotects: u8,
    deletions: u8,
    /// A process ends in the middle of its work.
    kills: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    follow: Follow,
    /// Whether each user blocks the other.
    blocks: [bool; 2],
    /// Whether the followee is protected.
    protected: bool,
    deleted: [bool; 2],
    commands: [Option<Command>; COMMANDS],
    items: [Option<Item>; ITEMS],
    /// How many events the process was to look at.
    noted: usize,
    workers: [Option<Work>; WORKERS],
    /// The highest version that a block has named.
    named: u8,
    ended_wrongly: bool,
    accepted_wrongly: bool,
    left: Bounds,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    /// A command begins: it reads the follow.
    Begin(What),
    /// A command reads what it has not read yet (`Between::load`, `Reader::live_user`), or appends (`EventStore::append`).
    Step {
        command: usize,
    },
    /// A command that reads and writes one stream.
    End,
    Unblock {
        by: usize,
    },
    Protect,
    Unprotect,
    Delete {
        user: usize,
    },
    /// The process takes up an item (`consequences::Worker::round`).
    Look {
        worker: usize,
        item: usize,
    },
    /// The process continues.
    Work {
        worker: usize,
    },
    Kill {
        worker: usize,
    },
}

/// The protocol, or one that is broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mutation {
    None,
    /// The process looks once.
    OneLook,
    /// The second look does not wait until the commands have ended that may have missed the event.
    SecondLookTooEarly,
    /// A block ends what it finds, even if it was taken back.
    EndsAfterUnblock,
    /// A block that was taken back ends nothing.
    NamesNothing,
    /// The process reads the block first, and then the follow.
    BlockBeforeFollow,
    /// The process accepts all, and does not read the account again.
    AcceptsWithoutLooking,
    /// The process reads the account first, and then the follow.
    AccountBeforeFollow,
    /// The deletion sweep ends follows, and leaves requests.
    SweepLeavesRequests,
}

#[derive(Debug, Clone)]
struct Protocol {
    /// How many processes may work at once. The second one has lost its seat and does not know it yet.
    workers: usize,
    bounds: Bounds,
    mutation: Mutation,
    /// What must happen in some state, or the bounds are too narrow to say anything.
    scenes: Vec<Scene>,
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let state = |protected: bool| State {
            follow: Follow {
                version: 0,
                relation: Relation::None,
                unblocked: true,
                open: !protected,
            },
            blocks: [false; 2],
            protected,
            deleted: [false; 2],
            commands: [None; COMMANDS],
            items: [None; ITEMS],
            noted: 0,
            workers: [None; WORKERS],
            named: 0,
            ended_wrongly: false,
            accepted_wrongly: false,
            left: self.bounds,
        };
        vec![state(false), state(true)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let left = &state.left;
        if state.commands.contains(&None) {
            if left.follows > 0 {
                actions.push(Action::Begin(What::Follow));
            }
            if left.accepts > 0 && state.follow.relation == Relation::Requested {
                actions.push(Action::Begin(What::Accept));
            }
            if left.blocks > 0 {
                actions.extend([FOLLOWER, FOLLOWEE].map(|by| Action::Begin(What::Block { by })));
            }
        }
        let under_way = (0..COMMANDS).filter(|&command| state.commands[command].is_some());
        actions.extend(under_way.map(|command| Action::Step { command }));
        if left.ends > 0 && state.follow.relation != Relation::None {
            actions.push(Action::End);
        }
        for user in [FOLLOWER, FOLLOWEE] {
            if left.unblocks > 0 && state.blocks[user] {
                actions.push(Action::Unblock { by: user });
            }
            if left.deletions > 0 && !state.deleted[user] {
                actions.push(Action::Delete { user });
            }
        }
        if !state.deleted[FOLLOWEE] {
            if left.protects > 0 && !state.protected {
                actions.push(Action::Protect);
            }
            if left.unprotects > 0 && state.protected {
                actions.push(Action::Unprotect);
            }
        }
        for worker in 0..self.workers {
            if state.workers[worker].is_some() {
                actions.push(Action::Work { worker });
                if left.kills > 0 {
                    actions.push(Action::Kill { worker });
                }
            } else {
                let due = (0..ITEMS).filter(|&item| state.is_due(item, self.mutation));
                actions.extend(due.map(|item| Action::Look { worker, item }));
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Begin(what) => state.begin(what),
            Action::Step { command } => state.step(command),
            Action::End => {
                state.left.ends -= 1;
                state.append(Relation::None);
            }
            Action::Unblock { by } => {
                state.left.unblocks -= 1;
                state.blocks[by] = false;
            }
            Action::Protect => {
                state.left.protects -= 1;
                state.protected = true;
            }
            Action::Unprotect => {
                state.left.unprotects -= 1;
                state.protected = false;
                state.follow.open = true;
                state.note(Kind::Unprotected);
            }
            Action::Delete { user } => {
                state.left.deletions -= 1;
                state.deleted[user] = true;
                state.note(Kind::Deleted { user });
            }
            Action::Look { worker, item } => state.look(worker, item),
            Action::Work { worker } => state.work(worker, self.mutation),
            Action::Kill { worker } => {
                state.left.kills -= 1;
                state.workers[worker] = None;
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = properties::always();
        properties.extend(self.scenes.iter().map(|scene| scene.property()));
        properties
    }
}

impl State {
    fn is_blocked(&self) -> bool {
        self.blocks.contains(&true)
    }

    fn append(&mut self, relation: Relation) {
        self.follow = Follow {
            version: self.follow.version + 1,
            relation,
            unblocked: !self.is_blocked(),
            open: !self.protected,
        };
    }

    fn begin(&mut self, what: What) {
        match what {
            What::Follow => self.left.follows -= 1,
            What::Accept => self.left.accepts -= 1,
            What::Block { .. } => self.left.blocks -= 1,
        }
        let free = self.commands.iter_mut().find(|command| command.is_none()).unwrap();
        *free = Some(Command {
            what,
            follow: (self.follow.version, self.follow.relation),
            blocked: None,
            accounts: None,
            missed: 0,
        });
        // Which of two commands has which place means nothing.
        self.sort_commands();
    }

    fn step(&mut self, place: usize) {
        let blocked_now = (self.is_blocked(), self.named);
        let accounts = (!self.deleted.contains(&true)).then_some(self.protected);
        let command = self.commands[place].as_mut().unwrap();
        match command {
            Command {
                what: What::Follow | What::Accept,
                blocked: blocked @ None,
                ..
            } => *blocked = Some(blocked_now),
            Command {
                accounts: read @ None, ..
            } => *read = Some(accounts),
            command => {
                let command = *command;
                self.commands[place] = None;
                self.finish(command);
            }
        }
        self.sort_commands();
    }

    /// `domain::follow::decide` and `domain::block::decide` on what was read, and the append. After a conflict, the command ends: to decide
    /// again is the same as another command.
    fn finish(&mut self, command: Command) {
        let (version, relation) = command.follow;
        let Some(protected) = command.accounts.unwrap() else {
            return;
        };
        if let What::Block { by } = command.what {
            if !self.blocks[by] {
                self.blocks[by] = true;
                self.follow.unblocked = false;
                self.named = self.named.max(version);
                self.note(Kind::Blocked { by, named: version });
            }
            return;
        }
        let (blocked, named) = command.blocked.unwrap();
        if blocked || version != self.follow.version {
            return;
        }
        // `Between::load`: what a block has named is over.
        let relation = if version <= named { Relation::None } else { relation };
        match (command.what, relation) {
            (What::Follow, Relation::None | Relation::Requested) if !protected => self.append(Relation::Following),
            (What::Follow, Relation::None) => self.append(Relation::Requested),
            (What::Accept, Relation::Requested) => self.append(Relation::Following),
            _ => {}
        }
    }

    fn sort_commands(&mut self) {
        let key = |command: &Option<Command>| {
            command.map(|command| {
                let what = match command.what {
                    What::Follow => 0,
                    What::Accept => 1,
                    What::Block { by } => 2 + by,
                };
                let (version, relation) = command.follow;
                (
                    what,
                    version,
                    relation as u8,
                    command.blocked,
                    command.accounts,
                    command.missed,
                )
            })
        };
        self.commands.sort_unstable_by_key(key);
    }
}
