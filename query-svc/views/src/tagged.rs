//! `tagged`: a row for each tag of each live public post.
//!
//! The rows of a post change in the transaction of the post's row, which names the tags that have a row. So an event of the post knows which
//! ones to remove, in whatever order events arrive.
//!
//! The rows of a tag are one range of ids, so one scan reads the newest or the oldest of them in order. The range begins with eight bytes of
//! the tag's hash: keys stay short, however long tags are. Somebody may search for two tags with the same eight bytes. So a row has the whole
//! tags, and a read compares them. If both are in one post, they share its row.

use std::collections::{BTreeMap, BTreeSet};

use bson::spec::BinarySubtype;
use bson::{Binary, Bson, doc};
use futures_util::TryStreamExt;
use model::events::Post;
use model::ids::{PostId, UserId};
use model::tags::{TagKey, TagPrefix};
use model::values::Visibility;
use mongodb::error::Error;
use mongodb::{Collection, Database};
use serde::Deserialize;

use super::range::Range;
use super::rows::Writes;

pub const NAME: &str = "tagged";

const LOWEST: PostId = PostId::from_bytes([0x00; 16]);
const HIGHEST: PostId = PostId::from_bytes([0xFF; 16]);

/// A post that has a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaggedPost {
    pub post: PostId,
    pub author: UserId,
}

/// The fields of a row that a list needs.
#[derive(Debug, Deserialize)]
struct Row {
    #[serde(rename = "_id")]
    id: Binary,
    author: UserId,
}

/// The beginning of the tag's hash (8 bytes) ‖ post (16). Binary values compare by length first, so every bound has all 24 bytes.
fn tagged_id(tag: TagPrefix, post: PostId) -> Binary {
    Binary {
        subtype: BinarySubtype::Generic,
        bytes: [&tag[..], &post.as_bytes()[..]].concat(),
    }
}

/// The beginning of the tag's hash, and the post, in the `_id` of a row.
pub fn in_id(id: &Binary) -> Option<(TagPrefix, PostId)> {
    let (tag, post) = id.bytes.split_first_chunk()?;
    Some((*tag, PostId::from_bytes(post.try_into().ok()?)))
}

/// The tags under which a post is listed. Only a public post that is not deleted has any.
pub(super) fn tags_of(post: &Post) -> BTreeSet<TagKey> {
    let content = post.content.as_ref().filter(|_| !post.deleted);
    match (content, post.visibility) {
        (Some(content), Visibility::Public) => content.entities.tags(),
        _ => BTreeSet::new(),
    }
}

/// Adds the writes of a post that had one set of tags and now has another.
pub(super) fn change(
    post: PostId,
    author: UserId,
    [former, now]: [&BTreeSet<TagKey>; 2],
    prefix: impl Fn(&TagKey) -> TagPrefix,
    writes: &mut Writes,
) {
    let rows = |tags: &BTreeSet<TagKey>| {
        let mut rows: BTreeMap<TagPrefix, Vec<TagKey>> = BTreeMap::new();
        for tag in tags {
            rows.entry(prefix(tag)).or_default().push(tag.clone());
        }
        rows
    };
    let (former, now) = (rows(former), rows(now));
    for (&tag, tags) in &former {
        if now.get(&tag) != Some(tags) {
            writes.removals.push(tagged_id(tag, post).into());
        }
    }
    for (tag, tags) in now {
        if former.get(&tag) != Some(&tags) {
            let tags: Vec<Bson> = tags.iter().map(|tag| tag.as_str().into()).collect();
            writes
                .inserts
                .push(doc! { "_id": tagged_id(tag, post), "tags": tags, "author": author });
        }
    }
}

/// Reads the collection. Its one writer is the row writer.
#[derive(Debug, Clone)]
pub struct Tagged {
    database: Database,
    rows: Collection<Row>,
}

impl Tagged {
    pub(super) fn new(database: &Database, name: &str) -> Self {
        Self {
            database: database.clone(),
            rows: super::collection(database, name),
        }
    }

