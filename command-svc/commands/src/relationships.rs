//! Commands on how two users stand: follow, accept, block, mute, and their opposites.
//!
//! If the state is already as requested, the answer is the same, and no event is written. What a follow has read of blocks and of the
//! followee may be changed by another command before the follow is written: these are other streams, so nothing conflicts. The process
//! that ends and accepts follows ([`super::Consequences`]) looks twice because of that.

use chrono::{DateTime, Utc};
use model::events::{Block, EndedFollows, Event, Follow, Mute, State, User};
use model::ids::{Partition, UserId};

use super::execute::{Command, Plan};
use super::read::{Reader, Versioned, state_of};
use super::{CommandError, Refusal, milliseconds};
use crate::domain::{block, follow, mute};

/// How two users are related, from the view of the user who gave the command.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    pub following: bool,
    pub requested: bool,
    pub followed_by: bool,
    pub requested_by: bool,
    pub blocking: bool,
    pub blocked_by: bool,
    pub muting: bool,
    pub muted_until: Option<DateTime<Utc>>,
}

/// A mute, before it is written.
#[derive(Debug, Clone, Copy, Default)]
pub struct NewMute {
    /// `None`: until it is taken back.
    pub until: Option<DateTime<Utc>>,
    /// What the muted user does still makes notifications.
    pub notifications: bool,
}

/// What the actor does.
#[derive(Debug, Clone, Copy)]
pub(super) enum Change {
    /// Only if the actor then follows at most so many accounts, with those that were asked.
    Follow {
        max: u32,
    },
    /// Also takes back the request to follow.
    Unfollow,
    /// The other has asked to follow the actor.
    Accept,
    Reject,
    /// The other does not follow the actor any more, and does not ask to.
    Remove,
    Block,
    Unblock,
    Mute(NewMute),
    Unmute,
}

impl Change {
    /// What only ends something needs none: the sweep after a deletion does the same.
    fn needs_live_actor(self) -> bool {
        match self {
            Change::Follow { .. } | Change::Accept | Change::Block | Change::Mute(_) => true,
            Change::Unfollow | Change::Reject | Change::Remove | Change::Unblock | Change::Unmute => false,
        }
    }
}

#[derive(Debug)]
pub(super) struct Relate {
    pub(super) actor: UserId,
    pub(super) other: UserId,
    pub(super) change: Change,
    pub(super) now: DateTime<Utc>,
}

impl Command for Relate {
    type Answer = Standing;

    async fn plan(&self, mut read: Reader<'_>) -> Result<Plan<Standing>, CommandError> {
        let Self { actor, other, .. } = *self;
        self.check_other()?;
        if self.change.needs_live_actor() {
            read.live_actor(actor).await?;
        } else {
            read.unsuspended_actor(actor).await?;
        }
        let between = Between::load(&mut read, actor, other).await?;
        let other = read.live_user(other).await?;
        let (event, version) = self.decide(&mut read, &between, &other).await?;
        let states = between.states().chain(event.as_ref().map(Event::state));
        let answer = Standing::of(states, actor, self.now);
        Ok(match event {
            Some(event) => Plan::append(event, version, answer),
            None => Plan::Nothing {
                partition: self.partition(),
                answer,
            },
        })
    }
}

impl Standing {
    /// The last state of each kind counts. The follows and requests that a block is about to end are not shown any more.
    fn of<'a>(states: impl Iterator<Item = State<'a>>, actor: UserId, now: DateTime<Utc>) -> Self {
        let mut standing = Self::default();
        for state in states {
            match state {
                State::Follow(follow) if follow.follower == actor => {
                    (standing.following, standing.requested) = (follow.active, follow.requested);
                }
                State::Follow(follow) => {
                    (standing.followed_by, standing.requested_by) = (follow.active, follow.requested);
                }
                State::Block(block) if block.blocker == actor => standing.blocking = block.active,
                State::Block(block) => standing.blocked_by = block.active,
                State::Mute(mute) => {
                    standing.muting = mute.active && mute.until.is_none_or(|until| until > now);
                    standing.muted_until = mute.until.filter(|_| standing.muting);
                }
                _ => {}
            }
        }
        if standing.blocking || standing.blocked_by {
            (standing.following, standing.requested) = (false, false);
            (standing.followed_by, standing.requested_by) = (false, false);
        }
        standing
    }
}

impl Relate {
    fn check_other(&self) -> Result<(), Refusal> {
        let verb = match self.change {
            _ if self.actor != self.other => return Ok(()),
            Change::Follow { .. } | Change::Unfollow | Change::Accept | Change::Reject | Change::Remove => "follow",
            Change::Block | Change::Unblock => "block",
            Change::Mute(_) | Change::Unmute => "mute",
        };
        Err(Refusal::Oneself(verb))
    }

