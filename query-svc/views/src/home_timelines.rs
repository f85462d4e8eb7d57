//! `home_timelines`: for each owner, the newest entries and, above them, a header.
//!
//! Entries are hints. What a page shows is decided when it is read, from the post, its author and the owner's follows at that time. So
//! nothing is removed here when people unfollow or delete, and a late writer does no harm.
//!
//! Invariant: above the floor, as soon as the events are handled, there is an entry for every live post and repost of the owner, and of
//! every account that the owner follows and that the header does not name as large. The floor only rises. For an idle owner, nothing is
//! promised until the next visit.

mod upkeep;

use std::time::Duration;

use bson::spec::BinarySubtype;
use bson::{Binary, Bson, Document, doc};
use chrono::{DateTime, TimeDelta, Utc};
use event_log::mongo::is_duplicate_key;
use futures_util::TryStreamExt;
use model::ids::{PostId, UserId, uuid_v7_floor};
use mongodb::error::Error;
use mongodb::{Collection, Database};
use serde::{Deserialize, Serialize};

use super::bulk::{self, Update};
use super::posts::{PostHead, PostReference};
use super::range::{End, Range};

pub(super) use self::upkeep::Trimmed;

pub const NAME: &str = "home_timelines";

/// The most documents that one command writes.
pub(super) const BATCH: usize = 1_000;

/// Sorts above every entry, because no UUIDv7 has this value.
const HEADER: [u8; 16] = [0xFF; 16];
const LOWEST: [u8; 16] = [0x00; 16];

/// Says which of an owner's entries count. A missing header is the same as [`Header::default`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Header {
    /// Entries above it are complete. Others don't count. `None` is below everything.
    pub floor: Option<PostId>,
    /// The owner has not read for long, and gets no entries until the next visit.
    pub idle: bool,
    /// The last visit that was stored.
    pub last_read: Option<DateTime<Utc>>,
    /// Large accounts. A page looks up their posts when it is read, if the owner still follows them.
    pub large: Vec<UserId>,
    /// The owner follows tags, or did. A page looks up which ones, and their posts, when it is read.
    pub follows_tags: bool,
    /// The owner has an exclusive list, or had one. A page looks up who is in them when it is read.
    pub exclusive_lists: bool,
    /// Entries at this place or lower may be removed, but not before `trim_after`.
    pub(super) trim_below: Option<PostId>,
    pub(super) trim_after: Option<DateTime<Utc>>,
}

impl Header {
    /// Whether the entries are complete at `id`. If they are not, a page continues by fan-out on read.
    pub fn covers(&self, id: PostId) -> bool {
        !self.idle && self.floor.is_none_or(|floor| id > floor)
    }
}

/// A post or repost in a home timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub id: PostId,
    pub author: UserId,
    /// The post that a repost shows.
    pub repost_of: Option<PostReference>,
}

impl From<&PostHead> for Entry {
    fn from(post: &PostHead) -> Self {
        Self {
            id: post.id,
            author: post.author,
            repost_of: post.repost_of,
        }
    }
}

/// An entry or a header as it is stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Stored {
    #[serde(rename = "_id")]
    id: Binary,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    a: Option<UserId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    o: Option<PostId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    oa: Option<UserId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    floor: Option<PostId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    idle: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_read: Option<bson::DateTime>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    large: Option<Vec<UserId>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    follows_tags: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exclusive_lists: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trim_below: Option<PostId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trim_after: Option<bson::DateTime>,
}

impl Stored {
    fn entry(owner: UserId, entry: &Entry) -> Self {
        Self {
            id: key(owner, entry.id.as_bytes()),
            a: Some(entry.author),
            o: entry.repost_of.map(|original| original.post),
            oa: entry.repost_of.map(|original| original.author),
            floor: None,
            idle: None,
            last_read: None,
            large: None,
            follows_tags: None,
            exclusive_lists: None,
            trim_below: None,
            trim_after: None,
        }
    }

