//! Fan-out on write: copies what accounts post into the home timelines of their followers.
//!
//! Most accounts have few followers, and three statements for each of their posts are most of the work that a post makes. So the posts that
//! such accounts write at about the same time are fanned out together: one query for all their followers, one query for those who are idle,
//! and one insert. Accounts with many followers are fanned out separately, so that nobody waits for them.

use std::collections::BTreeMap;

use model::ids::UserId;
use mongodb::error::Error;

use super::Views;
use super::combiner::{Combiner, Job};
use super::entry_writer::EntryWriter;
use super::home_timelines::{BATCH, Entry};
use super::metrics::ViewMetrics;
use super::profiles::Audience;
use super::row_writer::Committed;

/// A post with more entries than this fills its own commands well enough.
const SMALL: usize = BATCH / 4;

/// New posts and reposts of one account, and the transaction that wrote their rows.
#[derive(Debug)]
pub(super) struct Posted {
    pub(super) author: UserId,
    pub(super) entries: Vec<Entry>,
    pub(super) committed: Committed,
}

impl Posted {
    fn is_large(&self) -> bool {
        // While the account is only crossing, the headers of some followers do not name it yet.
        self.committed.reach(self.author).audience == Some(Audience::Large)
    }

    /// How many entries it makes, as far as known.
    fn size(&self) -> usize {
        let followers = if self.is_large() {
            0
        } else {
            usize::try_from(self.committed.reach(self.author).followers).unwrap_or(0)
        };
        self.entries.len().saturating_mul(followers.saturating_add(1))
    }
}

#[derive(Debug)]
pub(super) struct FanOut(Combiner<Copying>);

impl FanOut {
    pub(super) fn new(views: Views, entries: EntryWriter, metrics: ViewMetrics) -> Self {
        Self(Combiner::new(Copying {
            views,
            entries,
            metrics,
        }))
    }

    /// Writes entries for the author, always, and for each follower.
    pub(super) async fn run(&self, posted: Posted) -> Result<(), Error> {
        if posted.size() > SMALL {
            self.0.job.copy(&[&posted]).await
        } else {
            self.0.run(posted).await
        }
    }
}

#[derive(Debug)]
struct Copying {
    views: Views,
    entries: EntryWriter,
    metrics: ViewMetrics,
}

impl Job for Copying {
    type Work = Posted;
    type Answer = ();
    type State = ();

    const MOST: usize = BATCH;

    fn size(posted: &Posted) -> usize {
        posted.size()
    }

    async fn perform(&self, (): &mut (), posted: &[&Posted]) -> Result<(), Error> {
        self.copy(posted).await
    }
}

impl Copying {
    async fn copy(&self, posted: &[&Posted]) -> Result<(), Error> {
        let mut copies: Vec<(UserId, Entry)> = Vec::new();
        let mut by_author: BTreeMap<UserId, Vec<Entry>> = BTreeMap::new();
        for one in posted {
            copies.extend(one.entries.iter().map(|&entry| (one.author, entry)));
            if one.is_large() {
                self.metrics.large_posts.inc_by(one.entries.len() as u64);
            } else {
                by_author.entry(one.author).or_default().extend(&one.entries);
            }
        }
        let authors: Vec<UserId> = by_author.keys().copied().collect();
        if authors.is_empty() {
            return self.insert(&mut copies).await;
        }
        let most = by_author.values().map(Vec::len).max().unwrap_or(1);
        let at_a_time = (BATCH / most).max(1);
        let mut session = Committed::session_of_all(posted.iter().map(|one| &one.committed), &self.views).await?;
        let mut followers = self.views.relations.all_followers(&mut session, &authors).await?;
        loop {
            let follows = followers.next(&mut session, at_a_time).await?;
            if !follows.is_empty() {
                let owners: Vec<UserId> = follows.iter().map(|follow| follow.follower).collect();
                let idle = self.views.home_timelines.idle_among(&mut session, &owners).await?;
                for follow in &follows {
                    if idle.contains(&follow.follower) {
                        self.metrics.idle_skips.inc();
                    } else if let Some(entries) = by_author.get(&follow.followee) {
                        copies.extend(entries.iter().map(|&entry| (follow.follower, entry)));
                    }
                }
            }
            self.insert(&mut copies).await?;
            if follows.len() < at_a_time {
                return Ok(());
            }
        }
    }

    async fn insert(&self, copies: &mut Vec<(UserId, Entry)>) -> Result<(), Error> {
        let inserted = self.entries.insert(copies).await?;
        self.metrics.fanned_out_entries.inc_by(inserted);
        copies.clear();
        Ok(())
    }
}
