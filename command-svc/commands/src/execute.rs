//! How every command is carried out: load, decide, append with the expected version. After a conflict, it decides again on the new state.

use std::sync::Arc;
use std::time::{Duration, Instant};

use event_log::event_store::{
    AppendError, Appended, Companion, EventStore, Idempotency, Metadata, NewEvent, RecordedEvent,
};
use event_log::position::Position;
use model::events::Event;
use model::ids::{EventId, Partition, UserId};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;
use uuid::Uuid;

use super::error::append_failed;
use super::read::Reader;
use super::{CommandError, Refusal, Unavailable};
use crate::metrics::Metrics;

/// How often a command decides again after the first attempt.
const DECIDED_AGAIN: usize = 3;

/// Who gives a command, and what caused it.
#[derive(Debug, Clone)]
pub struct Cause {
    pub actor: UserId,
    pub correlation_id: String,
    pub causation_id: Option<EventId>,
    pub traceparent: Option<String>,
}

impl Cause {
    /// The cause of a command that a process gives because of an event, on behalf of the event's actor.
    pub fn of(event: &RecordedEvent) -> Self {
        Self {
            actor: event.actor,
            correlation_id: event.correlation_id.clone(),
            causation_id: Some(event.id),
            traceparent: event.traceparent.clone(),
        }
    }
}

/// A change that somebody wants to make to one aggregate.
pub(super) trait Command: Send + Sync {
    type Answer: Send;

    /// Reads what it needs and decides. It runs again after a conflict, so it keeps no state.
    fn plan(&self, read: Reader<'_>) -> impl Future<Output = Result<Plan<Self::Answer>, CommandError>> + Send;

    /// Set if the same request must not be carried out twice.
    fn idempotency(&self) -> Option<&Idempotency> {
        None
    }

    /// The answer to a repeated request: what the first request with this idempotency key was answered.
    fn replay(&self, _earlier: Event) -> Result<Self::Answer, CommandError> {
        Err(Refusal::KeyReused.into())
    }
}

/// What to do, and what to answer.
#[derive(Debug)]
pub(super) enum Plan<A> {
    Append {
        event: Event,
        expected_version: i64,
        companions: Vec<Companion>,
        answer: A,
    },
    /// The state is already as requested. `partition` is the partition of the events that made it so.
    Nothing { partition: Partition, answer: A },
    /// An earlier request had the same idempotency key.
    Replay(RecordedEvent),
}

impl<A> Plan<A> {
    /// Appends the event, if there is one.
    pub(super) fn of(event: Option<Event>, expected_version: i64, partition: Partition, answer: A) -> Self {
        match event {
            Some(event) => Self::append(event, expected_version, answer),
            None => Self::Nothing { partition, answer },
        }
    }

    pub(super) fn append(event: Event, expected_version: i64, answer: A) -> Self {
        Self::Append {
            event,
            expected_version,
            companions: Vec::new(),
            answer,
        }
    }
}

/// The result of a command, and the point in the commit order at which it is visible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done<A> {
    pub answer: A,
    pub partition: Partition,
    pub position: Position,
}

/// Carries out a limited number of commands at a time, because the driver does not limit how many wait for a connection.
#[derive(Debug, Clone)]
pub(crate) struct Executor {
    pub(super) store: EventStore,
    places: Arc<Semaphore>,
    max_queueing: Duration,
    metrics: Metrics,
}

impl Executor {
    pub(crate) fn new(store: EventStore, at_once: usize, max_queueing: Duration, metrics: Metrics) -> Self {
        Self {
            store,
            places: Arc::new(Semaphore::new(at_once)),
            max_queueing,
            metrics,
        }
    }

    /// The permit to use the database, until it is dropped.
    pub(super) async fn place(&self) -> Result<SemaphorePermit<'_>, Unavailable> {
        match timeout(self.max_queueing, self.places.acquire()).await {
            Ok(place) => Ok(place.expect("the semaphore is never closed")),
            Err(_) => Err(Unavailable::Saturated),
        }
    }

    pub(super) async fn execute<C: Command>(&self, command: &C, cause: Cause) -> Result<Done<C::Answer>, CommandError> {
        let _place = self.place().await?;
        let mut session = self.store.session().await?;
        for _ in 0..=DECIDED_AGAIN {
            let (event, expected_version, companions, answer) =
                match command.plan(Reader::new(&self.store, &mut session)).await? {
                    Plan::Append {
                        event,
                        expected_version,
                        companions,
                        answer,
                    } => (event, expected_version, companions, answer),
                    Plan::Nothing { partition, answer } => {
                        let position = self.store.position_after(&mut session, partition).await?;
                        return Ok(Done {
                            answer,
                            partition,
                            position,
                        });
                    }
                    Plan::Replay(earlier) => return self.replay(&mut session, command, &earlier).await,
                };
            let new = NewEvent {
                event,
                expected_version,
                actor: cause.actor,
                metadata: metadata(&cause),
                idempotency: command.idempotency().cloned(),
            };
            match self.append(&mut session, new, &companions).await {
                Ok(Appended { recorded, position }) => {
                    return Ok(Done {
                        answer,
                        partition: recorded.partition,
                        position,
                    });
                }
                Err(AppendError::Conflict) => self.metrics.conflicts.inc(),
                Err(AppendError::KeyUsed(earlier)) => return self.replay(&mut session, command, &earlier).await,
                Err(error) => return Err(append_failed(error)),
            };
        }
        Err(Refusal::Contended.into())
    }

    /// For a command that a process gives.
    pub(super) async fn execute_within<C: Command>(
        &self,
        deadline: Duration,
        command: &C,
        cause: &Cause,
    ) -> Result<Done<C::Answer>, CommandError> {
        timeout(deadline, self.execute(command, cause.clone()))
            .await
            .map_err(|_| Unavailable::Deadline)?
    }

    async fn append(
        &self,
        session: &mut mongodb::ClientSession,
        new: NewEvent,
        companions: &[Companion],
    ) -> Result<Appended, AppendError> {
        let started = Instant::now();
        let appended = if companions.is_empty() {
            self.store.append(session, new).await
        } else {
            self.store.append_with(session, new, companions).await
        };
        self.metrics.append_seconds.observe(started.elapsed().as_secs_f64());
        appended
    }

    async fn replay<C: Command>(
        &self,
        session: &mut mongodb::ClientSession,
        command: &C,
        earlier: &RecordedEvent,
    ) -> Result<Done<C::Answer>, CommandError> {
        let same = |idempotency: &Idempotency| earlier.body_hash.is_none_or(|hash| hash == idempotency.body_hash);
        if !command.idempotency().is_some_and(same) {
            return Err(Refusal::KeyReused.into());
        }
        let answer = command.replay(earlier.event()?)?;
        let partition = earlier.partition;
        let position = self.store.position_after(session, partition).await?;
        Ok(Done {
            answer,
            partition,
            position,
        })
    }
}

fn metadata(cause: &Cause) -> Metadata {
    Metadata {
        command_id: Uuid::new_v4(),
        correlation_id: cause.correlation_id.clone(),
        causation_id: cause.causation_id,
        traceparent: cause.traceparent.clone(),
    }
}