    fn into_entry(self) -> Option<Entry> {
        let id = PostId::from_bytes(<[u8; 16]>::try_from(self.id.bytes.get(16..)?).ok()?);
        let repost_of = self.o.zip(self.oa).map(|(post, author)| PostReference { post, author });
        Some(Entry {
            id,
            author: self.a?,
            repost_of,
        })
    }

    fn owner(&self) -> Option<UserId> {
        self.id
            .bytes
            .get(..16)
            .and_then(|bytes| bytes.try_into().ok())
            .map(UserId::from_bytes)
    }

    fn is_header(&self) -> bool {
        self.id.bytes.get(16..).is_some_and(|bytes| bytes == HEADER)
    }

    fn into_header(self) -> Header {
        Header {
            floor: self.floor,
            idle: self.idle.unwrap_or(false),
            last_read: self.last_read.map(bson::DateTime::to_chrono),
            large: self.large.unwrap_or_default(),
            follows_tags: self.follows_tags.unwrap_or(false),
            exclusive_lists: self.exclusive_lists.unwrap_or(false),
            trim_below: self.trim_below,
            trim_after: self.trim_after.map(bson::DateTime::to_chrono),
        }
    }
}

/// owner (16 bytes) ‖ entry (16). Binary values compare by length first, so every bound has all 32 bytes.
fn key(owner: UserId, entry: &[u8; 16]) -> Binary {
    let mut bytes = owner.as_bytes().to_vec();
    bytes.extend_from_slice(entry);
    Binary {
        subtype: BinarySubtype::Generic,
        bytes,
    }
}

fn header_key(owner: UserId) -> Binary {
    key(owner, &HEADER)
}

/// The one writer of the collection.
#[derive(Debug, Clone)]
pub struct HomeTimelines {
    database: Database,
    documents: Collection<Stored>,
}

impl HomeTimelines {
    pub(super) fn new(database: &Database, name: &str) -> Self {
        Self {
            database: database.clone(),
            documents: super::collection(database, name),
        }
    }

    pub fn name(&self) -> &str {
        self.documents.name()
    }

    pub(super) async fn ensure(&self) -> Result<(), Error> {
        super::create_clustered(&self.database, self.documents.name()).await?;
        self.documents
            .create_indexes([
                // Fan-out asks which of a thousand followers are idle. Few are in this index.
                super::index("idle", doc! { "owner": 1, "idle": 1 }, Some(doc! { "idle": true })),
                // Only headers have this field. The index finds many headers at once. By their `_id`s that would be slow: in a clustered
                // collection, a list of `_id`s is one scan from the lowest to the highest.
                super::index(
                    "owner",
                    doc! { "owner": 1 },
                    Some(doc! { "owner": { "$exists": true } }),
                ),
                super::index(
                    "last_read",
                    doc! { "last_read": 1 },
                    Some(doc! { "last_read": { "$exists": true } }),
                ),
            ])
            .await?;
        Ok(())
    }

    /// A page of the entries that count, newest first, and the header that says which ones count.
    ///
    /// If there are fewer than the limit, the entries end there: at the floor, or because there are no more.
    pub async fn page(&self, owner: UserId, range: Range<PostId>) -> Result<(Header, Vec<Entry>), Error> {
        let (header, entries) = if range.before.is_none() && range.end == End::Newest {
            self.page_from_the_top(owner, range).await?
        } else {
            // This order matters, because a backfill raises the floor before it copies older posts. With a header that was read before the
            // copies, the page would take the copies for all posts there are.
            let entries = self.entries(owner, range).await?;
            (self.header(owner).await?, entries)
        };
        let entries = entries.into_iter().filter(|entry| header.covers(entry.id)).collect();
        Ok((header, entries))
    }

