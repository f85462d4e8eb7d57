//! What follows from a block, and from the end of an account's protection, by ordinary commands. It is no error if something is done
//! already, because a resumed process repeats commands.
//!
//! Each command reads the follow first, and only then the block or the account. So whatever it ends was there while the block was active,
//! and whatever it accepts was there while the account was not protected. In the other order, it could end a follow that was made after the
//! block was taken back, or accept a request that was made after the account was protected again.

use std::time::Duration;

use event_log::event_store::EventStore;
use model::events::{Block, Event};
use model::ids::{Partition, UserId};

use super::CommandError;
use super::execute::{Cause, Command, Executor, Plan};
use super::read::{Reader, state_of};
use super::relationships::Between;
use crate::domain::follow;
use crate::metrics::Metrics;

/// The most commands at a time.
const AT_ONCE: usize = 32;

/// Ends and accepts follows on behalf of the user who has blocked somebody, or whose account is no longer protected.
#[derive(Debug, Clone)]
pub struct Consequences {
    executor: Executor,
    deadline: Duration,
}

/// What has become of a request to follow that waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    Accepted,
    /// It was answered or withdrawn before.
    NotAnyMore,
    /// The account is protected again, or deleted. Nothing is accepted any more.
    Stop,
}

impl Consequences {
    /// `deadline`: how long each command may take.
    pub fn new(store: EventStore, deadline: Duration) -> Self {
        Self {
            executor: Executor::new(store, AT_ONCE, deadline, Metrics::default()),
            deadline,
        }
    }

    /// Ends what there is between the two users. Returns how many follows and requests that were.
    pub async fn end_follows(&self, block: &Block, cause: &Cause) -> Result<u64, CommandError> {
        let mut ended = 0;
        for (follower, followee, named) in [
            (block.blocker, block.blocked, block.ends.by_blocker),
            (block.blocked, block.blocker, block.ends.by_blocked),
        ] {
            let end = EndFollow {
                block: *block,
                follower,
                followee,
                named,
            };
            let done = self.executor.execute_within(self.deadline, &end, cause).await?;
            ended += u64::from(done.answer);
        }
        Ok(ended)
    }

    /// Accepts a request to follow if it waits, and if the followee is not protected.
    pub async fn accept(&self, follower: UserId, followee: UserId, cause: &Cause) -> Result<Waited, CommandError> {
        let accept = AcceptWaiting { follower, followee };
        Ok(self
            .executor
            .execute_within(self.deadline, &accept, cause)
            .await?
            .answer)
    }
}

/// Ends one follow or request because of a block. While the block is active, it ends what it finds. Afterwards it ends only what was there
/// when the block was decided: later follows were made after the block.
#[derive(Debug)]
struct EndFollow {
    block: Block,
    follower: UserId,
    followee: UserId,
    /// The version of the follow when the block was decided.
    named: i64,
}

impl Command for EndFollow {
    /// Whether there was something to end.
    type Answer = bool;

    async fn plan(&self, mut read: Reader<'_>) -> Result<Plan<bool>, CommandError> {
        let follow = read.follow(self.follower, self.followee).await?;
        let block = read.block(self.block.blocker, self.block.blocked).await?;
        let (state, version) = state_of(follow.as_ref());
        let ends = version <= self.named || block.is_some_and(|block| block.state.active);
        let event = if ends {
            follow::decide(state, follow::Command::Remove)?
        } else {
            None
        };
        Ok(planned(event, version, self.followee.partition(), true, false))
    }
}

#[derive(Debug)]
struct AcceptWaiting {
    follower: UserId,
    followee: UserId,
}

impl Command for AcceptWaiting {
    type Answer = Waited;

    async fn plan(&self, mut read: Reader<'_>) -> Result<Plan<Waited>, CommandError> {
        let between = Between::load(&mut read, self.followee, self.follower).await?;
        let followee = read.user(self.followee).await?;
        let follower = read.user(self.follower).await?;
        let partition = self.followee.partition();
        let open = followee.is_some_and(|followee| !followee.state.protected && !followee.state.deleted);
        if !open {
            return Ok(Plan::Nothing {
                partition,
                answer: Waited::Stop,
            });
        }
        // A block or a deletion ends the request. The process that writes that may come later.
        let is_over = between.is_blocked() || follower.is_some_and(|follower| follower.state.deleted);
        let request = between.followed.filter(|follow| follow.state.requested && !is_over);
        let (state, version) = state_of(request.as_ref());
        let event = match state {
            Some(_) => follow::decide(state, follow::Command::Accept)?,
            None => None,
        };
        Ok(planned(event, version, partition, Waited::Accepted, Waited::NotAnyMore))
    }
}

fn planned<A>(event: Option<Event>, version: i64, partition: Partition, done: A, nothing: A) -> Plan<A> {
    match event {
        Some(event) => Plan::append(event, version, done),
        None => Plan::Nothing {
            partition,
            answer: nothing,
        },
    }
}
