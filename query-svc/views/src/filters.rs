//! `filters`: what each user does not want to read.

use bson::spec::BinarySubtype;
use bson::{Binary, Bson, doc};
use event_log::subscription::Delivery;
use futures_util::TryStreamExt;
use model::events::{FilterContent, State};
use model::ids::{FilterId, UserId};
use mongodb::error::Error;
use mongodb::{Collection, Database};
use serde::{Deserialize, Serialize};

use super::guarded::GuardedRows;

pub const NAME: &str = "filters";

/// A filter that is not deleted. It may be over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    pub owner: UserId,
    pub filter: FilterId,
    pub content: FilterContent,
}

/// owner (16 bytes) ‖ filter (16).
fn row_id(owner: UserId, filter: FilterId) -> Binary {
    Binary {
        subtype: BinarySubtype::Generic,
        bytes: [*owner.as_bytes(), *filter.as_bytes()].concat(),
    }
}

/// The owner of the filter in the row with this id.
pub fn owner_of(id: &Binary) -> Option<UserId> {
    let (owner, _) = id
        .bytes
        .split_first_chunk::<16>()
        .filter(|(_, filter)| filter.len() == 16)?;
    Some(UserId::from_uuid(uuid::Uuid::from_bytes(*owner)))
}

/// The one writer of the collection.
#[derive(Debug, Clone)]
pub struct Filters {
    database: Database,
    filters: Collection<Filter>,
}

impl Filters {
    pub(super) fn new(database: &Database, name: &str) -> Self {
        Self {
            database: database.clone(),
            filters: super::collection(database, name),
        }
    }

    pub(super) async fn ensure(&self) -> Result<(), Error> {
        super::create_plain(&self.database, self.filters.name()).await?;
        let of_owner = super::index("owner", doc! { "owner": 1, "live": 1, "filter": -1 }, None);
        self.filters.create_index(of_owner).await?;
        Ok(())
    }

    /// All filters of these users. Those of one user come in one piece, the last one made first. A user may have only so many.
    pub async fn of_owners(&self, owners: &[UserId]) -> Result<Vec<Filter>, Error> {
        let owners: Vec<Bson> = owners.iter().map(|&owner| owner.into()).collect();
        let found = self
            .filters
            .find(doc! { "owner": { "$in": owners }, "live": true })
            .sort(doc! { "owner": 1, "filter": -1 });
        found.await?.try_collect().await
    }

    /// Applies the filters among these events to the rows.
    pub(super) async fn apply(&self, batch: &[Delivery]) -> Result<(), Error> {
        let mut rows = GuardedRows::default();
        for delivery in batch {
            let State::Filter(filter) = delivery.event.state() else {
                continue;
            };
            // Nothing that the owner wrote stays in the row of a deleted filter.
            let content = match &filter.content {
                Some(content) => Bson::Document(bson::serialize_to_document(content)?),
                None => Bson::Null,
            };
            let row = doc! { "owner": filter.owner, "filter": filter.id, "content": content };
            let live = !filter.deleted && filter.content.is_some();
            rows.add(row_id(filter.owner, filter.id), delivery, live, row);
        }
        rows.write(&self.database, self.filters.name()).await
    }
}
