//! `list_tags`: the tags in each list. The rows of a deleted list stay: whoever reads them has looked up the list before.

use bson::spec::BinarySubtype;
use bson::{Binary, doc};
use event_log::position::Position;
use event_log::subscription::Delivery;
use futures_util::TryStreamExt;
use model::events::State;
use model::ids::{EventId, ListId};
use model::tags::TagKey;
use mongodb::error::Error;
use mongodb::{Collection, Database};
use serde::{Deserialize, Serialize};

use super::guarded::GuardedRows;
use super::range::Range;

pub const NAME: &str = "list_tags";

/// A tag in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListTag {
    pub list: ListId,
    /// As the owner has written it.
    pub tag: String,
    pub key: TagKey,
    /// The event that made it. Lists are ordered by it, and use it as their cursor.
    pub order: EventId,
    /// The position of that event in the commit order. Unknown if a scan has found the event.
    #[serde(default)]
    pub position: Option<Position>,
}

/// list (16 bytes) ‖ the hash of the tag (32).
fn tag_id(list: ListId, tag: &TagKey) -> Binary {
    Binary {
        subtype: BinarySubtype::Generic,
        bytes: [&list.as_bytes()[..], &tag.sha256()[..]].concat(),
    }
}

/// The one writer of the collection.
#[derive(Debug, Clone)]
pub struct ListTags {
    database: Database,
    tags: Collection<ListTag>,
}

impl ListTags {
    pub(super) fn new(database: &Database, name: &str) -> Self {
        Self {
            database: database.clone(),
            tags: super::collection(database, name),
        }
    }

    pub fn name(&self) -> &str {
        self.tags.name()
    }

    pub(super) async fn ensure(&self) -> Result<(), Error> {
        super::create_plain(&self.database, self.tags.name()).await?;
        let of_list = super::index("list", doc! { "list": 1, "live": 1, "order": -1 }, None);
        self.tags.create_index(of_list).await?;
        Ok(())
    }

    /// The tags in a list, the last one added first.
    pub async fn of_list(&self, list: ListId, range: Range<EventId>) -> Result<Vec<ListTag>, Error> {
        let mut filter = doc! { "list": list, "live": true };
        range.bound(&mut filter, "order");
        let sort = doc! { "order": range.direction() };
        let found = self.tags.find(filter).sort(sort).limit(i64::from(range.limit));
        Ok(range.newest_first(found.await?.try_collect().await?))
    }

    /// All tags in a list, in no order. A list has only so many.
    pub async fn all_of_list(&self, list: ListId) -> Result<Vec<TagKey>, Error> {
        let found = self.tags.find(doc! { "list": list, "live": true }).await?;
        found.map_ok(|tag| tag.key).try_collect().await
    }

    /// Applies the tags of lists among these events to the rows.
    pub(super) async fn apply(&self, batch: &[Delivery]) -> Result<(), Error> {
        let mut rows = GuardedRows::default();
        for delivery in batch {
            let State::ListTag(tag) = delivery.event.state() else {
                continue;
            };
            let key = TagKey::of(&tag.tag);
            let row = doc! { "list": tag.list, "tag": &tag.tag, "key": key.as_str() };
            rows.add(tag_id(tag.list, &key), delivery, tag.active, row);
        }
        rows.write(&self.database, self.tags.name()).await
    }
}