    /// The event, and the version of its stream that was read.
    async fn decide(
        &self,
        read: &mut Reader<'_>,
        between: &Between,
        other: &User,
    ) -> Result<(Option<Event>, i64), CommandError> {
        let (actor, now) = (self.actor, self.now);
        let (out, incoming) = (state_of(between.follows.as_ref()), state_of(between.followed.as_ref()));
        Ok(match self.change {
            Change::Follow { max } => {
                if between.is_blocked() {
                    return Err(Refusal::Blocked.into());
                }
                let command = follow::Command::Follow {
                    follower: actor,
                    followee: other.id,
                    protected: other.protected,
                };
                let event = follow::decide(out.0, command)?;
                if event.is_some() && !out.0.is_some_and(|follow| follow.requested) {
                    read.follows_fewer_than(actor, max).await?;
                }
                (event, out.1)
            }
            Change::Unfollow => {
                let command = follow::Command::Unfollow {
                    follower: actor,
                    followee: other.id,
                };
                (follow::decide(out.0, command)?, out.1)
            }
            Change::Accept => {
                let event = follow::decide(incoming.0, follow::Command::Accept)?;
                if between.is_blocked() {
                    return Err(Refusal::Blocked.into());
                }
                (event, incoming.1)
            }
            Change::Reject => (follow::decide(incoming.0, follow::Command::Reject)?, incoming.1),
            Change::Remove => (follow::decide(incoming.0, follow::Command::Remove)?, incoming.1),
            Change::Block => {
                let (state, version) = state_of(between.blocks.as_ref());
                let command = block::Command::Block {
                    blocker: actor,
                    blocked: other.id,
                    ends: EndedFollows {
                        by_blocker: out.1,
                        by_blocked: incoming.1,
                    },
                };
                (block::decide(state, command), version)
            }
            Change::Unblock => {
                let (state, version) = state_of(between.blocks.as_ref());
                (block::decide(state, block::Command::Unblock), version)
            }
            Change::Mute(NewMute { until, notifications }) => {
                let until = until.map(milliseconds);
                if until.is_some_and(|until| until <= now) {
                    return Err(Refusal::MuteOver.into());
                }
                let (state, version) = state_of(between.mutes.as_ref());
                let command = mute::Command::Mute {
                    muter: actor,
                    muted: other.id,
                    until,
                    notifications,
                };
                (mute::decide(state, command), version)
            }
            Change::Unmute => {
                let (state, version) = state_of(between.mutes.as_ref());
                (mute::decide(state, mute::Command::Unmute), version)
            }
        })
    }

    /// The partition of the events that made the state what it is.
    fn partition(&self) -> Partition {
        match self.change {
            Change::Follow { .. } | Change::Unfollow => self.other.partition(),
            _ => self.actor.partition(),
        }
    }
}

/// Everything between an actor and another user. The streams of follows are read first, then those of blocks: see [`Block::ends`].
///
/// What a block has named is over, also if the block was taken back before the process has ended it. Otherwise somebody who follows again
/// at once would be told that this is so already, and the process would end it.
#[derive(Debug)]
pub(super) struct Between {
    follows: Option<Versioned<Follow>>,
    pub(super) followed: Option<Versioned<Follow>>,
    blocks: Option<Versioned<Block>>,
    blocked: Option<Versioned<Block>>,
    mutes: Option<Versioned<Mute>>,
}

impl Between {
    pub(super) async fn load(read: &mut Reader<'_>, actor: UserId, other: UserId) -> Result<Self, CommandError> {
        let mut between = Self {
            follows: read.follow(actor, other).await?,
            followed: read.follow(other, actor).await?,
            blocks: read.block(actor, other).await?,
            blocked: read.block(other, actor).await?,
            mutes: read.mute(actor, other).await?,
        };
        for block in [&between.blocks, &between.blocked].into_iter().flatten() {
            let Block { blocker, ends, .. } = block.state;
            let (by_blocker, by_blocked) = match blocker == actor {
                true => (&mut between.follows, &mut between.followed),
                false => (&mut between.followed, &mut between.follows),
            };
            end_named(by_blocker.as_mut(), ends.by_blocker);
            end_named(by_blocked.as_mut(), ends.by_blocked);
        }
        Ok(between)
    }

    fn states(&self) -> impl Iterator<Item = State<'_>> {
        let follows = [&self.follows, &self.followed].into_iter().flatten();
        let blocks = [&self.blocks, &self.blocked].into_iter().flatten();
        follows
            .map(|follow| State::Follow(&follow.state))
            .chain(blocks.map(|block| State::Block(&block.state)))
            .chain(self.mutes.iter().map(|mute| State::Mute(&mute.state)))
    }

    pub(super) fn is_blocked(&self) -> bool {
        [&self.blocks, &self.blocked]
            .into_iter()
            .flatten()
            .any(|block| block.state.active)
    }
}

fn end_named(follow: Option<&mut Versioned<Follow>>, named: i64) {
    if let Some(follow) = follow.filter(|follow| follow.version <= named) {
        (follow.state.active, follow.state.requested) = (false, false);
    }
}
