//! Reads the events: first all of them, and at the end those that were written during the run.

use std::collections::HashSet;

use anyhow::Context;
use bson::doc;
use chrono::{DateTime, TimeDelta, Utc};
use event_log::event_store::{EVENTS, RecordedEvent};
use futures_util::{Stream, TryStreamExt};
use model::events::{Event, List, ListMember, ListTag, State, StreamId};
use model::ids::{EventId, PostId, UserId, uuid_v7_floor};
use mongodb::Database;
use mongodb::error::Error;

use super::oracle::Facts;
use super::said::Said;

/// An event may reach the store later than its id says: clocks differ, and a write may be repeated for seconds.
const LATE: TimeDelta = TimeDelta::minutes(2);
const BATCH: u32 = 2_000;

/// What one pass over the events found.
#[derive(Debug)]
pub(super) struct Observation {
    pub(super) facts: Facts,
    pub(super) events: u64,
    /// When the pass began, and its events that are so recent that later ones may still get ids of the same minutes.
    begun: DateTime<Utc>,
    recent: HashSet<EventId>,
}

/// What an entry of a list depends on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Dependency {
    Stream(StreamId),
    UserCounts(UserId),
    PostCounts(PostId),
    /// All lists of a user, and what is in them.
    Lists(UserId),
    /// All filters of a user, also those that were made during the run.
    Filters(UserId),
}

/// Reads every event. An event that an operator discarded counts as if it had never happened.
pub(super) async fn read_all(
    events: &Database,
    discarded: &HashSet<EventId>,
    now: DateTime<Utc>,
    mut seen: impl FnMut(u64),
) -> anyhow::Result<Observation> {
    let recent_from = uuid_v7_floor(now - LATE);
    let mut observation = Observation {
        facts: Facts::new(is_filtered(events).await?),
        events: 0,
        begun: now,
        recent: HashSet::new(),
    };
    let mut stream = scan(events, bson::doc! {}).await?;
    while let Some(recorded) = stream.try_next().await? {
        observation.events += 1;
        seen(observation.events);
        if recorded.id.as_uuid() >= recent_from {
            observation.recent.insert(recorded.id);
        }
        if !discarded.contains(&recorded.id) {
            observation
                .facts
                .apply(recorded.id, recorded.version, &decode(&recorded)?);
        }
    }
    Ok(observation)
}

/// Whether somebody has ever made a filter.
async fn is_filtered(events: &Database) -> Result<bool, Error> {
    let [first, last] = StreamId::filters();
    let filters = doc! { "stream": { "$gt": first.as_str(), "$lt": last.as_str() } };
    let found = events.collection::<RecordedEvent>(EVENTS).find_one(filters).await?;
    Ok(found.is_some())
}

impl Observation {
    /// What was changed by events that this pass did not find.
    pub(super) async fn touched_since(&self, events: &Database) -> anyhow::Result<HashSet<Dependency>> {
        let mut touched = HashSet::new();
        let from = EventId::from_uuid(uuid_v7_floor(self.begun - LATE));
        let mut stream = scan(events, doc! { "_id": { "$gte": from } }).await?;
        while let Some(recorded) = stream.try_next().await? {
            if !self.recent.contains(&recorded.id) {
                touched.insert(Dependency::Stream(recorded.stream.clone()));
                touch_more(&mut touched, &decode(&recorded)?);
            }
        }
        Ok(touched)
    }
}

/// What a post said from a point in time on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TextVersion {
    pub(super) version: i64,
    pub(super) said: Said,
    pub(super) at: DateTime<Utc>,
}

/// Every text of a post, the present one first. A deleted post has none.
pub(super) async fn texts_of(
    events: &Database,
    discarded: &HashSet<EventId>,
    post: PostId,
) -> anyhow::Result<Vec<TextVersion>> {
    let mut texts = Vec::new();
    let mut stream = events
        .collection::<RecordedEvent>(EVENTS)
        .find(doc! { "stream": StreamId::post(post).as_str() })
        .sort(doc! { "version": -1 })
        .await?;
    while let Some(recorded) = stream.try_next().await? {
        if discarded.contains(&recorded.id) {
            continue;
        }
        if let Event::PostCreated(post) | Event::PostEdited(post) | Event::PostDeleted(post) = decode(&recorded)?
            && let Some(content) = post.content
        {
            texts.push(TextVersion {
                version: recorded.version,
                said: Said::from(&content),
                at: post.edited_at.unwrap_or(post.created_at),
            });
        }
    }
    Ok(texts)
}

/// An unreadable event is an error, because its effect is unknown. If an operator discards it, it counts as if it had never happened.
fn decode(recorded: &RecordedEvent) -> anyhow::Result<Event> {
    let unreadable = || {
        format!(
            "the event {} of {}; see `microblog dead-letters`",
            recorded.id, recorded.stream
        )
    };
    recorded.event().with_context(unreadable)
}

async fn scan(
    events: &Database,
    filter: bson::Document,
) -> Result<impl Stream<Item = Result<RecordedEvent, Error>> + Unpin + use<>, Error> {
    events
        .collection::<RecordedEvent>(EVENTS)
        .find(filter)
        .sort(doc! { "_id": 1 })
        .batch_size(BATCH)
        .await
}

fn touch_more(touched: &mut HashSet<Dependency>, event: &Event) {
    match event.state() {
        State::Post(post) => {
            touched.insert(Dependency::UserCounts(post.author));
            touched.extend(post.in_reply_to.map(|parent| Dependency::PostCounts(parent.post)));
            touched.extend(post.quote_of.map(|quote| Dependency::PostCounts(quote.post)));
        }
        State::Follow(follow) => {
            touched.extend([follow.follower, follow.followee].map(Dependency::UserCounts));
        }
        State::Like(like) => {
            touched.insert(Dependency::PostCounts(like.post));
        }
        State::Repost(repost) => {
            touched.insert(Dependency::PostCounts(repost.post));
        }
        State::List(List { owner, .. })
        | State::ListMember(ListMember { owner, .. })
        | State::ListTag(ListTag { owner, .. }) => {
            touched.insert(Dependency::Lists(*owner));
        }
        State::Filter(filter) => {
            touched.insert(Dependency::Filters(filter.owner));
        }
        // They change nothing but what is in their own stream.
        _ => {}
    }
}
