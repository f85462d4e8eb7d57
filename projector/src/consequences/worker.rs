//! Works on the events that have consequences, round by round.

use chrono::TimeDelta;
use commands::{Cause, CommandError, Consequences, Waited};
use event_log::event_store::EventStore;
use event_log::mongo::Databases;
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use model::clock::SharedClock;
use model::events::{DecodeError, Event, State};
use model::ids::{EventId, UserId};
use mongodb::error::Error;
use tokio_util::sync::CancellationToken;

use super::{Item, Items, Look};
use crate::config::Sweep;
use crate::metrics::ConsequenceMetrics;
use crate::rounds::rounds;

/// How many items are worked on in a round.
const ROUND: u32 = 64;
/// How many items are worked on at the same time. Each has its own limit for commands.
const AT_ONCE: usize = 4;
/// How many requests are read at once. An item gets no more in a round.
const PAGE: u32 = 1_000;

/// The work that one process at a time does.
#[derive(Debug)]
pub struct Worker {
    pub items: Items,
    pub store: EventStore,
    pub databases: Databases,
    pub consequences: Consequences,
    /// It looks as often, and waits as long, as the deletion sweep does.
    pub config: Sweep,
    pub clock: SharedClock,
    pub metrics: ConsequenceMetrics,
}

#[derive(Debug, thiserror::Error)]
enum WorkError {
    #[error("the event {0} is not in the event store, or has no consequences")]
    NoEvent(EventId),
    #[error(transparent)]
    Unreadable(#[from] DecodeError),
    #[error(transparent)]
    Command(#[from] CommandError),
    #[error(transparent)]
    Database(#[from] Error),
}

/// How far a look has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Complete,
    /// There are more requests after this one.
    After(EventId),
}

impl Worker {
    /// Works until `stop`.
    pub async fn run(&self, stop: &CancellationToken) {
        let failed = &self.metrics.failed;
        let round = || self.round(stop).boxed();
        rounds("consequences", stop, &self.databases, &self.config, failed, round).await;
    }

    /// Works on the items that are due. Returns how many there are.
    async fn round(&self, stop: &CancellationToken) -> Result<usize, Error> {
        self.metrics
            .open
            .set(i64::try_from(self.items.open().await?).unwrap_or(i64::MAX));
        let items = self.items.due(self.clock.now(), ROUND).await?;
        let looks: Vec<_> = items
            .iter()
            .enumerate()
            .map(|(at, item)| async move { (at, self.look(item).await) }.boxed())
            .collect();
        let looks = stream::iter(looks).buffer_unordered(AT_ONCE);
        // When the program ends, a look may be interrupted. It begins again later, and each command is complete in itself.
        let Some(looks) = stop.run_until_cancelled(looks.collect::<Vec<_>>()).await else {
            return Ok(items.len());
        };
        for (at, progress) in looks {
            let item = &items[at];
            match progress {
                Ok(Progress::After(last)) => self.items.go_on(item, last, self.clock.now()).await?,
                Ok(Progress::Complete) => match item.look {
                    Look::First => self.items.look_again(item, item.at + self.settle_after()).await?,
                    Look::Second => self.items.remove(item).await?,
                },
                Err(error) => {
                    self.metrics.failed.inc();
                    tracing::warn!(event = %item.event, %error, "could not complete the consequences of an event yet; trying again later");
                    let later = TimeDelta::from_std(self.config.retry_after).unwrap_or(TimeDelta::MAX);
                    self.items.postpone(item, self.clock.now() + later).await?;
                }
            }
        }
        Ok(items.len())
    }

    async fn look(&self, item: &Item) -> Result<Progress, WorkError> {
        let recorded = self.store.read_by_id(item.event, item.user.partition()).await?;
        let recorded = recorded.and_then(Result::ok).ok_or(WorkError::NoEvent(item.event))?;
        let cause = Cause::of(&recorded);
        match recorded.event()? {
            Event::UserBlocked(block) => {
                let ended = self.consequences.end_follows(&block, &cause).await?;
                self.metrics.ended.inc_by(ended);
                Ok(Progress::Complete)
            }
            Event::UserUnprotected(user) => self.accept(user.id, item.after, &cause).await,
            _ => Err(WorkError::NoEvent(item.event)),
        }
    }

    /// Accepts the requests of one page.
    async fn accept(&self, user: UserId, after: Option<EventId>, cause: &Cause) -> Result<Progress, WorkError> {
        let page = self.store.requests_to(user, after, PAGE).await?;
        let Some((last, _)) = page.last else {
            return Ok(Progress::Complete);
        };
        let mut requests = Vec::new();
        for request in &page.waiting {
            if let State::Follow(follow) = request.event()?.state() {
                requests.push(self.consequences.accept(follow.follower, user, cause).boxed());
            }
        }
        let mut answers = stream::iter(requests).buffer_unordered(self.config.concurrency);
        while let Some(answer) = answers.try_next().await? {
            match answer {
                Waited::Accepted => self.metrics.accepted.inc(),
                Waited::NotAnyMore => continue,
                Waited::Stop => return Ok(Progress::Complete),
            };
        }
        Ok(Progress::After(last))
    }

    fn settle_after(&self) -> TimeDelta {
        TimeDelta::from_std(self.config.settle_after).unwrap_or(TimeDelta::MAX)
    }
}