    pub fn name(&self) -> &str {
        self.rows.name()
    }

    pub(super) async fn ensure(&self) -> Result<(), Error> {
        super::create_clustered(&self.database, self.rows.name()).await
    }

    /// The posts with a tag, newest first.
    pub async fn of_tag(&self, tag: &TagKey, range: Range<PostId>) -> Result<Vec<TaggedPost>, Error> {
        let bound = |post: PostId| tagged_id(tag.prefix(), post);
        let (above, below) = (range.after.unwrap_or(LOWEST), range.before.unwrap_or(HIGHEST));
        let filter = doc! { "_id": { "$gt": bound(above), "$lt": bound(below) }, "tags": tag.as_str() };
        let found = self
            .rows
            .find(filter)
            .projection(doc! { "author": 1 })
            .sort(doc! { "_id": range.direction() })
            .limit(i64::from(range.limit))
            .batch_size(range.limit.saturating_add(1));
        let rows: Vec<Row> = found.await?.try_collect().await?;
        let posts = rows.into_iter().filter_map(|row| {
            let post = row.id.bytes.get(8..)?.try_into().ok()?;
            Some(TaggedPost {
                post: PostId::from_bytes(post),
                author: row.author,
            })
        });
        Ok(range.newest_first(posts.collect()))
    }
}

#[cfg(test)]
mod tests {
    use bson::Document;

    use super::*;

    fn tags(tags: &[&str]) -> BTreeSet<TagKey> {
        tags.iter().copied().map(TagKey::of).collect()
    }

    /// The writes, if tags with the same first letter have the same prefix.
    fn writes(former: &[&str], now: &[&str]) -> (Vec<u8>, Vec<(u8, Vec<String>)>) {
        let (post, author) = (PostId::from_bytes([1; 16]), UserId::from_bytes([2; 16]));
        let prefix = |tag: &TagKey| [tag.as_str().as_bytes()[0]; 8];
        let mut writes = Writes::default();
        change(post, author, [&tags(former), &tags(now)], prefix, &mut writes);
        assert!(writes.updates.is_empty());
        let letter = |id: &Bson| match id {
            Bson::Binary(id) => id.bytes[0],
            other => panic!("{other} is no id of a row"),
        };
        let inserted = |row: &Document| {
            let tags = row.get_array("tags").unwrap().iter();
            let tags = tags.map(|tag| tag.as_str().unwrap().to_owned());
            (letter(row.get("_id").unwrap()), tags.collect())
        };
        (
            writes.removals.iter().map(letter).collect(),
            writes.inserts.iter().map(inserted).collect(),
        )
    }

    #[test]
    fn only_the_tags_that_change_are_written() {
        let inserted = |letter: u8, tags: &[&str]| (letter, tags.iter().copied().map(str::to_owned).collect());
        assert_eq!(
            writes(&[], &["a", "b"]),
            (vec![], vec![inserted(b'a', &["a"]), inserted(b'b', &["b"])])
        );
        assert_eq!(
            writes(&["a", "b"], &["B", "c"]),
            (vec![b'a'], vec![inserted(b'c', &["c"])])
        );
        assert_eq!(writes(&["a", "b"], &[]), (vec![b'a', b'b'], vec![]));
        assert_eq!(writes(&["a"], &["A"]), (vec![], vec![]));
    }

    #[test]
    fn tags_whose_hashes_begin_alike_share_a_row() {
        let inserted = |tags: &[&str]| vec![(b'a', tags.iter().copied().map(str::to_owned).collect())];
        assert_eq!(writes(&[], &["a1", "a2"]), (vec![], inserted(&["a1", "a2"])));
        assert_eq!(writes(&["a1", "a2"], &["a2"]), (vec![b'a'], inserted(&["a2"])));
        assert_eq!(writes(&["a1"], &["a1", "a2"]), (vec![b'a'], inserted(&["a1", "a2"])));
    }
}
