//! What the sweep takes back after a user's deletion, by ordinary commands. They don't check whether the user may see the post. It is no
//! error if something is gone already, because a resumed sweep repeats commands.

use std::time::Duration;

use event_log::event_store::EventStore;
use event_log::position::Position;
use model::events::Event;
use model::ids::{FilterId, ListId, PostId, ReportId, UserId};
use model::tags::TagKey;

use super::execute::{Cause, Command, Executor, Plan};
use super::read::{Reader, state_of};
use super::{CommandError, posts};
use crate::domain::{
    block, bookmark, filter, follow, like, list, list_member, list_tag, mute, post, report, repost, tag,
};
use crate::metrics::Metrics;

/// The most commands at a time.
const AT_ONCE: usize = 32;

/// Takes back on behalf of a deleted user.
#[derive(Debug, Clone)]
pub struct Retractions {
    executor: Executor,
    deadline: Duration,
}

impl Retractions {
    /// `deadline`: how long each command may take.
    pub fn new(store: EventStore, deadline: Duration) -> Self {
        Self {
            executor: Executor::new(store, AT_ONCE, deadline, Metrics::default()),
            deadline,
        }
    }

    /// Ends a follow, or withdraws a request. Returns the position of the event, or `None` if nothing was left to take back. The other
    /// methods do the same.
    pub async fn unfollow(
        &self,
        follower: UserId,
        followee: UserId,
        cause: &Cause,
    ) -> Result<Option<Position>, CommandError> {
        self.retract(Retracted::Follow { follower, followee }, cause).await
    }

    pub async fn unlike(&self, user: UserId, post: PostId, cause: &Cause) -> Result<Option<Position>, CommandError> {
        self.retract(Retracted::Like { user, post }, cause).await
    }

    /// `post` is the original.
    pub async fn unrepost(&self, user: UserId, post: PostId, cause: &Cause) -> Result<Option<Position>, CommandError> {
        self.retract(Retracted::Repost { user, post }, cause).await
    }

    pub async fn unbookmark(
        &self,
        user: UserId,
        post: PostId,
        cause: &Cause,
    ) -> Result<Option<Position>, CommandError> {
        self.retract(Retracted::Bookmark { user, post }, cause).await
    }

    pub async fn unblock(
        &self,
        blocker: UserId,
        blocked: UserId,
        cause: &Cause,
    ) -> Result<Option<Position>, CommandError> {
        self.retract(Retracted::Block { blocker, blocked }, cause).await
    }

    pub async fn unmute(&self, muter: UserId, muted: UserId, cause: &Cause) -> Result<Option<Position>, CommandError> {
        self.retract(Retracted::Mute { muter, muted }, cause).await
    }

    pub async fn unfollow_tag(
        &self,
        user: UserId,
        tag: TagKey,
        cause: &Cause,
    ) -> Result<Option<Position>, CommandError> {
        self.retract(Retracted::TagFollow { user, tag }, cause).await
    }

    pub async fn unlist(&self, list: ListId, user: UserId, cause: &Cause) -> Result<Option<Position>, CommandError> {
        self.retract(Retracted::ListMember { list, user }, cause).await
    }

    pub async fn unlist_tag(&self, list: ListId, tag: TagKey, cause: &Cause) -> Result<Option<Position>, CommandError> {
        self.retract(Retracted::ListTag { list, tag }, cause).await
    }

    pub async fn delete_list(&self, list: ListId, cause: &Cause) -> Result<Option<Position>, CommandError> {
        self.retract(Retracted::List(list), cause).await
    }

    pub async fn delete_filter(
        &self,
        owner: UserId,
        filter: FilterId,
        cause: &Cause,
    ) -> Result<Option<Position>, CommandError> {
        self.retract(Retracted::Filter { owner, filter }, cause).await
    }

    pub async fn delete_post(&self, post: PostId, cause: &Cause) -> Result<Option<Position>, CommandError> {
        self.retract(Retracted::Post(post), cause).await
    }

    /// Removes what a reporter has said. The report stays: it is about somebody else.
    pub async fn redact_report(&self, report: ReportId, cause: &Cause) -> Result<Option<Position>, CommandError> {
        self.retract(Retracted::Comment(report), cause).await
    }

    async fn retract(&self, what: Retracted, cause: &Cause) -> Result<Option<Position>, CommandError> {
        let retraction = Retraction {
            what,
            actor: cause.actor,
        };
        let done = self.executor.execute_within(self.deadline, &retraction, cause).await?;
        Ok(done.answer.then_some(done.position))
    }
}

