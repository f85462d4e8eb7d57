//! `profiles`: a row for each user.

use bson::{Bson, Document, doc};
use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;
use mongodb::error::Error;
use mongodb::{Collection, Database};
use serde::{Deserialize, Serialize};
use shared::events;
use shared::ids::UserId;

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
    #[serde(with = "shared::mongo::datetime")]
    pub created_at: DateTime<Utc>,
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

/// How far an account with many followers is on its way from fan-out on write to fan-out on read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Audience {
    /// Followers' headers are being told. Posts are still fanned out.
    Crossing,
    /// Every follower's header names the account. Posts go to nobody but their author.
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

/// What decides about the fan-out of an account, whether or not its profile has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub(super) struct Reach {
    #[serde(default)]
    pub(super) counts: ProfileCounts,
    #[serde(default)]
    pub(super) audience: Option<Audience>,
}

/// The one writer of the collection.
#[derive(Debug, Clone)]
pub struct Profiles {
    database: Database,
    profiles: Collection<Profile>,
}

impl Profiles {
    pub(super) fn new(database: &Database, name: &str) -> Self {
        Self { database: database.clone(), profiles: super::collection(database, name) }
    }

    pub fn name(&self) -> &str {
        self.profiles.name()
    }

    pub(super) async fn ensure(&self) -> Result<(), Error> {
        super::create_plain(&self.database, self.profiles.name()).await?;
        // Not unique: the claim in the event store is, and rows arrive in any order.
        self.profiles.create_index(super::index("handle", doc! { "handle": 1 }, None)).await?;
        Ok(())
    }

    /// The live ones among these users, in no order.
    pub async fn live_by_ids(&self, ids: &[UserId]) -> Result<Vec<Profile>, Error> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<Bson> = ids.iter().map(|&id| id.into()).collect();
        self.profiles.find(doc! { "_id": { "$in": ids }, "live": true }).await?.try_collect().await
    }

    /// The live user of a handle (without the `@`, in small letters).
    pub async fn live_by_handle(&self, handle: &str) -> Result<Option<Profile>, Error> {
        self.profiles.find_one(doc! { "handle": handle, "live": true }).await
    }
}

/// The fields of a row, without `_id` and counts. The columns that are absent are to be removed.
pub(super) fn row(user: &events::User, version: i64) -> (bool, Document) {
    match (&user.display_name, &user.bio) {
        (Some(display_name), Some(bio)) if !user.deleted => (
            true,
            doc! {
                "version": version,
                "live": true,
                "handle": user.handle.as_str(),
                "display_name": display_name,
                "bio": bio,
                "created_at": bson::DateTime::from_chrono(user.created_at),
            },
        ),
        _ => (false, doc! { "version": version, "live": false }),
    }
}

/// What a tombstone has no more.
pub(super) const LIVE_FIELDS: [&str; 4] = ["handle", "display_name", "bio", "created_at"];
