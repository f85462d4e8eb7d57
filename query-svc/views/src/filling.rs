//! Fills the home timelines of a new generation from its posts and follows, and tells who has reposted what of edits, while nothing else writes
//! there.

use std::collections::HashSet;

use crate::Timelines;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::{StreamExt, TryStreamExt, stream};
use model::clock::SharedClock;
use model::ids::UserId;
use mongodb::error::Error;

use super::Views;
use super::edits::Edits;
use super::home_timelines::{Entry, Header};
use super::posts::PostHead;
use super::profiles::Profile;
use super::range::Range;

/// How many authors one query asks for. A server merges a hundred sorted lists well.
const AUTHORS: usize = 100;
/// How many owners are filled at the same time.
const CONCURRENCY: usize = 8;

/// Fills the home timelines of a generation whose rows are complete up to some position.
///
/// The generation's subscription delivers later events, as for any other generation.
#[derive(Debug)]
pub struct Filling {
    views: Views,
    /// The generation that is read meanwhile. It knows who has read lately.
    previous: Option<Views>,
    timelines: Timelines,
    clock: SharedClock,
}

/// The result of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filled {
    pub owners: usize,
    /// Where the next call continues. `None` at the end.
    pub next: Option<UserId>,
}

impl Filling {
    pub fn new(views: Views, previous: Option<Views>, timelines: Timelines, clock: SharedClock) -> Self {
        Self {
            views,
            previous,
            timelines,
            clock,
        }
    }

    /// Fills the home timelines of the next `limit` owners after `after`, in the order of their ids. The first call has `None`.
    ///
    /// A repeated call changes nothing, so a successor can continue from any `next` that was stored.
    pub async fn fill(&self, after: Option<UserId>, limit: u32) -> Result<Filled, Error> {
        if after.is_none() {
            self.views
                .profiles
                .fill_audiences(i64::from(self.timelines.fan_out_limit.get()))
                .await?;
        }
        let large = self.views.profiles.large().await?;
        let owners = self.views.profiles.live_after(after, limit).await?;
        let next = owners
            .last()
            .filter(|_| owners.len() == limit as usize)
            .map(|owner| owner.id);
        let filled = owners.len();
        let ids: Vec<UserId> = owners.iter().map(|owner| owner.id).collect();
        let tag_followers = self.views.followed_tags.followers_among(&ids).await?;
        let exclusive_owners = self.views.lists.exclusive_among(&ids).await?;
        stream::iter(owners)
            .map(|owner| {
                let header = Header {
                    follows_tags: tag_followers.contains(&owner.id),
                    exclusive_lists: exclusive_owners.contains(&owner.id),
                    ..Header::default()
                };
                self.fill_one(owner, &large, header)
            })
            .buffer_unordered(CONCURRENCY)
            .try_collect::<()>()
            .await?;
        Ok(Filled { owners: filled, next })
    }

    /// `header` says what a page looks up.
    async fn fill_one(&self, owner: Profile, large: &HashSet<UserId>, header: Header) -> Result<(), Error> {
        Edits::new(self.views.clone()).fill(owner.id).await?;
        let last_read = self.last_read(&owner).await?;
        let followees = self.views.relations.followees(owner.id).await?;
        let (large, mut small): (Vec<UserId>, Vec<UserId>) =
            followees.into_iter().partition(|followee| large.contains(followee));
        let mut header = Header {
            last_read: Some(last_read),
            large,
            ..header
        };
        if self.is_idle(last_read) {
            header.idle = true;
            return self.views.home_timelines.fill_header(owner.id, &header).await;
        }
        // The owner's own posts always have entries, however large the owner's audience is.
        small.push(owner.id);
        let window = self.timelines.window.get();
        let mut newest = self.newest(&small, window.saturating_add(1)).await?;
        if let Some(first_left_out) = newest.get(window as usize) {
            header.floor = Some(first_left_out.id);
            newest.truncate(window as usize);
        }
        self.views.home_timelines.fill_header(owner.id, &header).await?;
        let entries: Vec<(UserId, Entry)> = newest.iter().map(|post| (owner.id, Entry::from(post))).collect();
        self.views.home_timelines.insert(&entries).await?;
        Ok(())
    }

    /// The newest posts and reposts of all these authors.
    async fn newest(&self, authors: &[UserId], limit: u32) -> Result<Vec<PostHead>, Error> {
        let mut newest: Vec<PostHead> = Vec::new();
        for chunk in authors.chunks(AUTHORS) {
            let mut range = Range::newest(limit);
            // A post that is older than `limit` posts found already can't be among the newest.
            range.after = newest.get(limit as usize - 1).map(|post| post.id);
            newest.extend(self.views.posts.heads_of_authors(chunk, range).await?);
            newest.sort_unstable_by_key(|post| std::cmp::Reverse(post.id));
            newest.truncate(limit as usize);
        }
        Ok(newest)
    }

    async fn last_read(&self, owner: &Profile) -> Result<DateTime<Utc>, Error> {
        let noted = match &self.previous {
            Some(previous) => previous.home_timelines.header(owner.id).await?.last_read,
            None => None,
        };
        Ok(noted.map_or(owner.created_at, |noted| noted.max(owner.created_at)))
    }

    fn is_idle(&self, last_read: DateTime<Utc>) -> bool {
        let idle_after = TimeDelta::from_std(self.timelines.idle_after).unwrap_or(TimeDelta::MAX);
        self.clock
            .now()
            .checked_sub_signed(idle_after)
            .is_some_and(|cutoff| last_read < cutoff)
    }
}
