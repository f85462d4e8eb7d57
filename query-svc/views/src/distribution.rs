//! From rows to home timelines: fan-out of posts and reposts, backfill of follows, and large audiences.
//!
//! All of it runs after the rows are committed, reads in a session that sees them, and may be repeated. The transaction that committed the
//! rows tells whether an audience is large: see [`Reach`]. A post's row is committed before its followers are read. A follow's edge is
//! committed before the followee's posts are read. So when a post and a follow run at the same time, at least one of them sees the other.

use std::collections::{BTreeMap, BTreeSet};

use crate::Timelines;
use chrono::TimeDelta;
use event_log::subscription::Delivery;
use model::clock::SharedClock;
use model::events::Event;
use model::ids::UserId;
use mongodb::ClientSession;
use mongodb::error::Error;

use super::Views;
use super::entry_writer::EntryWriter;
use super::fan_out::{FanOut, Posted};
use super::home_timelines::{BATCH, Entry};
use super::metrics::ViewMetrics;
use super::posts::PostReference;
use super::profiles::Audience;
use super::row_writer::Committed;

/// How many owners one query marks as idle.
const IDLE_BATCH: u32 = 1_000;

#[derive(Debug)]
pub(super) struct Distribution {
    views: Views,
    fan_out: FanOut,
    entries: EntryWriter,
    timelines: Timelines,
    clock: SharedClock,
    metrics: ViewMetrics,
}

/// What a batch changes in the home timelines of one account's followers.
#[derive(Debug, Default)]
struct Work {
    /// New posts and reposts.
    entries: Vec<Entry>,
    /// New followers.
    followers: BTreeSet<UserId>,
}

impl Distribution {
    pub(super) fn new(views: Views, timelines: Timelines, clock: SharedClock, metrics: ViewMetrics) -> Self {
        let entries = EntryWriter::new(
            views.home_timelines.clone(),
            timelines.clone(),
            clock.clone(),
            metrics.clone(),
        );
        Self {
            fan_out: FanOut::new(views.clone(), entries.clone(), metrics.clone()),
            entries,
            views,
            timelines,
            clock,
            metrics,
        }
    }

    pub(super) async fn distribute(&self, batch: &[Delivery], committed: &Committed) -> Result<(), Error> {
        let mut registered = Vec::new();
        let mut tag_followers = Vec::new();
        let mut exclusive_owners = Vec::new();
        let mut work: BTreeMap<UserId, Work> = BTreeMap::new();
        for delivery in batch {
            match &delivery.event {
                Event::UserRegistered(user) => registered.push((user.id, user.created_at)),
                // A post without content has been deleted since.
                Event::PostCreated(post) if post.content.is_some() => {
                    let entry = Entry {
                        id: post.id,
                        author: post.author,
                        repost_of: None,
                    };
                    work.entry(post.author).or_default().entries.push(entry);
                }
                Event::PostReposted(repost) => {
                    let original = PostReference {
                        post: repost.post,
                        author: repost.post_author,
                    };
                    let entry = Entry {
                        id: repost.id,
                        author: repost.user,
                        repost_of: Some(original),
                    };
                    work.entry(repost.user).or_default().entries.push(entry);
                }
                // However the follow came about: at once, or by an answer to a request.
                Event::Followed(follow) | Event::FollowAccepted(follow) => {
                    work.entry(follow.followee)
                        .or_default()
                        .followers
                        .insert(follow.follower);
                }
                Event::TagFollowed(follow) => tag_followers.push(follow.user),
                Event::ListCreated(list) | Event::ListChanged(list) if list.exclusive => {
                    exclusive_owners.push(list.owner);
                }
                // Entries are hints. A page checks for deletions, retractions and unfollows when it is read.
                _ => {}
            }
        }
        self.views.home_timelines.note_registrations(&registered).await?;
        self.views.home_timelines.tell_of_tags(&tag_followers).await?;
        self.views
            .home_timelines
            .tell_of_exclusive_lists(&exclusive_owners)
            .await?;
        if work.is_empty() {
            return Ok(());
        }
        for (account, work) in work {
            self.distribute_of(account, work, committed).await?;
        }
        Ok(())
    }

