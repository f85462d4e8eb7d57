//! Events that a handler could not handle, and later events of the same stream, which wait behind them.
//!
//! A letter holds ids and the reason, never the text: the text stays in the event store, where a deletion finds it. A retry is requested
//! on the letter, and a mark wakes the partition's owner, which carries it out. A discarded letter stays, so that a rebuild and `verify`
//! know of it.

use std::collections::{HashMap, HashSet};

use bson::{Document, doc};
use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;
use mongodb::error::Error;
use mongodb::options::{IndexOptions, ReturnDocument};
use mongodb::{Collection, Database, IndexModel};
use serde::{Deserialize, Serialize};

use crate::event_store::{Envelope, RecordedEvent};
use model::events::{Event, StreamId};
use model::ids::{EventId, Partition};

/// The collection, in the views' database.
pub const DEAD_LETTERS: &str = "dead_letters";

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The subscription and the event: another subscription may be able to handle the event.
    #[serde(rename = "_id")]
    pub id: String,
    pub subscription: String,
    pub partition: Partition,
    pub event: EventId,
    pub stream: StreamId,
    pub version: i64,
    pub event_type: String,
    pub reason: String,
    /// The event itself was not refused: an earlier event of its stream was.
    pub queued_behind: bool,
    pub retry_requested: bool,
    pub discarded: bool,
    #[serde(with = "bson::serde_helpers::datetime::FromChrono04DateTime")]
    pub at: DateTime<Utc>,
}

impl DeadLetter {
    /// Whether a program put it aside because it did not know the event's type or schema, and this program may know it. Only earlier
    /// versions do so. Now a partition waits for a program that knows the event.
    pub(super) fn was_unknown(&self) -> bool {
        let unknown_type = self.reason.starts_with("unknown event type '");
        let unknown_schema = self.reason.starts_with("event type '") && self.reason.contains(", newer than the ");
        (unknown_type || unknown_schema) && Event::TYPES.contains(&self.event_type.as_str())
    }
}

/// The reason of a letter whose event was not tried.
pub const QUEUED_BEHIND: &str = "an earlier event of the stream is a dead letter";

/// What an operator has decided about a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LetterState {
    /// Nothing yet. Later events of its stream wait behind it.
    Waits,
    /// To give the event up. Nothing waits behind it.
    Discarded,
}

/// The streams that have a dead letter, with the lowest version among their letters. Later events of the stream wait behind it. Earlier
/// ones do not, even if they come later.
#[derive(Debug, Clone, Default)]
pub struct Blocked(HashMap<StreamId, i64>);

impl Blocked {
    pub fn add(&mut self, stream: StreamId, version: i64) {
        let lowest = self.0.entry(stream).or_insert(version);
        *lowest = version.min(*lowest);
    }

    pub(super) fn extend(&mut self, others: Blocked) {
        for (stream, version) in others.0 {
            self.add(stream, version);
        }
    }

    /// Whether the event comes after a dead letter in its stream.
    pub fn holds(&self, event: &RecordedEvent) -> bool {
        self.is_behind(&event.stream, event.version)
    }

    pub(super) fn is_behind(&self, stream: &StreamId, version: i64) -> bool {
        self.0.get(stream).is_some_and(|&letter| version > letter)
    }

    /// The streams of a batch.
    pub(super) fn of<'a>(&self, events: impl Iterator<Item = &'a RecordedEvent>) -> Blocked {
        let concerned = events.filter_map(|event| self.0.get_key_value(&event.stream));
        Blocked(concerned.map(|(stream, &version)| (stream.clone(), version)).collect())
    }
}

/// What an operator may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    Retry,
    Discard,
}

/// The one writer of dead letters.
#[derive(Debug, Clone)]
pub struct DeadLetters {
    collection: Collection<DeadLetter>,
}

impl DeadLetters {
    pub fn new(views: &Database) -> Self {
        Self {
            collection: views.collection(DEAD_LETTERS),
        }
    }

    pub async fn ensure(&self) -> Result<(), Error> {
        let by_partition = IndexModel::builder()
            .keys(doc! { "subscription": 1, "partition": 1, "stream": 1, "version": 1 })
            .options(IndexOptions::builder().name("stream_order".to_owned()).build())
            .build();
        let discards = IndexModel::builder()
            .keys(doc! { "discarded": 1, "event": 1 })
            .options(IndexOptions::builder().name("discards".to_owned()).build())
            .build();
        self.collection.create_indexes([by_partition, discards]).await.map(drop)
    }

    /// Every letter of all subscriptions. Those of one stream are in order.
    pub async fn list(&self) -> Result<Vec<DeadLetter>, Error> {
        let order = doc! { "subscription": 1, "partition": 1, "stream": 1, "version": 1 };
        self.collection.find(doc! {}).sort(order).await?.try_collect().await
    }

    /// Writes an operator's request on the letters of an event, and returns them. The caller then wakes their partitions
    /// ([`crate::event_store::EventStore::wake`]).
    pub async fn request(&self, event: EventId, request: Request) -> Result<Vec<DeadLetter>, Error> {
        let change = match request {
            Request::Retry => doc! { "retry_requested": true, "discarded": false },
            Request::Discard => doc! { "discarded": true, "retry_requested": false },
        };
        self.collection
            .update_many(doc! { "event": event }, doc! { "$set": change })
            .await?;
        self.collection.find(doc! { "event": event }).await?.try_collect().await
    }

