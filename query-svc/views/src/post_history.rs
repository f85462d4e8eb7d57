//! `post_history`: every text that a live post has had.

use std::collections::HashSet;

use bson::spec::BinarySubtype;
use bson::{Binary, Bson, doc};
use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;
use model::entities::Entities;
use model::ids::PostId;
use mongodb::error::Error;
use mongodb::{ClientSession, Collection, Database};
use serde::{Deserialize, Serialize};

use super::range::Range;

pub const NAME: &str = "post_history";

/// The text of a post from `at` on. The highest version is the current text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostVersion {
    pub post: PostId,
    pub version: i64,
    pub text: String,
    pub entities: Entities,
    #[serde(default)]
    pub warning: Option<String>,
    #[serde(default)]
    pub language: Option<String>,
    #[serde(with = "bson::serde_helpers::datetime::FromChrono04DateTime")]
    pub at: DateTime<Utc>,
}

/// post (16 bytes) ‖ version (8, big-endian). The history of a post is one range.
pub(super) fn history_id(post: PostId, version: i64) -> Binary {
    let mut bytes = post.as_bytes().to_vec();
    bytes.extend_from_slice(&version.to_be_bytes());
    Binary {
        subtype: BinarySubtype::Generic,
        bytes,
    }
}

/// The one writer of the collection.
#[derive(Debug, Clone)]
pub struct PostHistory {
    database: Database,
    versions: Collection<PostVersion>,
    times: Collection<Time>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct Time {
    #[serde(with = "bson::serde_helpers::datetime::FromChrono04DateTime")]
    at: DateTime<Utc>,
}

impl PostHistory {
    pub(super) fn new(database: &Database, name: &str) -> Self {
        Self {
            database: database.clone(),
            versions: super::collection(database, name),
            times: super::collection(database, name),
        }
    }

    pub fn name(&self) -> &str {
        self.versions.name()
    }

    pub(super) async fn ensure(&self) -> Result<(), Error> {
        super::create_plain(&self.database, self.versions.name()).await
    }

    /// The versions of a post, newest first. A deleted post has none.
    pub async fn of_post(&self, post: PostId, range: Range<i64>) -> Result<Vec<PostVersion>, Error> {
        // Binary values compare by length first, so both bounds have the full length. Versions count from 1.
        let above = history_id(post, range.after.unwrap_or(0));
        let below = history_id(post, range.before.unwrap_or(i64::MAX));
        let filter = doc! { "_id": { "$gt": above, "$lt": below } };
        let sort = doc! { "_id": range.direction() };
        let found = self
            .versions
            .find(filter)
            .sort(sort)
            .limit(i64::from(range.limit))
            .await?;
        Ok(range.newest_first(found.try_collect().await?))
    }

    /// When a post got each of its texts but the first, as the session sees it. Or only those after a time.
    pub(super) async fn edits(
        &self,
        session: &mut ClientSession,
        post: PostId,
        after: Option<DateTime<Utc>>,
    ) -> Result<Vec<DateTime<Utc>>, Error> {
        // Versions count from 1.
        let mut edits = doc! { "_id": { "$gt": history_id(post, 1), "$lte": history_id(post, i64::MAX) } };
        if let Some(after) = after {
            edits.insert("at", doc! { "$gt": bson::DateTime::from_chrono(after) });
        }
        let mut found = self
            .times
            .find(edits)
            .projection(doc! { "at": 1 })
            .session(&mut *session)
            .await?;
        found.stream(session).map_ok(|row| row.at).try_collect().await
    }

    /// Which of these versions exist, as the transaction of the session sees it.
    pub(super) async fn existing(
        &self,
        session: &mut ClientSession,
        ids: Vec<Bson>,
    ) -> Result<HashSet<(PostId, i64)>, Error> {
        let mut found = self
            .versions
            .find(doc! { "_id": { "$in": ids } })
            .session(&mut *session)
            .await?;
        found
            .stream(session)
            .map_ok(|row| (row.post, row.version))
            .try_collect()
            .await
    }

    /// Removes the history of a deleted post, in the transaction of the session.
    pub(super) async fn forget(&self, session: &mut ClientSession, post: PostId) -> Result<(), Error> {
        let all = doc! { "_id": { "$gte": history_id(post, 0), "$lte": history_id(post, i64::MAX) } };
        self.versions.delete_many(all).session(session).await?;
        Ok(())
    }
}