    async fn distribute_of(&self, account: UserId, work: Work, committed: &Committed) -> Result<(), Error> {
        if !work.entries.is_empty() {
            let posted = Posted {
                author: account,
                entries: work.entries,
                committed: committed.clone(),
            };
            self.fan_out.run(posted).await?;
        }
        if !work.followers.is_empty() {
            let reach = committed.reach(account);
            let session = &mut committed.session(&self.views).await?;
            let followers: Vec<UserId> = work.followers.into_iter().collect();
            let many = reach.followers >= i64::from(self.timelines.fan_out_limit.get());
            match reach.audience {
                Some(Audience::Large) => self.views.home_timelines.tell_large(&followers, account).await?,
                // The process that began may have died since. So every follow that sees the crossing finishes it.
                Some(Audience::Crossing) => self.cross(session, account).await?,
                None if many => self.cross(session, account).await?,
                None if !reach.posted => {}
                None => self.backfill(session, account, &followers).await?,
            }
        }
        Ok(())
    }

    /// Copies the account's newest posts into the home timelines of new followers.
    async fn backfill(&self, session: &mut ClientSession, account: UserId, followers: &[UserId]) -> Result<(), Error> {
        let window = self.timelines.window.get();
        let newest = self
            .views
            .posts
            .newest_heads(session, account, window.saturating_add(1))
            .await?;
        if newest.is_empty() {
            return Ok(());
        }
        let headers = self.views.home_timelines.headers(session, followers).await?;
        let mut floors = Vec::new();
        let mut copies = Vec::new();
        for &owner in followers {
            let header = headers.get(&owner);
            if header.is_some_and(|header| header.idle) {
                // All present posts are below the floor that the next visit sets.
                self.metrics.idle_skips.inc();
                continue;
            }
            let mut floor = header.and_then(|header| header.floor);
            // More posts than the window are above the floor, so older entries can't be complete any more.
            if let Some(first_left_out) = newest.get(window as usize).map(|post| post.id)
                && floor.is_none_or(|floor| first_left_out > floor)
            {
                floors.push((owner, first_left_out));
                floor = Some(first_left_out);
            }
            let above = newest.iter().filter(|post| floor.is_none_or(|floor| post.id > floor));
            copies.extend(above.map(|post| (owner, Entry::from(post))));
        }
        // The floor rises first. Otherwise a page would take the copies for all posts there are.
        self.views.home_timelines.raise_floors(&floors).await?;
        self.metrics.raised_floors.inc_by(floors.len() as u64);
        let inserted = self.entries.insert(&copies).await?;
        self.metrics.backfilled_entries.inc_by(inserted);
        Ok(())
    }

    /// Changes an account from fan-out on write to fan-out on read, permanently.
    ///
    /// The flag is committed before the followers are listed, and every follow reads the flag after its edge is committed. So either the
    /// list contains the follower, or the follower's own handler sees the flag and also comes here. Fan-out stops only when every
    /// follower's header names the account. Every step may be repeated, even by several processes at the same time.
    async fn cross(&self, session: &mut ClientSession, account: UserId) -> Result<(), Error> {
        self.views.profiles.begin_crossing(session, account).await?;
        let mut followers = self.views.relations.all_followers(session, &[account]).await?;
        loop {
            let follows = followers.next(session, BATCH).await?;
            if follows.is_empty() {
                break;
            }
            let owners: Vec<UserId> = follows.iter().map(|follow| follow.follower).collect();
            self.views.home_timelines.tell_large(&owners, account).await?;
        }
        if self.views.profiles.finish_crossing(session, account).await? {
            tracing::info!(%account, "audience is large: posts are no longer fanned out");
            self.metrics.crossings.inc();
        }
        Ok(())
    }

    pub(super) async fn mark_idle_owners(&self) -> Result<u64, Error> {
        let idle_after = TimeDelta::from_std(self.timelines.idle_after).unwrap_or(TimeDelta::MAX);
        let Some(cutoff) = self.clock.now().checked_sub_signed(idle_after) else {
            return Ok(0);
        };
        let mut marked = 0;
        loop {
            let (count, more) = self.views.home_timelines.mark_idle(cutoff, IDLE_BATCH).await?;
            self.metrics.idle_marks.inc_by(count);
            marked += count;
            if !more {
                return Ok(marked);
            }
        }
    }
}
