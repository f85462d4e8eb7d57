//! Of what somebody may have any number of, the latest are kept.

use bson::{Document, doc};
use futures_util::TryStreamExt;
use model::ids::UserId;
use mongodb::Collection;
use mongodb::error::Error;

/// How many a user has at most. All of them may end in the transaction of one event, which has to be short.
pub(crate) const MOST: u32 = 100;
/// How many are removed at once. Where there are more, the next time goes on.
const REMOVED: i64 = 1_000;

/// Removes those of a user's that are beyond the [`MOST`] that are the highest by `field`.
///
/// Several at once remove the same ones. What one of them has not seen yet is removed by the next.
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
