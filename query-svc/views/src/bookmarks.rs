//! `bookmarks`: the posts that each user keeps.
//!
//! A row counts for nothing elsewhere, so that each is written by itself, outside of the transactions of [`super::rows`]. A collection
//! of its own, because programs of the version before read each row of `relations` and would not know this kind.

use bson::spec::BinarySubtype;
use bson::{Binary, doc};
use event_log::position::Position;
use event_log::subscription::Delivery;
use futures_util::TryStreamExt;
use model::events::State;
use model::ids::{EventId, PostId, UserId};
use mongodb::error::Error;
use mongodb::{Collection, Database};
use serde::{Deserialize, Serialize};

use super::bulk::{self, Update};
use super::range::Range;

pub const NAME: &str = "bookmarks";

/// A post that a user keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bookmark {
    pub user: UserId,
    pub post: PostId,
    /// The event that made it: lists are ordered by it, and it is their cursor.
    pub order: EventId,
    /// Where that event stands in the commit order; unknown of what a scan has found.
    #[serde(default)]
    pub position: Option<Position>,
}

/// user (16 bytes) ‖ post (16).
fn bookmark_id(user: UserId, post: PostId) -> Binary {
    Binary {
        subtype: BinarySubtype::Generic,
        bytes: [*user.as_bytes(), *post.as_bytes()].concat(),
    }
}

/// The one writer of the collection.
#[derive(Debug, Clone)]
pub struct Bookmarks {
    database: Database,
    bookmarks: Collection<Bookmark>,
}

impl Bookmarks {
    pub(super) fn new(database: &Database, name: &str) -> Self {
        Self {
            database: database.clone(),
            bookmarks: super::collection(database, name),
        }
    }

    pub(super) async fn ensure(&self) -> Result<(), Error> {
        super::create_plain(&self.database, self.bookmarks.name()).await?;
        let of_user = super::index("user", doc! { "user": 1, "live": 1, "order": -1 }, None);
        self.bookmarks.create_index(of_user).await?;
        Ok(())
    }

    /// What a user keeps, the latest first.
    pub async fn of_user(&self, user: UserId, range: Range<EventId>) -> Result<Vec<Bookmark>, Error> {
        let mut filter = doc! { "user": user, "live": true };
        range.bound(&mut filter, "order");
        let sort = doc! { "order": range.direction() };
        let found = self.bookmarks.find(filter).sort(sort).limit(i64::from(range.limit));
        Ok(range.newest_first(found.await?.try_collect().await?))
    }

    /// Works the bookmarks among these events into the rows. The guard is the version: a row that is newer is not found, and inserting
    /// it again meets its `_id`.
    pub(super) async fn apply(&self, batch: &[Delivery]) -> Result<(), Error> {
        let mut stubs = Vec::new();
        let mut updates = Vec::new();
        for delivery in batch {
            let State::Bookmark(bookmark) = delivery.event.state() else {
                continue;
            };
            let (id, version) = (bookmark_id(bookmark.user, bookmark.post), delivery.version());
            let stub = doc! { "$setOnInsert": { "version": 0_i64, "live": false } };
            stubs.push(Update::upsert(doc! { "_id": id.clone() }, stub));
            let mut row = doc! { "version": version, "live": bookmark.active, "user": bookmark.user, "post": bookmark.post, "order": delivery.recorded.id };
            let mut update = doc! {};
            match delivery.position {
                Some(position) => drop(row.insert("position", position)),
                None => drop(update.insert("$unset", doc! { "position": "" })),
            }
            update.insert("$set", row);
            let older = doc! { "_id": id, "version": { "$lt": version } };
            updates.push(Update::existing(older, update));
        }
        if !updates.is_empty() {
            bulk::write(&self.database, self.bookmarks.name(), stubs).await?;
            bulk::write(&self.database, self.bookmarks.name(), updates).await?;
        }
        Ok(())
    }
}
