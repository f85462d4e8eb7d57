//! Tells those who have reposted a post that it was edited since.
//!
//! It runs after the rows are committed, reads in a session that sees them, and may be repeated. An edit is committed before the reposts of its
//! post are read, and a repost before the edits of its post are read. So when both run at the same time, at least one of them sees the other.
//! What is written follows from the repost and from the times of the edits that are stored: so a rebuild writes the same.
//!
//! An edit tells only those whose reposts are newer than the edit before it: an earlier edit tells all others, and tells them earlier. If that
//! one arrives late, it tells them then, and lowers the place of those whom a later one has told.
//!
//! A repost that is taken back takes nothing back here. A reader compares a row with the repost that there is now.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, SubsecRound, Utc};
use event_log::subscription::Delivery;
use futures_util::TryStreamExt;
use model::events::{Event, Post, Repost};
use model::ids::{EventId, PostId, UserId};
use mongodb::error::Error;

use super::Views;
use super::notifications::Edited;
use super::range::Range;
use super::relations::{Relation, RelationId, RelationKind};
use super::row_writer::Committed;

/// How many reposts are read and told at a time.
const BATCH: usize = 1_000;

#[derive(Debug)]
pub(super) struct Edits {
    views: Views,
}

/// What a batch tells of one post.
#[derive(Debug, Default)]
struct Work {
    author: Option<UserId>,
    edited: BTreeSet<DateTime<Utc>>,
    /// Who has reposted it, and the time of the oldest of these reposts.
    reposters: BTreeSet<UserId>,
    oldest: Option<DateTime<Utc>>,
}

impl Edits {
    pub(super) fn new(views: Views) -> Self {
        Self { views }
    }

    /// What follows from the edits and the reposts of a batch.
    pub(super) async fn tell(&self, batch: &[Delivery], committed: &Committed) -> Result<(), Error> {
        let mut work: BTreeMap<PostId, Work> = BTreeMap::new();
        for delivery in batch {
            match &delivery.event {
                Event::PostEdited(Post {
                    id,
                    author,
                    edited_at: Some(at),
                    ..
                }) => {
                    let work = work.entry(*id).or_default();
                    work.author = Some(*author);
                    // As precise as it is stored.
                    work.edited.insert(at.trunc_subsecs(3));
                }
                Event::PostReposted(Repost {
                    id,
                    user,
                    post,
                    post_author,
                    ..
                }) => {
                    let work = work.entry(*post).or_default();
                    work.author = Some(*post_author);
                    work.reposters.insert(*user);
                    work.oldest = Some(work.oldest.map_or(id.time(), |oldest| oldest.min(id.time())));
                }
                _ => {}
            }
        }
        if work.is_empty() {
            return Ok(());
        }
        let session = &mut committed.session(&self.views).await?;
        for (post, work) in work {
            let Some(author) = work.author else { continue };
            // A repost concerns only the edits after it. Most posts have none.
            let after = work.oldest.filter(|_| work.edited.is_empty());
            let edits = self.views.post_history.edits(session, post, after).await?;
            if edits.is_empty() {
                continue;
            }
            if let (Some(first), Some(&last)) = (work.edited.first(), work.edited.last()) {
                let before = edits.iter().copied().filter(|at| at < first).max();
                let mut reposts = self.views.relations.reposts_of(session, post, before, last).await?;
                loop {
                    let some = reposts.stream(session);
                    let some: Vec<Relation> = futures_util::StreamExt::take(some, BATCH).try_collect().await?;
                    if some.is_empty() {
                        break;
                    }
                    self.tell_reposters(author, post, &edits, &some).await?;
                }
            }
            if !work.reposters.is_empty() {
                let ids: Vec<RelationId> = work
                    .reposters
                    .iter()
                    .map(|&user| RelationId::repost(user, post))
                    .collect();
                let reposts = self.views.relations.live_in(session, &ids).await?;
                self.tell_reposters(author, post, &edits, &reposts).await?;
            }
        }
        Ok(())
    }

    /// What an owner is told in a generation whose rows are complete up to some position.
    pub(super) async fn fill(&self, owner: UserId) -> Result<(), Error> {
        let limit = u32::try_from(BATCH).unwrap_or(u32::MAX);
        let mut range = Range::newest(limit);
        loop {
            let reposts = self
                .views
                .relations
                .of_viewer(owner, RelationKind::Repost, range)
                .await?;
            let posts: Vec<PostId> = reposts.iter().map(Relation::post).collect();
            let edited = self.views.posts.edited_among(&posts).await?;
            let mut session = self.views.database().client().start_session().await?;
            for repost in &reposts {
                let Some(&author) = edited.get(&repost.post()) else {
                    continue;
                };
                let edits = self.views.post_history.edits(&mut session, repost.post(), None).await?;
                self.tell_reposters(author, repost.post(), &edits, std::slice::from_ref(repost))
                    .await?;
            }
            match reposts.last().filter(|_| reposts.len() >= BATCH) {
                Some(last) => range = Range::before(last.order, limit),
                None => return Ok(()),
            }
        }
    }

    async fn tell_reposters(
        &self,
        author: UserId,
        post: PostId,
        edits: &[DateTime<Utc>],
        reposts: &[Relation],
    ) -> Result<(), Error> {
        let told = reposts.iter().filter_map(|relation| {
            let repost = relation.repost?;
            let since = edits.iter().filter(|&&at| at > repost.time());
            let edit = EventId::of_edit(post, *since.min()?);
            // Nobody is told of what they do themselves.
            (relation.viewer() != author).then(|| Edited {
                owner: relation.viewer(),
                author,
                post,
                repost,
                version: relation.version,
                edit,
            })
        });
        self.views.notifications.tell_of_edits(&told.collect::<Vec<_>>()).await
    }
}
