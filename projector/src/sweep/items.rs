//! `sweeps`: the deleted users to sweep, and how far the sweep of each is.

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
    /// The event that deleted the user. It is the cause of the retractions.
    pub tombstone: EventId,
    pub phase: Phase,
    /// Nothing has to be done before this time.
    #[serde(with = "bson::serde_helpers::datetime::FromChrono04DateTime")]
    pub due_at: DateTime<Utc>,
    #[serde(with = "bson::serde_helpers::datetime::FromChrono04DateTime")]
    pub deleted_at: DateTime<Utc>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Right after the deletion, and again when every command that may have missed the deletion has ended.
    First,
    /// When no access token of the user is left. It finds what they did with the last ones through commands that do not check the user.
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

/// The only writer of the collection.
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

    /// Notes that a user was deleted. A repetition changes nothing, however far the sweep is.
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

    /// The items that are due, the longest waiting first.
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

    /// Ends the phase. The guard keeps a process that slept through the loss of its seat from resetting the item.
    pub(crate) async fn advance(&self, item: &Item, next: Phase, due_at: DateTime<Utc>) -> Result<(), Error> {
        let current = doc! { "_id": item.user, "phase": item.phase.as_str() };
        let advance = doc! { "$set": { "phase": next.as_str(), "due_at": bson::DateTime::from_chrono(due_at) } };
        self.collection.update_one(current, advance).await.map(drop)
    }

    /// Lets other items go first after a failure.
    pub(crate) async fn postpone(&self, item: &Item, due_at: DateTime<Utc>) -> Result<(), Error> {
        self.advance(item, item.phase, due_at).await
    }

    /// How many users are not swept yet.
    pub(crate) async fn open(&self) -> Result<u64, Error> {
        let open = doc! { "phase": { "$in": [Phase::First.as_str(), Phase::Last.as_str()] } };
        self.collection.count_documents(open).await
    }

    /// How far the sweep of a user is. `None` if the deletion has not been handled yet.
    pub async fn find(&self, user: UserId) -> Result<Option<Item>, Error> {
        self.collection.find_one(doc! { "_id": user }).await
    }
}
