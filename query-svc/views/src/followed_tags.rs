//! `followed_tags`: the tags that each user follows.

use std::collections::HashSet;

use bson::spec::BinarySubtype;
use bson::{Binary, Bson, doc};
use event_log::position::Position;
use event_log::subscription::Delivery;
use futures_util::TryStreamExt;
use model::events::State;
use model::ids::{EventId, UserId};
use model::tags::TagKey;
use mongodb::error::Error;
use mongodb::{Collection, Database};
use serde::{Deserialize, Serialize};

use super::guarded::GuardedRows;
use super::range::Range;

pub const NAME: &str = "followed_tags";

/// A tag that a user follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowedTag {
    pub user: UserId,
    /// As the user has written it.
    pub tag: String,
    pub key: TagKey,
    /// The event that made it. Lists are ordered by it, and use it as their cursor.
    pub order: EventId,
    /// The position of that event in the commit order. Unknown if a scan has found the event.
    #[serde(default)]
    pub position: Option<Position>,
}

/// user (16 bytes) ‖ the hash of the tag (32).
fn follow_id(user: UserId, tag: &TagKey) -> Binary {
    Binary {
        subtype: BinarySubtype::Generic,
        bytes: [&user.as_bytes()[..], &tag.sha256()[..]].concat(),
    }
}

/// The one writer of the collection.
#[derive(Debug, Clone)]
pub struct FollowedTags {
    database: Database,
    follows: Collection<FollowedTag>,
}

impl FollowedTags {
    pub(super) fn new(database: &Database, name: &str) -> Self {
        Self {
            database: database.clone(),
            follows: super::collection(database, name),
        }
    }

    pub fn name(&self) -> &str {
        self.follows.name()
    }

    pub(super) async fn ensure(&self) -> Result<(), Error> {
        super::create_plain(&self.database, self.follows.name()).await?;
        let of_user = super::index("user", doc! { "user": 1, "live": 1, "order": -1 }, None);
        self.follows.create_index(of_user).await?;
        Ok(())
    }

    /// The tags that a user follows, the last follow first.
    pub async fn of_user(&self, user: UserId, range: Range<EventId>) -> Result<Vec<FollowedTag>, Error> {
        let mut filter = doc! { "user": user, "live": true };
        range.bound(&mut filter, "order");
        let sort = doc! { "order": range.direction() };
        let found = self.follows.find(filter).sort(sort).limit(i64::from(range.limit));
        Ok(range.newest_first(found.await?.try_collect().await?))
    }

    /// All tags that a user follows. A user may follow only so many.
    pub async fn all_of_user(&self, user: UserId) -> Result<Vec<TagKey>, Error> {
        let found = self.follows.find(doc! { "user": user, "live": true }).await?;
        found.map_ok(|follow| follow.key).try_collect().await
    }

    pub async fn find(&self, user: UserId, tag: &TagKey) -> Result<Option<FollowedTag>, Error> {
        let follow = doc! { "_id": follow_id(user, tag), "live": true };
        self.follows.find_one(follow).await
    }

    /// Those of these users who follow a tag.
    pub(super) async fn followers_among(&self, users: &[UserId]) -> Result<HashSet<UserId>, Error> {
        let users: Vec<Bson> = users.iter().map(|&user| user.into()).collect();
        let found = self
            .follows
            .find(doc! { "user": { "$in": users }, "live": true })
            .await?;
        found.map_ok(|follow| follow.user).try_collect().await
    }

    /// Applies the follows of tags among these events to the rows.
    pub(super) async fn apply(&self, batch: &[Delivery]) -> Result<(), Error> {
        let mut rows = GuardedRows::default();
        for delivery in batch {
            let State::TagFollow(follow) = delivery.event.state() else {
                continue;
            };
            let key = TagKey::of(&follow.tag);
            let row = doc! { "user": follow.user, "tag": &follow.tag, "key": key.as_str() };
            rows.add(follow_id(follow.user, &key), delivery, follow.active, row);
        }
        rows.write(&self.database, self.follows.name()).await
    }
}
