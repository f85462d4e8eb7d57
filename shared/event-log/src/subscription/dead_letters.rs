//! Events that a handler could not work on, and those of the same stream that wait behind them.
//!
//! A letter keeps ids and the reason, never the text: that stays in the event store, where a deletion finds it. `retry` is written on the letter and a mark wakes
//! the partition's owner, who executes it; a discard stays on record, so that a rebuild and `verify` know it.

use std::collections::HashSet;

use bson::{Document, doc};
use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;
use mongodb::error::Error;
use mongodb::options::{IndexOptions, ReturnDocument};
use mongodb::{Collection, Database, IndexModel};
use serde::{Deserialize, Serialize};

use crate::event_store::Envelope;
use model::events::{Event, StreamId};
use model::ids::{EventId, Partition};

/// The collection, in the views' database.
pub const DEAD_LETTERS: &str = "dead_letters";

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The subscription and the event: another subscription may well work on it.
    #[serde(rename = "_id")]
    pub id: String,
    pub subscription: String,
    pub partition: Partition,
    pub event: EventId,
    pub stream: StreamId,
    pub version: i64,
    pub event_type: String,
    pub reason: String,
    /// It was not refused itself: an earlier event of its stream was.
    pub queued_behind: bool,
    pub retry_requested: bool,
    pub discarded: bool,
    #[serde(with = "bson::serde_helpers::datetime::FromChrono04DateTime")]
    pub at: DateTime<Utc>,
}

impl DeadLetter {
    /// Whether a program put it aside that did not know the event's type or schema, and this one may know it. Programs of before do
    /// so; today a partition waits for one that knows.
    pub(super) fn was_unknown(&self) -> bool {
        let unknown_type = self.reason.starts_with("unknown event type '");
        let unknown_schema = self.reason.starts_with("event type '") && self.reason.contains(", newer than the ");
        (unknown_type || unknown_schema) && Event::TYPES.contains(&self.event_type.as_str())
    }
}

/// The reason of a letter whose event nobody has tried.
pub const QUEUED_BEHIND: &str = "an earlier event of the stream is a dead letter";

/// What became of a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Buried {
    /// It waits for an operator, and what follows in its stream waits behind it.
    Waits,
    /// An operator has given it up before: it holds up nothing.
    Discarded,
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

    /// Every letter, of all subscriptions, those of one stream in order.
    pub async fn list(&self) -> Result<Vec<DeadLetter>, Error> {
        let order = doc! { "subscription": 1, "partition": 1, "stream": 1, "version": 1 };
        self.collection.find(doc! {}).sort(order).await?.try_collect().await
    }

    /// Writes an operator's request on the letters of an event; answers the letters it reached. The caller
    /// then wakes their partitions ([`crate::event_store::EventStore::wake`]).
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

    /// The events that an operator gave up on, in the subscriptions that `concerned` names: what one purpose does without,
    /// another may need.
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

    /// Those of `events` that an operator gave up on, in the subscriptions that `concerned` names. It costs what these events cost,
    /// however many others there are.
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

    /// Whether an operator gave up on anything, whatever the subscription.
    pub async fn any_discarded(&self) -> Result<bool, Error> {
        Ok(self.collection.find_one(doc! { "discarded": true }).await?.is_some())
    }

    /// How many letters of the subscription wait for an operator.
    pub async fn waiting(&self, subscription: &str) -> Result<u64, Error> {
        self.collection
            .count_documents(doc! { "subscription": subscription, "discarded": false })
            .await
    }

    /// The letters of a partition that are not discarded, those of one stream in order.
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

    /// Puts what an operator discarded in one subscription on the record of another that takes its place.
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

    /// Forgets the letters of a subscription that has ended.
    pub async fn forget(&self, subscription: &str) -> Result<(), Error> {
        self.collection
            .delete_many(doc! { "subscription": subscription })
            .await
            .map(drop)
    }

    /// Records a letter. Repeating is harmless, and does not undo what an operator wrote on it.
    pub async fn record(
        &self,
        subscription: &str,
        event: &Envelope,
        reason: &str,
        queued_behind: bool,
        at: DateTime<Utc>,
    ) -> Result<Buried, Error> {
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
            Buried::Discarded
        } else {
            Buried::Waits
        })
    }

    /// Writes a letter if it is not there, and answers with what is there.
    async fn insert(&self, letter: &DeadLetter) -> Result<DeadLetter, Error> {
        let document: Document = bson::serialize_to_document(letter).map_err(Error::custom)?;
        self.collection
            .find_one_and_update(doc! { "_id": &letter.id }, doc! { "$setOnInsert": document })
            .upsert(true)
            .return_document(ReturnDocument::After)
            .await?
            .ok_or_else(|| Error::custom("an upsert answered with nothing"))
    }

    /// A retry failed too: the letter says why, and waits for the operator again.
    pub(super) async fn refused_again(&self, letter: &DeadLetter, reason: &str) -> Result<(), Error> {
        let again = doc! { "$set": { "reason": reason, "retry_requested": false, "queued_behind": false } };
        self.collection
            .update_one(doc! { "_id": &letter.id }, again)
            .await
            .map(drop)
    }

    /// The event is handled after all.
    pub(super) async fn resolved(&self, letter: &DeadLetter) -> Result<(), Error> {
        self.collection.delete_one(doc! { "_id": &letter.id }).await.map(drop)
    }
}

fn id(subscription: &str, event: EventId) -> String {
    format!("{subscription}/{event}")
}
