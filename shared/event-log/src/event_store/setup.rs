//! The collections and indexes of the store, and its id.

use std::time::Duration;

use bson::{Document, doc};
use model::events::SCHEMA;
use mongodb::error::{Error, ErrorKind};
use mongodb::options::{ClusteredIndex, IndexOptions};
use mongodb::{Database, IndexModel};
use uuid::Uuid;

use super::{EVENTS, FILTER_CREATED, LIST_CREATED, MARKS, REPOSTED, REQUESTED, STORE};
use crate::consistency::StoreId;
use crate::mongo::is_duplicate_key;

/// Marks are only waited for, and no wait is so long.
const MARKS_KEPT_FOR: Duration = Duration::from_secs(60 * 60);

/// Several programs may do this at once, and repeat it.
pub(super) async fn ensure(database: &Database) -> Result<StoreId, Error> {
    // In a clustered collection the documents are in the index of `_id`, so that an append writes one tree less.
    let create = database
        .create_collection(EVENTS)
        .clustered_index(ClusteredIndex::default());
    tolerate_existing(create.await)?;
    tolerate_existing(database.create_collection(MARKS).await)?;
    database
        .collection::<Document>(EVENTS)
        .create_indexes([
            IndexModel::builder()
                .keys(doc! { "stream": 1, "version": 1 })
                .options(
                    IndexOptions::builder()
                        .name("stream_version".to_owned())
                        .unique(true)
                        .build(),
                )
                .build(),
            IndexModel::builder()
                .keys(doc! { "actor": 1, "idempotency_key": 1 })
                .options(
                    IndexOptions::builder()
                        .name("actor_idempotency_key".to_owned())
                        .unique(true)
                        .partial_filter_expression(doc! { "idempotency_key": { "$exists": true } })
                        .build(),
                )
                .build(),
            // Finds a repost by its id. Only reposts are in this index.
            IndexModel::builder()
                .keys(doc! { "data.id": 1 })
                .options(
                    IndexOptions::builder()
                        .name("repost_id".to_owned())
                        .partial_filter_expression(doc! { "type": REPOSTED })
                        .build(),
                )
                .build(),
            // Finds the requests to follow a user. Only requests are in this index.
            IndexModel::builder()
                .keys(doc! { "data.followee": 1, "_id": 1 })
                .options(
                    IndexOptions::builder()
                        .name("requests_to".to_owned())
                        .partial_filter_expression(doc! { "type": REQUESTED })
                        .build(),
                )
                .build(),
            // Counts the lists of a user. The deletion of a list takes its title out of the event, and so the event out of this index.
            IndexModel::builder()
                .keys(doc! { "data.owner": 1 })
                .options(
                    IndexOptions::builder()
                        .name("lists_of".to_owned())
                        .partial_filter_expression(doc! { "type": LIST_CREATED, "data.title": { "$exists": true } })
                        .build(),
                )
                .build(),
            // Counts the filters of a user, in the same way.
            IndexModel::builder()
                .keys(doc! { "data.owner": 1 })
                .options(
                    IndexOptions::builder()
                        .name("filters_of".to_owned())
                        .partial_filter_expression(doc! { "type": FILTER_CREATED, "data.content": { "$exists": true } })
                        .build(),
                )
                .build(),
        ])
        .await?;
    database
        .collection::<Document>(MARKS)
        .create_index(
            IndexModel::builder()
                .keys(doc! { "at": 1 })
                .options(
                    IndexOptions::builder()
                        .name("expiry".to_owned())
                        .expire_after(MARKS_KEPT_FOR)
                        .build(),
                )
                .build(),
        )
        .await?;
    store_id(database).await
}

async fn store_id(database: &Database) -> Result<StoreId, Error> {
    let store = database.collection::<Document>(STORE);
    // No program of an earlier version has used a new store, so everything may be written.
    let fresh = doc! { "_id": STORE, "uuid": bson::Uuid::from(Uuid::new_v4()), "schema": SCHEMA };
    match store.insert_one(fresh).await {
        Ok(_) => {}
        Err(error) if is_duplicate_key(&error) => {}
        Err(error) => return Err(error),
    }
    let document = store.find_one(doc! { "_id": STORE }).await?;
    match document.as_ref().and_then(|document| document.get("uuid")) {
        Some(bson::Bson::Binary(binary)) => {
            let uuid = binary
                .to_uuid()
                .map_err(|_| Error::custom("the store's uuid is malformed"))?;
            Ok(StoreId(uuid.into()))
        }
        _ => Err(Error::custom("the store has no uuid")),
    }
}

fn tolerate_existing(created: Result<(), Error>) -> Result<(), Error> {
    match created {
        Err(error) if matches!(error.kind.as_ref(), ErrorKind::Command(command) if command.code == 48) => Ok(()),
        other => other,
    }
}
