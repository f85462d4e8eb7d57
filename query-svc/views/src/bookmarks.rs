//! `bookmarks`: the posts that each user keeps.
//!
//! Bookmarks have a collection of their own, because programs of the previous version read each row of `relations` and would not know this
//! kind.

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

use super::guarded::GuardedRows;
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

    /// Applies the bookmarks among these events to the rows.
    pub(super) async fn apply(&self, batch: &[Delivery]) -> Result<(), Error> {
        let mut rows = GuardedRows::default();
        for delivery in batch {
            let State::Bookmark(bookmark) = delivery.event.state() else {
                continue;
            };
            let row = doc! { "user": bookmark.user, "post": bookmark.post };
            rows.add(
                bookmark_id(bookmark.user, bookmark.post),
                delivery,
                bookmark.active,
                row,
            );
        }
        rows.write(&self.database, self.bookmarks.name()).await
    }
}
