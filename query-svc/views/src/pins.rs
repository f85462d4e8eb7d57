//! `pins`: the posts that each user shows first.

use bson::{Bson, doc};
use event_log::subscription::Delivery;
use model::events::State;
use model::ids::{PostId, UserId};
use mongodb::error::Error;
use mongodb::{Collection, Database};
use serde::{Deserialize, Serialize};

use super::guarded::GuardedRows;

pub const NAME: &str = "pins";

#[derive(Debug, Serialize, Deserialize)]
struct Row {
    #[serde(default)]
    posts: Vec<PostId>,
}

/// The one writer of the collection.
#[derive(Debug, Clone)]
pub struct Pins {
    database: Database,
    rows: Collection<Row>,
}

impl Pins {
    pub(super) fn new(database: &Database, name: &str) -> Self {
        Self {
            database: database.clone(),
            rows: super::collection(database, name),
        }
    }

    pub(super) async fn ensure(&self) -> Result<(), Error> {
        super::create_plain(&self.database, self.rows.name()).await
    }

    /// The posts that a user has pinned, the last one first. Some of them may be deleted.
    pub async fn of_user(&self, user: UserId) -> Result<Vec<PostId>, Error> {
        let row = self.rows.find_one(doc! { "_id": user }).await?;
        Ok(row.map_or_else(Vec::new, |row| row.posts))
    }

    /// Applies the pins among these events to the rows.
    pub(super) async fn apply(&self, batch: &[Delivery]) -> Result<(), Error> {
        let mut rows = GuardedRows::default();
        for delivery in batch {
            if let State::Pins(pins) = delivery.event.state() {
                let posts: Vec<Bson> = pins.posts.iter().map(|&post| post.into()).collect();
                rows.add(pins.user.to_bson(), delivery, true, doc! { "posts": posts });
            }
        }
        rows.write(&self.database, self.rows.name()).await
    }
}
