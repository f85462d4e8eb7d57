//! The same work with the driver alone: the limit that the database and the network set.

use anyhow::Result;
use bson::raw::RawDocumentBuf;
use bson::{Bson, doc};
use futures_util::TryStreamExt as _;
use mongodb::{Collection, Database};
use views::RelationId;

use crate::population::{Reader, key, named};

const HIGHEST: [u8; 16] = [0xFF; 16];
const LOWEST: [u8; 16] = [0x00; 16];

/// The collections that a home timeline is read from.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    entries: Collection<RawDocumentBuf>,
    posts: Collection<RawDocumentBuf>,
    profiles: Collection<RawDocumentBuf>,
    relations: Collection<RawDocumentBuf>,
}

impl Home {
    /// Uses the options of the client, which are the same as those of the services.
    pub(crate) fn new(views: &Database) -> Self {
        Self {
            entries: views.collection(&named("home_timelines")),
            posts: views.collection(&named("posts")),
            profiles: views.collection(&named("profiles")),
            relations: views.collection(&named("relations")),
        }
    }

    /// The range scan and, at the same time, the three look-ups of a page. Returns the number of documents.
    pub(crate) async fn page(&self, reader: &Reader, limit: usize) -> Result<usize> {
        let viewer = reader.person.id;
        let range = doc! { "_id": { "$gt": key(viewer, &LOWEST), "$lte": key(viewer, &HIGHEST) } };
        // The header, the entries of the page, and one more that shows whether there is a next page.
        let limit_of_scan = i64::try_from(limit + 2)?;
        let entries: Vec<RawDocumentBuf> = self
            .entries
            .find(range)
            .sort(doc! { "_id": -1 })
            .limit(limit_of_scan)
            .await?
            .try_collect()
            .await?;
        // The posts are known beforehand: to find them would cost the raw side almost nothing.
        let shown = &reader.posts[..reader.posts.len().min(limit + 1)];
        let posts: Vec<Bson> = shown.iter().map(|&(post, _)| post.into()).collect();
        let authors: Vec<Bson> = shown.iter().map(|&(_, author)| author.into()).collect();
        let relations: Vec<Bson> = shown
            .iter()
            .flat_map(|&(post, author)| {
                [
                    RelationId::follow(viewer, author),
                    RelationId::like(viewer, post),
                    RelationId::repost(viewer, post),
                ]
            })
            .map(Bson::from)
            .collect();
        let (posts, profiles, relations) = futures_util::try_join!(
            find(&self.posts, posts),
            find(&self.profiles, authors),
            find(&self.relations, relations)
        )?;
        Ok(entries.len() + posts + profiles + relations)
    }
}

async fn find(collection: &Collection<RawDocumentBuf>, ids: Vec<Bson>) -> Result<usize> {
    let live = doc! { "_id": { "$in": ids }, "live": true };
    let found: Vec<RawDocumentBuf> = collection.find(live).await?.try_collect().await?;
    Ok(found.len())
}