#[derive(Debug)]
enum Retracted {
    Follow { follower: UserId, followee: UserId },
    Like { user: UserId, post: PostId },
    Repost { user: UserId, post: PostId },
    Bookmark { user: UserId, post: PostId },
    Block { blocker: UserId, blocked: UserId },
    Mute { muter: UserId, muted: UserId },
    TagFollow { user: UserId, tag: TagKey },
    ListMember { list: ListId, user: UserId },
    ListTag { list: ListId, tag: TagKey },
    List(ListId),
    Filter { owner: UserId, filter: FilterId },
    Post(PostId),
    Comment(ReportId),
}

#[derive(Debug)]
struct Retraction {
    what: Retracted,
    actor: UserId,
}

impl Command for Retraction {
    /// Whether there was something to take back.
    type Answer = bool;

    async fn plan(&self, mut read: Reader<'_>) -> Result<Plan<bool>, CommandError> {
        let (event, version) = match &self.what {
            &Retracted::Follow { follower, followee } => {
                let loaded = read.follow(follower, followee).await?;
                let (state, version) = state_of(loaded.as_ref());
                (
                    follow::decide(state, follow::Command::Unfollow { follower, followee })?,
                    version,
                )
            }
            &Retracted::Like { user, post } => {
                let loaded = read.like(user, post).await?;
                let (state, version) = state_of(loaded.as_ref());
                (like::decide(state, like::Command::Unlike), version)
            }
            &Retracted::Repost { user, post } => {
                let loaded = read.repost(user, post).await?;
                let (state, version) = state_of(loaded.as_ref());
                (repost::decide(state, repost::Command::Unrepost)?, version)
            }
            &Retracted::Bookmark { user, post } => {
                let loaded = read.bookmark(user, post).await?;
                let (state, version) = state_of(loaded.as_ref());
                (bookmark::decide(state, bookmark::Command::Unbookmark), version)
            }
            &Retracted::Block { blocker, blocked } => {
                let loaded = read.block(blocker, blocked).await?;
                let (state, version) = state_of(loaded.as_ref());
                (block::decide(state, block::Command::Unblock), version)
            }
            &Retracted::Mute { muter, muted } => {
                let loaded = read.mute(muter, muted).await?;
                let (state, version) = state_of(loaded.as_ref());
                (mute::decide(state, mute::Command::Unmute), version)
            }
            Retracted::TagFollow { user, tag } => {
                let loaded = read.tag_follow(*user, tag).await?;
                let (state, version) = state_of(loaded.as_ref());
                (tag::decide(state, tag::Command::Unfollow), version)
            }
            &Retracted::ListMember { list, user } => {
                let loaded = read.list_member(list, user).await?;
                let (state, version) = state_of(loaded.as_ref());
                (list_member::decide(state, list_member::Command::Remove), version)
            }
            Retracted::ListTag { list, tag } => {
                let loaded = read.list_tag(*list, tag).await?;
                let (state, version) = state_of(loaded.as_ref());
                (list_tag::decide(state, list_tag::Command::Remove), version)
            }
            &Retracted::List(id) => {
                let loaded = read.list(id).await?;
                let (state, version) = state_of(loaded.as_ref());
                (
                    state.and_then(|list| list::decide(list, list::Command::Delete)),
                    version,
                )
            }
            &Retracted::Filter { owner, filter } => match read.filter(owner, filter).await? {
                Some(filter) if !filter.state.deleted => (
                    filter::decide(Some(&filter.state), filter::Command::Delete)?,
                    filter.version,
                ),
                _ => (None, 0),
            },
            &Retracted::Post(id) => match read.post(id).await? {
                Some(post) if !post.state.deleted => {
                    let by = post.state.author;
                    (
                        post::decide(Some(&post.state), post::Command::Delete { by })?,
                        post.version,
                    )
                }
                _ => (None, 0),
            },
            &Retracted::Comment(id) => match read.report(id).await? {
                Some(report) => (
                    report::decide(Some(&report.state), report::Command::Redact)?,
                    report.version,
                ),
                None => (None, 0),
            },
        };
        Ok(match event {
            Some(
                event @ (Event::PostDeleted(_)
                | Event::ListDeleted(_)
                | Event::FilterDeleted(_)
                | Event::UserReported(_)
                | Event::ReportResolved(_)),
            ) => posts::deletion(event, version, true),
            Some(event) => Plan::append(event, version, true),
            None => Plan::Nothing {
                partition: self.actor.partition(),
                answer: false,
            },
        })
    }
}
