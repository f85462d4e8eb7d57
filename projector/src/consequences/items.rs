//! `consequences`: the events whose consequences are not complete, and how far each is.

use bson::{Document, doc};
use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;
use model::ids::{EventId, UserId};
use mongodb::error::Error;
use mongodb::options::IndexOptions;
use mongodb::{Collection, Database, IndexModel};
use serde::{Deserialize, Serialize};

const CONSEQUENCES: &str = "consequences";

/// A block, or the end of a protection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    #[serde(rename = "_id")]
    pub event: EventId,
    /// The user whose event it is.
    pub user: UserId,
    pub look: Look,
    /// The last request of this look that was accepted, or needed no answer any more.
    pub after: Option<EventId>,
    /// Nothing has to be done before this time.
    #[serde(with = "bson::serde_helpers::datetime::FromChrono04DateTime")]
    pub due_at: DateTime<Utc>,
    /// When the event was recorded.
    #[serde(with = "bson::serde_helpers::datetime::FromChrono04DateTime")]
    pub at: DateTime<Utc>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Look {
    /// Right after the event.
    First,
    /// When every command that may have missed the event has ended. After it, the item is removed.
    Second,
}

impl Look {
    fn as_str(self) -> &'static str {
        match self {
            Look::First => "first",
            Look::Second => "second",
        }
    }
}

/// The only writer of the collection.
#[derive(Debug, Clone)]
pub struct Items {
    collection: Collection<Item>,
}

impl Items {
    pub fn new(views: &Database) -> Self {
        Self {
            collection: views.collection(CONSEQUENCES),
        }
    }

    pub(crate) async fn ensure(&self) -> Result<(), Error> {
        let due = IndexOptions::builder().name("due".to_owned()).build();
        let index = IndexModel::builder().keys(doc! { "due_at": 1 }).options(due).build();
        self.collection.create_index(index).await.map(drop)
    }

    /// Notes an event. A repetition changes nothing, unless everything is done: then two more looks find nothing to do.
    pub(crate) async fn add(&self, event: EventId, user: UserId, at: DateTime<Utc>) -> Result<(), Error> {
        let at = bson::DateTime::from_chrono(at);
        let item = doc! { "$setOnInsert": {
            "user": user,
            "look": Look::First.as_str(),
            "after": null,
            "due_at": at,
            "at": at,
        } };
        let noted = self.collection.update_one(doc! { "_id": event }, item).upsert(true);
        noted.await.map(drop)
    }

    /// The items that are due, the longest waiting first.
    pub(crate) async fn due(&self, now: DateTime<Utc>, limit: u32) -> Result<Vec<Item>, Error> {
        let due = doc! { "due_at": { "$lte": bson::DateTime::from_chrono(now) } };
        let found = self.collection.find(due).sort(doc! { "due_at": 1 });
        found.limit(i64::from(limit)).await?.try_collect().await
    }

    /// Goes on after this request, when others have had their turn.
    pub(crate) async fn go_on(&self, item: &Item, after: EventId, now: DateTime<Utc>) -> Result<(), Error> {
        let set = doc! { "after": after, "due_at": bson::DateTime::from_chrono(now) };
        self.update(item, doc! { "$set": set }).await
    }

    /// Ends the first look.
    pub(crate) async fn look_again(&self, item: &Item, due_at: DateTime<Utc>) -> Result<(), Error> {
        let due_at = bson::DateTime::from_chrono(due_at);
        let set = doc! { "look": Look::Second.as_str(), "after": null, "due_at": due_at };
        self.update(item, doc! { "$set": set }).await
    }

    /// Ends the second look.
    pub(crate) async fn remove(&self, item: &Item) -> Result<(), Error> {
        self.collection.delete_one(unchanged(item)).await.map(drop)
    }

    /// Lets other items go first after a failure.
    pub(crate) async fn postpone(&self, item: &Item, due_at: DateTime<Utc>) -> Result<(), Error> {
        let set = doc! { "due_at": bson::DateTime::from_chrono(due_at) };
        self.update(item, doc! { "$set": set }).await
    }

    /// How many events have consequences that are not complete.
    pub(crate) async fn open(&self) -> Result<u64, Error> {
        self.collection.count_documents(doc! {}).await
    }

    /// How far the consequences of an event are. `None` if they are complete, or not noted yet.
    pub async fn find(&self, event: EventId) -> Result<Option<Item>, Error> {
        self.collection.find_one(doc! { "_id": event }).await
    }

    async fn update(&self, item: &Item, update: Document) -> Result<(), Error> {
        self.collection.update_one(unchanged(item), update).await.map(drop)
    }
}

/// The guard keeps a process that slept through the loss of its seat from setting an item back, or from ending a look that it has not done.
fn unchanged(item: &Item) -> Document {
    doc! { "_id": item.event, "look": item.look.as_str(), "after": item.after }
}
