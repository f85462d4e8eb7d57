//! Lists of posts, with only those fields that a page needs to load the rest.

use bson::{Bson, Document, doc};
use futures_util::TryStreamExt;
use model::ids::{PostId, UserId};
use mongodb::error::Error;

use super::{PostHead, Posts, head_fields, of_authors};
use crate::one_batch;
use crate::range::Range;

impl Posts {
    /// Live posts, replies and reposts by any of these authors, newest first, whatever their visibility.
    ///
    /// For up to a hundred authors, a server merges their sorted lists and stops at the limit. For many more authors, it reads everything
    /// in the range.
    pub async fn heads_of_authors(&self, authors: &[UserId], range: Range<PostId>) -> Result<Vec<PostHead>, Error> {
        if authors.is_empty() {
            return Ok(Vec::new());
        }
        self.heads_where(of_authors(authors, range), range).await
    }

    /// As [`Posts::heads_of_authors`], but for one author, and only posts that everybody may see.
    pub async fn public_heads_of_author(&self, author: UserId, range: Range<PostId>) -> Result<Vec<PostHead>, Error> {
        let mut filter = of_authors(&[author], range);
        only_public(&mut filter);
        self.heads_where(filter, range).await
    }

    /// Live replies to a post, newest first. Those for followers are included only if `closed_too` is set.
    pub async fn heads_of_replies(
        &self,
        post: PostId,
        closed_too: bool,
        range: Range<PostId>,
    ) -> Result<Vec<PostHead>, Error> {
        let mut filter = doc! { "in_reply_to.post": post };
        range.bound(&mut filter, "_id");
        if !closed_too {
            only_public(&mut filter);
        }
        self.heads_where(filter, range).await
    }

    /// Live public posts and replies by anybody, newest first.
    pub async fn public_heads(&self, range: Range<PostId>) -> Result<Vec<PostHead>, Error> {
        let mut filter = doc! { "public": true };
        range.bound(&mut filter, "_id");
        self.heads_where(filter, range).await
    }

    /// As [`Posts::live_by_ids`].
    pub async fn live_heads_by_ids(&self, ids: &[PostId]) -> Result<Vec<PostHead>, Error> {
        let listed: Vec<Bson> = ids.iter().map(|&id| id.into()).collect();
        let found = self.heads.find(doc! { "_id": { "$in": listed }, "live": true });
        let found = found.projection(head_fields()).batch_size(one_batch(ids.len())).await?;
        found.try_collect().await
    }

    async fn heads_where(&self, filter: Document, range: Range<PostId>) -> Result<Vec<PostHead>, Error> {
        let found = self
            .heads
            .find(filter)
            .projection(head_fields())
            .sort(doc! { "_id": range.direction() });
        // One batch. By default, the first batch ends at 101 documents.
        let found = found
            .limit(i64::from(range.limit))
            .batch_size(range.limit.saturating_add(1))
            .await?;
        Ok(range.newest_first(found.try_collect().await?))
    }
}

/// The filter always has a range of ids, which the index with the visibility needs: without a range, the stand-in for MongoDB uses the
/// other indexes.
fn only_public(filter: &mut Document) {
    filter.insert("visibility", "public");
    if !filter.contains_key("_id") {
        filter.insert("_id", doc! { "$lt": PostId::from_bytes([0xFF; 16]) });
    }
}
