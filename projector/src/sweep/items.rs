//! `sweeps`: the deleted users whose things are to be retracted, and how far that is.

use bson::doc;
use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;
use model::ids::{EventId, UserId};
use mongodb::error::Error;
use mongodb::options::IndexOptions;
use mongodb::{Collection, Database, IndexModel};
use serde::{Deserialize, Serialize};

const SWEEPS: &str = "sweeps";

/// A deleted user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    #[serde(rename = "_id")]
    pub user: UserId,
    /// The event that deleted the user: what the retractions follow from.
    pub tombstone: EventId,
    pub phase: Phase,
    /// Nothing is to be done before.
    #[serde(with = "bson::serde_helpers::datetime::FromChrono04DateTime")]
    pub due_at: DateTime<Utc>,
    #[serde(with = "bson::serde_helpers::datetime::FromChrono04DateTime")]
    pub deleted_at: DateTime<Utc>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Right after the deletion, and once more when no command is under way that has not heard of it.
    First,
    /// Once no access token of the user is left: what they did with the last ones, where nobody looks whether there is such a user.
    Last,
    Done,
}

impl Phase {
    fn as_str(self) -> &'static str {
        match self {
            Phase::First => "first",
            Phase::Last => "last",
            Phase::Done => "done",
        }
    }
}

/// The one writer of the collection.
#[derive(Debug, Clone)]
pub struct Items {
    collection: Collection<Item>,
}

impl Items {
    pub fn new(views: &Database) -> Self {
        Self {
            collection: views.collection(SWEEPS),
        }
    }

    pub(crate) async fn ensure(&self) -> Result<(), Error> {
        let due = IndexOptions::builder().name("due".to_owned()).build();
        let index = IndexModel::builder()
            .keys(doc! { "phase": 1, "due_at": 1 })
            .options(due)
            .build();
        self.collection.create_index(index).await.map(drop)
    }

    /// Notes that a user was deleted. A repeat changes nothing, however far the sweep is.
    pub(crate) async fn add(&self, user: UserId, tombstone: EventId, deleted_at: DateTime<Utc>) -> Result<(), Error> {
        let deleted_at = bson::DateTime::from_chrono(deleted_at);
        let item = doc! { "$setOnInsert": {
            "tombstone": tombstone,
            "phase": Phase::First.as_str(),
            "due_at": deleted_at,
            "deleted_at": deleted_at,
        } };
        self.collection
            .update_one(doc! { "_id": user }, item)
            .upsert(true)
            .await
            .map(drop)
    }

    /// Those whose turn it is, the longest waiting first.
    pub(crate) async fn due(&self, now: DateTime<Utc>, limit: u32) -> Result<Vec<Item>, Error> {
        let due = doc! {
            "phase": { "$in": [Phase::First.as_str(), Phase::Last.as_str()] },
            "due_at": { "$lte": bson::DateTime::from_chrono(now) },
        };
        self.collection
            .find(due)
            .sort(doc! { "due_at": 1 })
            .limit(i64::from(limit))
            .await?
            .try_collect()
            .await
    }

    /// The phase is over. The guard keeps a process that slept through its leadership from putting the item back.
    pub(crate) async fn advance(&self, item: &Item, next: Phase, due_at: DateTime<Utc>) -> Result<(), Error> {
        let current = doc! { "_id": item.user, "phase": item.phase.as_str() };
        let advance = doc! { "$set": { "phase": next.as_str(), "due_at": bson::DateTime::from_chrono(due_at) } };
        self.collection.update_one(current, advance).await.map(drop)
    }

    /// Lets the others go first, after a failure.
    pub(crate) async fn postpone(&self, item: &Item, due_at: DateTime<Utc>) -> Result<(), Error> {
        self.advance(item, item.phase, due_at).await
    }

    /// How many users are still to be swept.
    pub(crate) async fn open(&self) -> Result<u64, Error> {
        let open = doc! { "phase": { "$in": [Phase::First.as_str(), Phase::Last.as_str()] } };
        self.collection.count_documents(open).await
    }

    /// How far the sweep of a user is; `None` where the deletion has not been seen yet.
    pub async fn find(&self, user: UserId) -> Result<Option<Item>, Error> {
        self.collection.find_one(doc! { "_id": user }).await
    }
}