    /// Reads the first page and the header by one range scan, because the header is above the newest entry.
    async fn page_from_the_top(&self, owner: UserId, range: Range<PostId>) -> Result<(Header, Vec<Entry>), Error> {
        let above = key(owner, range.after.as_ref().map_or(&LOWEST, PostId::as_bytes));
        let filter = doc! { "_id": { "$gt": above, "$lte": header_key(owner) } };
        let limit = i64::from(range.limit) + 1;
        let mut found: Vec<Stored> = self
            .documents
            .find(filter)
            .sort(doc! { "_id": -1 })
            .limit(limit)
            .batch_size(super::one_batch(range.limit as usize + 1))
            .await?
            .try_collect()
            .await?;
        let header = match found.first() {
            Some(first) if first.is_header() => found.remove(0).into_header(),
            _ => Header::default(),
        };
        let entries = found
            .into_iter()
            .filter_map(Stored::into_entry)
            .take(range.limit as usize)
            .collect();
        Ok((header, entries))
    }

    /// Entries without the header, whether they count or not.
    async fn entries(&self, owner: UserId, range: Range<PostId>) -> Result<Vec<Entry>, Error> {
        let above = key(owner, range.after.as_ref().map_or(&LOWEST, PostId::as_bytes));
        let below = key(owner, range.before.as_ref().map_or(&HEADER, PostId::as_bytes));
        let filter = doc! { "_id": { "$gt": above, "$lt": below } };
        let sort = doc! { "_id": range.direction() };
        let found: Vec<Stored> = self
            .documents
            .find(filter)
            .sort(sort)
            .limit(i64::from(range.limit))
            .await?
            .try_collect()
            .await?;
        Ok(range.newest_first(found.into_iter().filter_map(Stored::into_entry).collect()))
    }

    pub async fn header(&self, owner: UserId) -> Result<Header, Error> {
        let found = self.documents.find_one(doc! { "_id": header_key(owner) }).await?;
        Ok(found.map(Stored::into_header).unwrap_or_default())
    }

    /// Stores that the owner reads. query-svc need not call it more than once a day: see [`Header::last_read`].
    pub async fn note_visit(&self, owner: UserId, at: DateTime<Utc>) -> Result<(), Error> {
        let visit = doc! {
            "$max": { "last_read": bson::DateTime::from_chrono(at) },
            "$setOnInsert": { "owner": owner },
        };
        self.documents
            .update_one(doc! { "_id": header_key(owner) }, visit)
            .upsert(true)
            .await?;
        Ok(())
    }

    /// Makes an idle owner active, because the owner reads. A second caller finds the owner active and changes nothing.
    ///
    /// The floor is set `margin` after `now`. That is above every post whose fan-out may have skipped this owner, unless the write takes
    /// too long on its way to the database. Then the write changes nothing, and the owner stays idle until the next visit. Half of the
    /// margin is for the difference between clocks.
    pub async fn wake(&self, owner: UserId, now: DateTime<Utc>, margin: Duration) -> Result<(), Error> {
        let after = |duration: Duration| {
            let duration = TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX);
            now.checked_add_signed(duration).unwrap_or(DateTime::<Utc>::MAX_UTC)
        };
        // Without the guard, a second reader would raise the floor above entries that have arrived meanwhile. The write begins within a
        // quarter of the margin, by the server's clock, and ends within another quarter. This also covers a retry by the driver or the
        // server.
        let idle = doc! {
            "_id": header_key(owner),
            "idle": true,
            "$expr": { "$lt": ["$$NOW", bson::DateTime::from_chrono(after(margin / 4))] },
        };
        let wake = doc! {
            "$set": { "idle": false },
            "$max": {
                "floor": PostId::from_uuid(uuid_v7_floor(after(margin))),
                "last_read": bson::DateTime::from_chrono(now),
            },
        };
        self.documents
            .find_one_and_update(idle, wake)
            .projection(doc! { "_id": 1 })
            .max_time(margin / 4)
            .await?;
        Ok(())
    }
}