    /// The events that an operator has discarded, in the subscriptions that `concerned` accepts: another subscription may need what
    /// one can do without.
    pub async fn discarded(&self, concerned: impl Fn(&str) -> bool) -> Result<Vec<EventId>, Error> {
        let letters: Vec<DeadLetter> = self
            .collection
            .find(doc! { "discarded": true })
            .await?
            .try_collect()
            .await?;
        let letters = letters.into_iter().filter(|letter| concerned(&letter.subscription));
        Ok(letters.map(|letter| letter.event).collect())
    }

    /// Those of `events` that an operator has discarded, in the subscriptions that `concerned` accepts. The cost depends on the number of
    /// these events alone.
    pub async fn discarded_among(
        &self,
        events: impl Iterator<Item = EventId>,
        concerned: impl Fn(&str) -> bool,
    ) -> Result<HashSet<EventId>, Error> {
        let events: Vec<EventId> = events.collect();
        let discarded = doc! { "discarded": true, "event": { "$in": events } };
        let letters: Vec<DeadLetter> = self.collection.find(discarded).await?.try_collect().await?;
        let letters = letters.into_iter().filter(|letter| concerned(&letter.subscription));
        Ok(letters.map(|letter| letter.event).collect())
    }

    /// Whether an operator has discarded any event, in any subscription.
    pub async fn any_discarded(&self) -> Result<bool, Error> {
        Ok(self.collection.find_one(doc! { "discarded": true }).await?.is_some())
    }

    /// How many letters of the subscription wait for an operator.
    pub async fn waiting(&self, subscription: &str) -> Result<u64, Error> {
        self.collection
            .count_documents(doc! { "subscription": subscription, "discarded": false })
            .await
    }

    /// The letters of a partition that are not discarded. Those of one stream are in order.
    pub(super) async fn of_partition(
        &self,
        subscription: &str,
        partition: Partition,
    ) -> Result<Vec<DeadLetter>, Error> {
        let waiting = doc! { "subscription": subscription, "partition": partition, "discarded": false };
        self.collection
            .find(waiting)
            .sort(doc! { "stream": 1, "version": 1 })
            .await?
            .try_collect()
            .await
    }

    /// Copies the discarded letters of a subscription to another that replaces it.
    pub async fn carry_discards(&self, from: &str, to: &str) -> Result<(), Error> {
        let discarded = doc! { "subscription": from, "discarded": true };
        let letters: Vec<DeadLetter> = self.collection.find(discarded).await?.try_collect().await?;
        for letter in letters {
            let carried = DeadLetter {
                id: id(to, letter.event),
                subscription: to.to_owned(),
                ..letter
            };
            self.insert(&carried).await?;
        }
        Ok(())
    }

    /// Removes the letters of a subscription that has ended.
    pub async fn forget(&self, subscription: &str) -> Result<(), Error> {
        self.collection
            .delete_many(doc! { "subscription": subscription })
            .await
            .map(drop)
    }

    /// Records a letter. Repeating it is harmless, and does not undo an operator's request.
    pub async fn record(
        &self,
        subscription: &str,
        event: &Envelope,
        reason: &str,
        queued_behind: bool,
        at: DateTime<Utc>,
    ) -> Result<LetterState, Error> {
        let letter = DeadLetter {
            id: id(subscription, event.id),
            subscription: subscription.to_owned(),
            partition: event.partition,
            event: event.id,
            stream: event.stream.clone(),
            version: event.version,
            event_type: event.event_type.clone(),
            reason: reason.to_owned(),
            queued_behind,
            retry_requested: false,
            discarded: false,
            at,
        };
        let stored = self.insert(&letter).await?;
        Ok(if stored.discarded {
            LetterState::Discarded
        } else {
            LetterState::Waits
        })
    }

    /// Writes a letter if it is missing, and returns the stored one.
    async fn insert(&self, letter: &DeadLetter) -> Result<DeadLetter, Error> {
        let document: Document = bson::serialize_to_document(letter).map_err(Error::custom)?;
        self.collection
            .find_one_and_update(doc! { "_id": &letter.id }, doc! { "$setOnInsert": document })
            .upsert(true)
            .return_document(ReturnDocument::After)
            .await?
            .ok_or_else(|| Error::custom("an upsert returned no document"))
    }

    /// A retry failed too. The letter says why, and waits for an operator again.
    pub(super) async fn refused_again(&self, letter: &DeadLetter, reason: &str) -> Result<(), Error> {
        let again = doc! { "$set": { "reason": reason, "retry_requested": false, "queued_behind": false } };
        self.collection
            .update_one(doc! { "_id": &letter.id }, again)
            .await
            .map(drop)
    }

    /// The event is handled now.
    pub(super) async fn resolved(&self, letter: &DeadLetter) -> Result<(), Error> {
        self.collection.delete_one(doc! { "_id": &letter.id }).await.map(drop)
    }
}

fn id(subscription: &str, event: EventId) -> String {
    format!("{subscription}/{event}")
}
