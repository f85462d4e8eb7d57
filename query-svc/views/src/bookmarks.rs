//! `bookmarks`: the posts that each user keeps.
//!
//! No count elsewhere depends on a row, so each row is written by itself, outside the transactions of [`super::rows`]. Bookmarks have a
//! collection of their own, because programs of the previous version read each row of `relations` and would not know this kind.

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
    /// The event that made it. Lists are ordered by it, and use it as their cursor.
    pub order: EventId,
    /// The position of that event in the commit order. Unknown if a scan has found the event.
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

    /// The bookmarks of a user, newest first.
    pub async fn of_user(&self, user: UserId, range: Range<EventId>) -> Result<Vec<Bookmark>, Error> {
        let mut filter = doc! { "user": user, "live": true };
        range.bound(&mut filter, "order");
        let sort = doc! { "order": range.direction() };
        let found = self.bookmarks.find(filter).sort(sort).limit(i64::from(range.limit));
        Ok(range.newest_first(found.await?.try_collect().await?))
    }

    /// Applies the bookmarks among these events to the rows. The first write makes a stub for each row that is missing. The second write
    /// has the guard: it does not find a row that is newer than its event.
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
