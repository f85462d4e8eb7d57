//! Lists of posts, with only those fields that a page needs to load the rest.

use std::cmp::Reverse;

use bson::{Bson, Document, doc};
use futures_util::TryStreamExt;
use futures_util::future::try_join_all;
use model::ids::{PostId, UserId};
use mongodb::error::Error;

use super::{MENTIONED, PostHead, Posts, QUOTING, head_fields, of_authors};
use crate::one_batch;
use crate::range::{End, Range};

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

    /// As [`Posts::heads_of_authors`], but for one author, and only the posts for a viewer who is not the author and does not follow the
    /// author: those that everybody may see, and those that mention the viewer.
    pub async fn heads_of_author_for(
        &self,
        author: UserId,
        viewer: Option<UserId>,
        range: Range<PostId>,
    ) -> Result<Vec<PostHead>, Error> {
        let by = of_authors(&[author], range);
        let mut lists = open(&by).to_vec();
        if let Some(viewer) = viewer {
            let mut mentioning = by;
            mentioning.insert(MENTIONED, viewer);
            lists.push(mentioning);
        }
        self.heads_of_lists(lists, range).await
    }

    /// Live replies to a post, newest first. Those that not everybody may see are included only if `closed_too` is set.
    pub async fn heads_of_replies(
        &self,
        post: PostId,
        closed_too: bool,
        range: Range<PostId>,
    ) -> Result<Vec<PostHead>, Error> {
        self.heads_about(doc! { "in_reply_to.post": post }, closed_too, range)
            .await
    }

    /// As [`Posts::heads_of_replies`], for live posts that quote a post.
    pub async fn heads_of_quotes(
        &self,
        post: PostId,
        closed_too: bool,
        range: Range<PostId>,
    ) -> Result<Vec<PostHead>, Error> {
        self.heads_about(doc! { QUOTING: post }, closed_too, range).await
    }

    async fn heads_about(
        &self,
        mut filter: Document,
        closed_too: bool,
        range: Range<PostId>,
    ) -> Result<Vec<PostHead>, Error> {
        range.bound(&mut filter, "_id");
        if closed_too {
            self.heads_where(filter, range).await
        } else {
            self.heads_of_lists(open(&filter).to_vec(), range).await
        }
    }

    /// Live posts, replies and reposts by anybody, newest first, whatever their visibility.
    pub async fn heads_of_everybody(&self, range: Range<PostId>) -> Result<Vec<PostHead>, Error> {
        let mut filter = doc! { "live": true };
        range.bound(&mut filter, "_id");
        self.heads_where(filter, range).await
    }

    /// Live public posts and replies by anybody, newest first. Unlisted ones are not among them.
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

    /// Merges lists that have no post in common.
    async fn heads_of_lists(&self, lists: Vec<Document>, range: Range<PostId>) -> Result<Vec<PostHead>, Error> {
        let lists = lists.into_iter().map(|filter| self.heads_where(filter, range));
        let mut heads = try_join_all(lists).await?.concat();
        heads.sort_unstable_by_key(|head| Reverse(head.id));
        let limit = usize::try_from(range.limit).unwrap_or(usize::MAX);
        if range.end == End::Oldest {
            heads.drain(..heads.len().saturating_sub(limit));
        }
        heads.truncate(limit);
        Ok(heads)
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

/// The lists of those posts in a list that everybody may see.
///
/// They are two, because an index has each of them in order. The stand-in for MongoDB does not merge them: of 40,000 posts, it needs 75 ms for
/// a page of both in one question, and 2 ms for a page of one. A filter always has a range of ids, which the index with the visibility
/// needs: without a range, the stand-in uses the other indexes.
fn open(filter: &Document) -> [Document; 2] {
    ["public", "unlisted"].map(|visibility| {
        let mut filter = filter.clone();
        filter.insert("visibility", visibility);
        if !filter.contains_key("_id") {
            filter.insert("_id", doc! { "$lt": PostId::from_bytes([0xFF; 16]) });
        }
        filter
    })
}
