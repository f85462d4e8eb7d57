//! Keeps only the latest documents of a user, where a user may make any number of them.

use bson::{Document, doc};
use futures_util::TryStreamExt;
use model::ids::UserId;
use mongodb::Collection;
use mongodb::error::Error;

/// The most documents that a user has. One event's transaction may have to remove all of them, and it must be short.
pub(crate) const MOST: u32 = 100;
/// How many documents one call removes. If there are more, the next call removes them.
const REMOVED: i64 = 1_000;

/// Removes all documents of a user except the [`MOST`] with the highest `field`.
///
/// Calls at the same time remove the same documents. If one of them misses a document, the next call removes it.
pub(crate) async fn keep<T: Send + Sync>(collection: &Collection<T>, user: UserId, field: &str) -> Result<(), Error> {
    let documents = collection.clone_with_type::<Document>();
    let beyond: Vec<Document> = documents
        .find(doc! { "user": user })
        .sort(doc! { field: -1 })
        .skip(MOST.into())
        .limit(REMOVED)
        .projection(doc! { "_id": 1 })
        .await?
        .try_collect()
        .await?;
    let ids: Vec<_> = beyond.into_iter().filter_map(|mut found| found.remove("_id")).collect();
    if !ids.is_empty() {
        documents.delete_many(doc! { "_id": { "$in": ids } }).await?;
    }
    Ok(())
}
