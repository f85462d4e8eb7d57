//! A reader that only relies on what the views promise: entries above the floor, lookups of large accounts and of followed tags, and fan-out
//! on read below the floor. It is slow and simple, so that a difference is the fault of the views.

use std::collections::{BTreeMap, HashMap, HashSet};

use model::clock::Clock;
use model::ids::{PostId, UserId};
use model::tags::TagKey;
use model::values::Visibility;
use views::{Entry, Post, Range, Views};

use crate::fixture::{Projected, timelines};

/// How often a reader has met each of these cases.
#[derive(Debug, Default)]
pub(crate) struct Met {
    pub(crate) woken: u64,
    pub(crate) idle: u64,
    pub(crate) below_the_floor: u64,
    pub(crate) large: u64,
    pub(crate) tags: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Visit {
    /// A visit by the owner. It is stored and ends idleness.
    Owner,
    /// A read that changes nothing.
    Silent,
}

/// The whole home timeline, page by page.
pub(crate) async fn home_timeline(
    projected: &Projected,
    owner: UserId,
    visit: Visit,
    page: u32,
    met: &mut Met,
) -> Vec<PostId> {
    let views = &projected.views;
    let mut shown = Vec::new();
    let mut before = None;
    let followees: HashSet<UserId> = views.relations.followees(owner).await.unwrap().into_iter().collect();
    let authors: Vec<UserId> = followees.iter().copied().chain([owner]).collect();
    loop {
        let range = Range {
            before,
            ..Range::newest(page)
        };
        let (mut header, mut entries) = views.home_timelines.page(owner, range).await.unwrap();
        if before.is_none() && visit == Visit::Owner {
            let now = projected.clock.now();
            if header.idle {
                views
                    .home_timelines
                    .wake(owner, now, timelines().wake_margin)
                    .await
                    .unwrap();
                (header, entries) = views.home_timelines.page(owner, range).await.unwrap();
                assert!(!header.idle);
                met.woken += 1;
            } else {
                views.home_timelines.note_visit(owner, now).await.unwrap();
            }
        }
        met.idle += u64::from(header.idle);
        let large: Vec<UserId> = header
            .large
            .iter()
            .copied()
            .filter(|account| followees.contains(account))
            .collect();
        let mut candidates: BTreeMap<PostId, Entry> = BTreeMap::new();
        let complete = entries.len() < page as usize;
        candidates.extend(entries.into_iter().map(|entry| (entry.id, entry)));
        if !large.is_empty() {
            met.large += 1;
            let heads = views.posts.heads_of_authors(&large, range).await.unwrap();
            candidates.extend(heads.iter().map(|head| (head.id, Entry::from(head))));
        }
        let tags = match header.follows_tags {
            true => views.followed_tags.all_of_user(owner).await.unwrap(),
            false => Vec::new(),
        };
        for tag in &tags {
            met.tags += 1;
            let found = views.tagged.of_tag(tag, range).await.unwrap();
            candidates.extend(found.into_iter().map(|found| {
                let entry = Entry {
                    id: found.post,
                    author: found.author,
                    repost_of: None,
                };
                (found.post, entry)
            }));
        }
        if complete && (header.idle || header.floor.is_some()) {
            met.below_the_floor += 1;
            let heads = views.posts.heads_of_authors(&authors, range).await.unwrap();
            let below = heads.iter().filter(|head| !header.covers(head.id));
            candidates.extend(below.map(|head| (head.id, Entry::from(head))));
        }
        let candidates: Vec<Entry> = candidates.into_values().rev().take(page as usize).collect();
        shown.extend(visible(views, owner, (&authors, &tags), &candidates).await);
        match candidates.get(page as usize - 1) {
            Some(last) => before = Some(last.id),
            None => return shown,
        }
    }
}

/// The candidates of a page that are shown at present.
async fn visible(
    views: &Views,
    owner: UserId,
    (authors, tags): (&[UserId], &[TagKey]),
    candidates: &[Entry],
) -> Vec<PostId> {
    let mut posts: HashSet<PostId> = HashSet::new();
    let mut users: HashSet<UserId> = HashSet::new();
    for entry in candidates {
        posts.insert(entry.id);
        users.insert(entry.author);
        if let Some(original) = entry.repost_of {
            posts.insert(original.post);
            users.insert(original.author);
        }
    }
    let posts: Vec<PostId> = posts.into_iter().collect();
    let users: Vec<UserId> = users.into_iter().collect();
    let posts: HashMap<PostId, Post> = views
        .posts
        .live_by_ids(&posts)
        .await
        .unwrap()
        .into_iter()
        .map(|post| (post.id, post))
        .collect();
    let users: HashSet<UserId> = views
        .profiles
        .live_by_ids(&users)
        .await
        .unwrap()
        .into_iter()
        .map(|user| user.id)
        .collect();
    candidates
        .iter()
        .filter(|entry| {
            let original = entry
                .repost_of
                .is_none_or(|original| posts.contains_key(&original.post) && users.contains(&original.author));
            let admits = |post: &Post| {
                post.visibility != Visibility::Mentioned || post.author == owner || post.entities.mention(owner)
            };
            original
                && posts.get(&entry.id).is_some_and(admits)
                && users.contains(&entry.author)
                && (authors.contains(&entry.author) || posts[&entry.id].tags.iter().any(|tag| tags.contains(tag)))
        })
        .map(|entry| entry.id)
        .collect()
}
