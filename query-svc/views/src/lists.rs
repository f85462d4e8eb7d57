//! `lists`: the lists of users and tags that each user has. What is in them is in `list_members` and `list_tags`.

use std::collections::HashSet;

use bson::{Bson, doc};
use event_log::position::Position;
use event_log::subscription::Delivery;
use futures_util::TryStreamExt;
use model::events::State;
use model::ids::{ListId, UserId};
use mongodb::error::Error;
use mongodb::{Collection, Database};
use serde::{Deserialize, Serialize};

use super::guarded::GuardedRows;
use super::range::Range;

pub const NAME: &str = "lists";

/// A list that is not deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    #[serde(rename = "_id")]
    pub id: ListId,
    pub owner: UserId,
    pub title: String,
    pub exclusive: bool,
    /// The position of its last event in the commit order. Unknown if a scan has found the event.
    #[serde(default)]
    pub position: Option<Position>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct OwnerOnly {
    owner: UserId,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct IdOnly {
    #[serde(rename = "_id")]
    id: ListId,
}

/// The one writer of the collection.
#[derive(Debug, Clone)]
pub struct Lists {
    database: Database,
    lists: Collection<List>,
}

impl Lists {
    pub(super) fn new(database: &Database, name: &str) -> Self {
        Self {
            database: database.clone(),
            lists: super::collection(database, name),
        }
    }

    pub fn name(&self) -> &str {
        self.lists.name()
    }

    pub(super) async fn ensure(&self) -> Result<(), Error> {
        super::create_plain(&self.database, self.lists.name()).await?;
        let of_owner = super::index("owner", doc! { "owner": 1, "live": 1, "_id": -1 }, None);
        self.lists.create_index(of_owner).await?;
        Ok(())
    }

    pub async fn find(&self, list: ListId) -> Result<Option<List>, Error> {
        self.lists.find_one(doc! { "_id": list, "live": true }).await
    }

    /// The lists of a user, the last one made first.
    pub async fn of_owner(&self, owner: UserId, range: Range<ListId>) -> Result<Vec<List>, Error> {
        let mut filter = doc! { "owner": owner, "live": true };
        range.bound(&mut filter, "_id");
        let sort = doc! { "_id": range.direction() };
        let found = self.lists.find(filter).sort(sort).limit(i64::from(range.limit));
        Ok(range.newest_first(found.await?.try_collect().await?))
    }

    /// The exclusive lists of a user. A user may have only so many lists.
    pub async fn exclusive_of(&self, owner: UserId) -> Result<HashSet<ListId>, Error> {
        let exclusive = doc! { "owner": owner, "live": true, "exclusive": true };
        let ids = self.lists.clone_with_type::<IdOnly>();
        let found = ids.find(exclusive).projection(doc! { "_id": 1 }).await?;
        found.map_ok(|list| list.id).try_collect().await
    }

    /// Those of these users who have an exclusive list.
    pub(super) async fn exclusive_among(&self, users: &[UserId]) -> Result<HashSet<UserId>, Error> {
        let users: Vec<Bson> = users.iter().map(|&user| user.into()).collect();
        let exclusive = doc! { "owner": { "$in": users }, "live": true, "exclusive": true };
        let owners = self.lists.clone_with_type::<OwnerOnly>();
        let found = owners.find(exclusive).projection(doc! { "_id": 0, "owner": 1 }).await?;
        found.map_ok(|list| list.owner).try_collect().await
    }

    /// Applies the lists among these events to the rows. An event without a title is that of a list that was deleted later.
    pub(super) async fn apply(&self, batch: &[Delivery]) -> Result<(), Error> {
        let mut rows = GuardedRows::default();
        for delivery in batch {
            let State::List(list) = delivery.event.state() else {
                continue;
            };
            let title = list.title.as_deref().filter(|_| !list.deleted);
            let row = doc! { "owner": list.owner, "title": title, "exclusive": list.exclusive };
            rows.add(list.id.to_bson(), delivery, title.is_some(), row);
        }
        rows.write(&self.database, self.lists.name()).await
    }
}
