//! `profiles`: a row for each user.

use std::collections::HashSet;

use bson::{Bson, doc};
use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;
use model::ids::UserId;
use model::values::ProfileField;
use mongodb::error::Error;
use mongodb::{ClientSession, Collection, Database};
use serde::{Deserialize, Serialize};

pub const NAME: &str = "profiles";

/// A live user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    #[serde(rename = "_id")]
    pub id: UserId,
    pub version: i64,
    pub handle: String,
    pub display_name: String,
    pub bio: String,
    #[serde(default)]
    pub fields: Vec<ProfileField>,
    #[serde(with = "bson::serde_helpers::datetime::FromChrono04DateTime")]
    pub created_at: DateTime<Utc>,
    /// Rows of the first schema do not have it.
    #[serde(default)]
    pub protected: bool,
    /// Moderators have suspended the account. Nobody else sees its posts.
    #[serde(default)]
    pub suspended: bool,
    #[serde(default)]
    pub counts: ProfileCounts,
    #[serde(default)]
    pub audience: Option<Audience>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProfileCounts {
    /// Posts and replies, without reposts.
    pub posts: i64,
    pub followers: i64,
    pub following: i64,
}

/// The state of an account with many followers on its way from fan-out on write to fan-out on read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Audience {
    /// The account is being written into its followers' headers. Posts are still fanned out.
    Crossing,
    /// Every follower's header names the account. Posts are written only to their author's own timeline.
    Large,
}

impl Audience {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Audience::Crossing => "crossing",
            Audience::Large => "large",
        }
    }
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct IdOnly {
    #[serde(rename = "_id")]
    id: UserId,
}

/// The one writer of the collection.
#[derive(Debug, Clone)]
pub struct Profiles {
    database: Database,
    profiles: Collection<Profile>,
    ids: Collection<IdOnly>,
}

impl Profiles {
    pub(super) fn new(database: &Database, name: &str) -> Self {
        Self {
            database: database.clone(),
            profiles: super::collection(database, name),
            ids: super::collection(database, name),
        }
    }

    pub fn name(&self) -> &str {
        self.profiles.name()
    }

    pub(super) async fn ensure(&self) -> Result<(), Error> {
        super::create_plain(&self.database, self.profiles.name()).await?;
        // Not unique, because the event store reserves handles, and rows arrive in any order.
        self.profiles
            .create_indexes([
                super::index("handle", doc! { "handle": 1 }, None),
                super::index(
                    "audience",
                    doc! { "audience": 1 },
                    Some(doc! { "audience": { "$exists": true } }),
                ),
            ])
            .await?;
        Ok(())
    }

    /// The live ones among these users, in no order.
    pub async fn live_by_ids(&self, ids: &[UserId]) -> Result<Vec<Profile>, Error> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let batch = super::one_batch(ids.len());
        let ids: Vec<Bson> = ids.iter().map(|&id| id.into()).collect();
        self.profiles
            .find(doc! { "_id": { "$in": ids }, "live": true })
            .batch_size(batch)
            .await?
            .try_collect()
            .await
    }

    /// The live user with this handle (without the `@`, in lower case).
    pub async fn live_by_handle(&self, handle: &str) -> Result<Option<Profile>, Error> {
        self.profiles.find_one(doc! { "handle": handle, "live": true }).await
    }

    /// The first step of crossing to a large audience. It may be repeated, and has no effect after the last step.
    pub(super) async fn begin_crossing(&self, session: &mut ClientSession, user: UserId) -> Result<(), Error> {
        let small = doc! { "_id": user, "audience": { "$exists": false } };
        let crossing = doc! { "$set": { "audience": Audience::Crossing.as_str() } };
        self.profiles.update_one(small, crossing).session(session).await?;
        Ok(())
    }

    /// The last step of crossing. Returns whether this call took it.
    pub(super) async fn finish_crossing(&self, session: &mut ClientSession, user: UserId) -> Result<bool, Error> {
        let crossing = doc! { "_id": user, "audience": Audience::Crossing.as_str() };
        let large = doc! { "$set": { "audience": Audience::Large.as_str() } };
        Ok(self
            .profiles
            .update_one(crossing, large)
            .session(session)
            .await?
            .modified_count
            == 1)
    }

    /// Marks the large audiences of a generation that no subscription follows yet, so that there is nothing to cross.
    pub(super) async fn fill_audiences(&self, fan_out_limit: i64) -> Result<(), Error> {
        let many = doc! { "counts.followers": { "$gte": fan_out_limit } };
        self.profiles
            .update_many(many, doc! { "$set": { "audience": Audience::Large.as_str() } })
            .await?;
        Ok(())
    }

    /// All users whose posts are not fanned out, live or not.
    pub(super) async fn large(&self) -> Result<HashSet<UserId>, Error> {
        let large = doc! { "audience": { "$exists": true } };
        let found = self.ids.find(large).projection(doc! { "_id": 1 }).await?;
        found.map_ok(|row| row.id).try_collect().await
    }

    /// The next live users after `after`, in the order of their ids.
    pub(super) async fn live_after(&self, after: Option<UserId>, limit: u32) -> Result<Vec<Profile>, Error> {
        let mut filter = doc! { "live": true };
        if let Some(after) = after {
            filter.insert("_id", doc! { "$gt": after });
        }
        self.profiles
            .find(filter)
            .sort(doc! { "_id": 1 })
            .limit(i64::from(limit))
            .await?
            .try_collect()
            .await
    }
}
