//! Appending events: by one insert or one transaction, and what to do when no answer comes.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use bson::{Document, doc};
use mongodb::ClientSession;
use mongodb::error::Error;
use uuid::Uuid;

use super::{BodyHash, EventStore, RecordedEvent, missing_operation_time};
use crate::mongo::{is_duplicate_key, is_transient, is_write_conflict, majority};
use crate::position::Position;
use model::events::{Event, StreamId};
use model::ids::{EventId, Partition, UserId};
use model::values::IdempotencyKey;

/// An event to append.
#[derive(Debug, Clone)]
pub struct NewEvent {
    pub event: Event,
    /// The version of the stream that the decision was based on. 0: the stream does not exist.
    pub expected_version: i64,
    pub actor: UserId,
    pub metadata: Metadata,
    pub idempotency: Option<Idempotency>,
}

/// Where a command came from.
#[derive(Debug, Clone)]
pub struct Metadata {
    pub command_id: Uuid,
    pub correlation_id: String,
    pub causation_id: Option<EventId>,
    pub traceparent: Option<String>,
}

#[derive(Debug, Clone)]
pub struct Idempotency {
    pub key: IdempotencyKey,
    pub body_hash: BodyHash,
}

/// A write to another collection of the events' database, in the transaction of the event.
#[derive(Debug, Clone)]
pub enum Companion {
    /// Fails with [`AppendError::Taken`] if the `_id` exists already.
    Insert {
        collection: &'static str,
        document: Document,
        unique: Unique,
    },
    Update {
        collection: &'static str,
        filter: Document,
        update: Document,
    },
    Delete {
        collection: &'static str,
        filter: Document,
    },
    /// Deletes one document. Fails with [`AppendError::Spent`] if there is none.
    Consume {
        collection: &'static str,
        filter: Document,
    },
    /// Takes the text of users out of the stream's earlier events.
    Redact {
        stream: StreamId,
    },
}

/// What the `_id` of a companion makes unique.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unique {
    Handle,
    Email,
    /// The document alone: nobody chooses its `_id`.
    Document,
}

/// An event that was appended.
#[derive(Debug, Clone)]
pub struct Appended {
    pub recorded: RecordedEvent,
    pub position: Position,
}

#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Another event was appended after the expected version: load and decide again.
    #[error("the stream has moved on")]
    Conflict,
    /// The actor has used this idempotency key before, for this event.
    #[error("the idempotency key was used before")]
    KeyUsed(Box<RecordedEvent>),
    /// The `_id` of a companion exists already.
    #[error("a companion exists already: {0:?}")]
    Taken(Unique),
    /// The document that a companion consumes does not exist, or no longer.
    #[error("the document to consume does not exist")]
    Spent,
    /// A program of an earlier version, which can't read the event, may still be running.
    #[error("not every program can read the event yet")]
    TooNew,
    #[error(transparent)]
    Database(#[from] Error),
}

/// How often to try again when the database does not answer, and after which delay.
#[derive(Debug, Clone, Copy)]
pub struct Retries {
    pub attempts: usize,
    pub first_delay: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            attempts: 4,
            first_delay: Duration::from_millis(50),
        }
    }
}

/// The delays after a transaction that conflicts with another write of the same document. They are random, because otherwise the same two
/// writers would conflict again and again. In total they last about four seconds, nearly as long as a command may take.
const AFTER_CONFLICT: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(2))
    .with_max_delay(Duration::from_millis(100))
    .with_max_times(32)
    .with_jitter();

impl Retries {
    pub(super) fn delays(self) -> impl Iterator<Item = Duration> {
        ExponentialBuilder::default()
            .with_min_delay(self.first_delay)
            .with_max_times(self.attempts.saturating_sub(1))
            .with_jitter()
            .build()
    }
}

