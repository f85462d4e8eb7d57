//! `posts`: a row for each post, reply and repost.

mod heads;

use std::collections::HashMap;

use bson::{Bson, Document, doc};
use chrono::{DateTime, Utc};
use event_log::position::Position;
use futures_util::TryStreamExt;
use model::entities::Entities;
use model::ids::{PostId, UserId};
use model::tags::TagKey;
use model::values::Visibility;
use mongodb::error::Error;
use mongodb::{ClientSession, Collection, Database};
use serde::{Deserialize, Serialize};

use super::range::Range;

pub const NAME: &str = "posts";

/// The field with the users whom a post mentions that not everybody sees. Only lists need it: whether somebody is mentioned is in
/// [`Post::entities`].
pub(super) const MENTIONED: &str = "mentioned";

/// The field with the post that this one quotes, unless the quote is detached.
pub(super) const QUOTING: &str = "quoting";

/// The field of a tombstone with what is said of the post that was there: [`Gone`].
pub const WAS: &str = "was";

/// Whom a deletion concerns. Nobody reads it from the collection: it is for those who follow the changes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Gone {
    pub author: UserId,
    #[serde(default)]
    pub in_reply_to: Option<PostId>,
    #[serde(default)]
    pub public: bool,
}

/// A live post, reply or repost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Post {
    #[serde(rename = "_id")]
    pub id: PostId,
    pub version: i64,
    pub author: UserId,
    /// Empty for a repost.
    #[serde(default)]
    pub text: String,
    #[serde(default)]
    pub entities: Entities,
    /// The tags under which the post is listed: those of its text, if it is public.
    #[serde(default)]
    pub tags: Vec<TagKey>,
    #[serde(default)]
    pub warning: Option<String>,
    #[serde(default)]
    pub language: Option<String>,
    #[serde(default)]
    pub in_reply_to: Option<PostReference>,
    /// The post that this one quotes, or quoted before the quote was detached.
    #[serde(default)]
    pub quote_of: Option<PostReference>,
    /// The same, unless the quote is detached.
    #[serde(default)]
    pub quoting: Option<PostId>,
    /// The post that a repost shows.
    #[serde(default)]
    pub repost_of: Option<PostReference>,
    pub visibility: Visibility,
    #[serde(with = "bson::serde_helpers::datetime::FromChrono04DateTime")]
    pub created_at: DateTime<Utc>,
    #[serde(default, with = "model::events::optional_datetime")]
    pub edited_at: Option<DateTime<Utc>>,
    /// Moderators have hidden it. Only its author sees it.
    #[serde(default)]
    pub hidden: bool,
    /// The position of this version's event in the commit order. Unknown if a scan has found the event.
    #[serde(default)]
    pub position: Option<Position>,
    #[serde(default)]
    pub counts: PostCounts,
}

/// Another post, together with its author, so that nobody has to look the author up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostReference {
    pub post: PostId,
    pub author: UserId,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PostCounts {
    pub likes: i64,
    pub reposts: i64,
    pub replies: i64,
    pub quotes: i64,
}

/// The fields of a post that a home timeline needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostHead {
    #[serde(rename = "_id")]
    pub id: PostId,
    pub author: UserId,
    #[serde(default)]
    pub repost_of: Option<PostReference>,
    /// As [`Post::position`].
    #[serde(default)]
    pub position: Option<Position>,
}

/// The one writer of the collection.
#[derive(Debug, Clone)]
pub struct Posts {
    database: Database,
    posts: Collection<Post>,
    heads: Collection<PostHead>,
}

impl Posts {
    pub(super) fn new(database: &Database, name: &str) -> Self {
        Self {
            database: database.clone(),
            posts: super::collection(database, name),
            heads: super::collection(database, name),
        }
    }

    pub fn name(&self) -> &str {
        self.posts.name()
    }

    pub(super) async fn ensure(&self) -> Result<(), Error> {
        super::create_plain(&self.database, self.posts.name()).await?;
        // Only live rows have these fields, so no list has to skip tombstones.
        let partial = |field: &str| Some(doc! { field: { "$exists": true } });
        self.posts
            .create_indexes([
                super::index("author", doc! { "author": 1, "_id": -1 }, partial("author")),
                super::index(
                    "replies",
                    doc! { "in_reply_to.post": 1, "_id": -1 },
                    partial("in_reply_to.post"),
                ),
                // For readers who don't follow the author, so that their lists need not skip posts for others.
                super::index(
                    "author_visibility",
                    doc! { "author": 1, "visibility": 1, "_id": -1 },
                    partial("author"),
                ),
                super::index(
                    "replies_visibility",
                    doc! { "in_reply_to.post": 1, "visibility": 1, "_id": -1 },
                    partial("in_reply_to.post"),
                ),
                super::index(
                    "author_mentioned",
                    doc! { "author": 1, MENTIONED: 1, "_id": -1 },
                    partial(MENTIONED),
                ),
                super::index("quotes", doc! { QUOTING: 1, "_id": -1 }, partial(QUOTING)),
                super::index(
                    "quotes_visibility",
                    doc! { QUOTING: 1, "visibility": 1, "_id": -1 },
                    partial(QUOTING),
                ),
                super::index("public", doc! { "public": 1, "_id": -1 }, partial("public")),
            ])
            .await?;
        Ok(())
    }

    /// The live ones among these posts and reposts, in no order.
    pub async fn live_by_ids(&self, ids: &[PostId]) -> Result<Vec<Post>, Error> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let batch = super::one_batch(ids.len());
        let ids: Vec<Bson> = ids.iter().map(|&id| id.into()).collect();
        self.posts
            .find(doc! { "_id": { "$in": ids }, "live": true })
            .batch_size(batch)
            .await?
            .try_collect()
            .await
    }

    /// Those of these posts that were edited, with their authors.
    pub(super) async fn edited_among(&self, ids: &[PostId]) -> Result<HashMap<PostId, UserId>, Error> {
        let ids: Vec<Bson> = ids.iter().map(|&id| id.into()).collect();
        let edited = doc! { "_id": { "$in": ids }, "edited_at": { "$exists": true } };
        let found = self.heads.find(edited).projection(head_fields()).await?;
        found.map_ok(|head| (head.id, head.author)).try_collect().await
    }

    /// The newest live posts and reposts of an author, as the session sees them.
    pub(super) async fn newest_heads(
        &self,
        session: &mut ClientSession,
        author: UserId,
        limit: u32,
    ) -> Result<Vec<PostHead>, Error> {
        let heads = self
            .heads
            .find(doc! { "author": author })
            .projection(head_fields())
            .sort(doc! { "_id": -1 });
        let mut found = heads.limit(i64::from(limit)).session(&mut *session).await?;
        found.stream(session).try_collect().await
    }
}

fn head_fields() -> Document {
    doc! { "author": 1, "repost_of": 1, "position": 1 }
}

fn of_authors(authors: &[UserId], range: Range<PostId>) -> Document {
    let by: Bson = match authors {
        &[author] => author.into(),
        _ => doc! { "$in": authors.iter().map(|&author| author.into()).collect::<Vec<Bson>>() }.into(),
    };
    let mut filter = Document::new();
    // The stand-in for MongoDB reads everything that one of the fields allows, preferably the first. A short range has a lower end.
    if range.after.is_some() {
        range.bound(&mut filter, "_id");
    }
    filter.insert("author", by);
    range.bound(&mut filter, "_id");
    filter
}
