//! The event store: streams of events, appended with an expected version, in MongoDB's own commit order.
//!
//! One command appends one event document, so that state and event always agree. The collection is also the outbox that subscriptions
//! follow. What must change together with an event (reserved names, credentials, the redaction of earlier events) is written in the same
//! transaction, as [`Companion`]s.
//!
//! Invariant: a transaction holds at most one event, so that "after this position" is exact.

mod append;
mod follows;
mod marks;
mod recorded;
mod scan;
mod setup;
mod writable;

use bson::raw::RawDocumentBuf;
use bson::{Document, doc};
use futures_util::TryStreamExt;
use mongodb::error::Error;
use mongodb::options::{FindOneOptions, SessionOptions};
use mongodb::{ClientSession, Collection, Database};

pub use self::append::{AppendError, Appended, Companion, Idempotency, Metadata, NewEvent, Retries, Unique};
pub use self::follows::RequestPage;
pub use self::recorded::{BodyHash, Envelope, RecordedEvent, Unreadable};
pub use self::scan::EventScan;
use self::writable::Allowed;
use crate::consistency::StoreId;
use model::clock::SharedClock;
use model::events::StreamId;
use model::ids::{EventId, Partition, PostId, UserId};
use model::values::IdempotencyKey;

/// The collection of events.
pub const EVENTS: &str = "events";
/// The collection of marks.
pub const MARKS: &str = "marks";

/// The collection of the store's own document, and that document's `_id`.
const STORE: &str = "store";

/// The type of the events that [`EventStore::find_repost`] reads. A partial index holds only these.
const REPOSTED: &str = "repost.reposted";

/// The type of the events that [`EventStore::requests_to`] reads. A partial index holds only these.
const REQUESTED: &str = "follow.requested";

/// The type of the events that [`EventStore::lists_fewer_than`] counts. A partial index holds only these, and only while they have a title.
const LIST_CREATED: &str = "list.created";

/// The type of the events that [`EventStore::has_fewer_filters_than`] counts. A partial index holds only these, and only while they say what
/// the filter finds.
const FILTER_CREATED: &str = "filter.created";

/// The one writer of the events and the marks.
#[derive(Debug, Clone)]
pub struct EventStore {
    id: StoreId,
    database: Database,
    events: Collection<RecordedEvent>,
    marks: Collection<Document>,
    clock: SharedClock,
    retries: Retries,
    allowed: Allowed,
}

impl EventStore {
    /// Makes the collections and indexes that are missing, and reads or makes the store's id.
    pub async fn open(database: Database, clock: SharedClock, retries: Retries) -> Result<Self, Error> {
        let id = setup::ensure(&database).await?;
        Ok(Self {
            id,
            events: database.collection(EVENTS),
            marks: database.collection(MARKS),
            database,
            clock,
            retries,
            allowed: Allowed::default(),
        })
    }

    pub fn id(&self) -> StoreId {
        self.id
    }

    /// The database that holds the store and the companions of events.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// A causally consistent session: a read after a conflict sees the event that came first.
    pub async fn session(&self) -> Result<ClientSession, Error> {
        let options = SessionOptions::builder().causal_consistency(true).build();
        self.database.client().start_session().with_options(options).await
    }

    /// The last event of a stream: the whole state of its aggregate.
    pub async fn load(&self, session: &mut ClientSession, stream: &StreamId) -> Result<Option<RecordedEvent>, Error> {
        let newest = FindOneOptions::builder().sort(doc! { "version": -1 }).build();
        self.events
            .find_one(doc! { "stream": stream.as_str() })
            .with_options(newest)
            .session(session)
            .await
    }

    /// Every event of a stream, oldest first.
    pub async fn read_stream(&self, stream: &StreamId) -> Result<Vec<RecordedEvent>, Error> {
        self.events
            .find(doc! { "stream": stream.as_str() })
            .sort(doc! { "version": 1 })
            .await?
            .try_collect()
            .await
    }

    /// The event with this id, or an unreadable document. Events are never removed, so a missing one belongs to another store.
    ///
    /// It is read after a mark of its partition: a primary that was just elected may not show yet what the former one has acknowledged.
    pub async fn read_by_id(
        &self,
        id: EventId,
        partition: Partition,
    ) -> Result<Option<Result<RecordedEvent, Unreadable>>, Error> {
        let mut session = self.session().await?;
        self.mark_in(&mut session, Some(partition), false).await?;
        let documents = self.events.clone_with_type::<RawDocumentBuf>();
        let found = documents.find_one(doc! { "_id": id }).session(&mut session).await?;
        Ok(found.map(|document| RecordedEvent::read(&document)))
    }

    /// The event that an earlier request with this key wrote.
    pub async fn find_by_idempotency_key(
        &self,
        session: &mut ClientSession,
        actor: UserId,
        key: &IdempotencyKey,
    ) -> Result<Option<RecordedEvent>, Error> {
        self.events
            .find_one(doc! { "actor": actor, "idempotency_key": key.as_str() })
            .session(session)
            .await
    }

    /// The event that made the repost with this id. It may have been retracted since: its stream tells.
    pub async fn find_repost(&self, session: &mut ClientSession, id: PostId) -> Result<Option<RecordedEvent>, Error> {
        self.events
            .find_one(doc! { "type": REPOSTED, "data.id": id })
            .session(session)
            .await
    }

    /// About how many events there are, from the collection's metadata.
    pub async fn estimate(&self) -> Result<u64, Error> {
        self.events.estimated_document_count().await
    }
}

fn missing_operation_time() -> Error {
    Error::custom("the server sent no operationTime: it is not a replica set or a sharded cluster")
}