impl EventStore {
    /// Appends an event by one insert, acknowledged by a majority, journaled.
    ///
    /// If the outcome is unknown, the identical document is inserted again. If its own `_id` exists then, the first insert succeeded.
    pub async fn append(&self, session: &mut ClientSession, new: NewEvent) -> Result<Appended, AppendError> {
        let recorded = self.record(new)?;
        self.check_allowed(session, recorded.schema).await?;
        let mut delays = self.retries.delays();
        loop {
            let insert = self.events.insert_one(&recorded).session(&mut *session).await;
            match insert {
                Ok(_) => {
                    let position = session.operation_time().ok_or_else(missing_operation_time)?.into();
                    return Ok(Appended { recorded, position });
                }
                Err(error) if is_duplicate_key(&error) => {
                    return self.settle_duplicate(session, recorded).await;
                }
                Err(error) if is_transient(&error) => match delays.next() {
                    Some(delay) => {
                        tracing::warn!(%error, event_id = %recorded.id, "the append got no answer; trying again with the same document");
                        tokio::time::sleep(delay).await;
                    }
                    None => return Err(error.into()),
                },
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Appends an event together with its companions, in one transaction.
    pub async fn append_with(
        &self,
        session: &mut ClientSession,
        new: NewEvent,
        companions: &[Companion],
    ) -> Result<Appended, AppendError> {
        let recorded = self.record(new)?;
        self.check_allowed(session, recorded.schema).await?;
        let mut delays = self.retries.delays();
        let mut after_conflict = AFTER_CONFLICT.build();
        loop {
            match self.try_transaction(session, &recorded, companions).await {
                Ok(()) => return self.appended_in_transaction(session, recorded).await,
                Err(Attempt::Failed(error)) if is_write_conflict(&error) => match after_conflict.next() {
                    Some(delay) => tokio::time::sleep(delay).await,
                    None => return Err(error.into()),
                },
                Err(Attempt::Failed(error)) if is_transient(&error) => {
                    // The commit may have happened nevertheless.
                    match delays.next() {
                        Some(delay) => {
                            tracing::warn!(%error, event_id = %recorded.id, "the transaction got no answer; trying again");
                            tokio::time::sleep(delay).await;
                        }
                        None => return Err(error.into()),
                    }
                }
                Err(Attempt::Failed(error)) => return Err(error.into()),
                Err(Attempt::EventExists) => return self.settle_duplicate(session, recorded).await,
                Err(Attempt::Refused(refusal)) => {
                    // An earlier transaction of ours may have committed without an answer, and made or consumed the document.
                    if self.find_own(session, &recorded).await? {
                        return self.appended_in_transaction(session, recorded).await;
                    }
                    return Err(refusal);
                }
            }
        }
    }

    /// The position for the answer of a transaction, of a command without effect, or of a replay.
    pub async fn position_after(&self, session: &mut ClientSession, partition: Partition) -> Result<Position, Error> {
        self.mark_in(session, Some(partition), false).await
    }

    fn record(&self, new: NewEvent) -> Result<RecordedEvent, AppendError> {
        let now = self.clock.now();
        let (idempotency_key, body_hash) = match new.idempotency {
            Some(idempotency) => (Some(idempotency.key), Some(idempotency.body_hash)),
            None => (None, None),
        };
        Ok(RecordedEvent {
            id: EventId::new(now),
            stream: new.event.stream(),
            version: new.expected_version + 1,
            event_type: new.event.event_type().to_owned(),
            schema: new.event.schema(),
            partition: new.event.partition(),
            actor: new.actor,
            command_id: new.metadata.command_id,
            correlation_id: new.metadata.correlation_id,
            causation_id: new.metadata.causation_id,
            traceparent: new.metadata.traceparent,
            idempotency_key,
            body_hash,
            recorded_at: now,
            data: new
                .event
                .encode()
                .map_err(|error| AppendError::Database(Error::custom(error)))?,
        })
    }

    /// A transaction's `operationTime` is no position. A mark that is written after it has one.
    async fn appended_in_transaction(
        &self,
        session: &mut ClientSession,
        recorded: RecordedEvent,
    ) -> Result<Appended, AppendError> {
        let position = self.position_after(session, recorded.partition).await?;
        Ok(Appended { recorded, position })
    }

    async fn find_own(&self, session: &mut ClientSession, recorded: &RecordedEvent) -> Result<bool, Error> {
        Ok(self
            .events
            .find_one(doc! { "_id": recorded.id })
            .session(session)
            .await?
            .is_some())
    }

    /// Up to three unique indexes may have refused the insert, and the error names only one. So this reads what exists.
    async fn settle_duplicate(
        &self,
        session: &mut ClientSession,
        recorded: RecordedEvent,
    ) -> Result<Appended, AppendError> {
        if self.find_own(session, &recorded).await? {
            return self.appended_in_transaction(session, recorded).await;
        }
        if let Some(key) = &recorded.idempotency_key
            && let Some(earlier) = self.find_by_idempotency_key(session, recorded.actor, key).await?
        {
            return Err(AppendError::KeyUsed(Box::new(earlier)));
        }
        Err(AppendError::Conflict)
    }

    async fn try_transaction(
        &self,
        session: &mut ClientSession,
        recorded: &RecordedEvent,
        companions: &[Companion],
    ) -> Result<(), Attempt> {
        session.start_transaction().write_concern(majority()).await?;
        let written = self.write_all(session, recorded, companions).await;
        if let Err(attempt) = written {
            // The first error is the one to report. If the abort fails, the server aborts the transaction after a while.
            if let Err(error) = session.abort_transaction().await {
                tracing::debug!(%error, "aborting the transaction failed");
            }
            return Err(attempt);
        }
        Ok(session.commit_transaction().await?)
    }

    async fn write_all(
        &self,
        session: &mut ClientSession,
        recorded: &RecordedEvent,
        companions: &[Companion],
    ) -> Result<(), Attempt> {
        match self.events.insert_one(recorded).session(&mut *session).await {
            Ok(_) => {}
            Err(error) if is_duplicate_key(&error) => return Err(Attempt::EventExists),
            Err(error) => return Err(error.into()),
        }
        for companion in companions {
            self.write_companion(session, recorded, companion).await?;
        }
        Ok(())
    }

    async fn write_companion(
        &self,
        session: &mut ClientSession,
        recorded: &RecordedEvent,
        companion: &Companion,
    ) -> Result<(), Attempt> {
        match companion {
            Companion::Insert {
                collection,
                document,
                unique,
            } => {
                let collection = self.database.collection::<Document>(collection);
                match collection.insert_one(document).session(session).await {
                    Err(error) if is_duplicate_key(&error) => Err(Attempt::Refused(AppendError::Taken(*unique))),
                    other => other.map(drop).map_err(Attempt::from),
                }
            }
            Companion::Update {
                collection,
                filter,
                update,
            } => {
                let collection = self.database.collection::<Document>(collection);
                collection
                    .update_one(filter.clone(), update.clone())
                    .session(session)
                    .await?;
                Ok(())
            }
            Companion::Delete { collection, filter } => {
                self.database
                    .collection::<Document>(collection)
                    .delete_many(filter.clone())
                    .session(session)
                    .await?;
                Ok(())
            }
            Companion::Consume { collection, filter } => {
                let consumed = self
                    .database
                    .collection::<Document>(collection)
                    .delete_one(filter.clone())
                    .session(session)
                    .await?;
                match consumed.deleted_count {
                    0 => Err(Attempt::Refused(AppendError::Spent)),
                    _ => Ok(()),
                }
            }
            Companion::Redact { stream } => {
                let earlier = doc! { "stream": stream.as_str(), "version": { "$lt": recorded.version } };
                let words = doc! {
                    "data.content": "", "data.title": "", "data.comment": "",
                    "data.display_name": "", "data.bio": "", "data.fields": "", "body_hash": "",
                };
                self.events
                    .update_many(earlier, doc! { "$unset": words })
                    .session(session)
                    .await?;
                Ok(())
            }
        }
    }
}

/// How an attempt at the transaction failed.
enum Attempt {
    Failed(Error),
    EventExists,
    /// By a companion.
    Refused(AppendError),
}

impl From<Error> for Attempt {
    fn from(error: Error) -> Self {
        Attempt::Failed(error)
    }
}
