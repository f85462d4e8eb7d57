//! How many accounts and tags a user follows, how many lists a user has and how much is in them, how many filters, and who has asked to follow, from the
//! streams alone.

use std::collections::HashSet;
use std::time::Duration;

use bson::{Document, doc};
use futures_util::TryStreamExt;
use mongodb::ClientSession;
use mongodb::error::Error;
use serde::Deserialize;

use super::{EventStore, FILTER_CREATED, LIST_CREATED, REQUESTED, RecordedEvent};
use model::events::StreamId;
use model::ids::{EventId, ListId, UserId};

/// How long the server may count. A command gives up after seconds, but the server would go on without this limit.
const COUNTED_FOR: Duration = Duration::from_secs(2);

/// A part of the requests to follow that somebody has made or received.
#[derive(Debug)]
pub struct RequestPage {
    /// The events of those that wait for an answer.
    pub waiting: Vec<RecordedEvent>,
    /// The last request of the page, whether it waits or not: where the next page begins. `None` at the end.
    pub last: Option<(EventId, StreamId)>,
}

impl EventStore {
    /// Whether a user follows fewer than `max` accounts, as the session sees it. An account that was asked counts too: it may accept.
    pub async fn follows_fewer_than(
        &self,
        session: &mut ClientSession,
        follower: UserId,
        max: u32,
    ) -> Result<bool, Error> {
        self.active_fewer_than(session, StreamId::follows_of(follower), max)
            .await
    }

    /// Whether a user follows fewer than `max` tags, as the session sees it.
    pub async fn follows_fewer_tags_than(
        &self,
        session: &mut ClientSession,
        user: UserId,
        max: u32,
    ) -> Result<bool, Error> {
        self.active_fewer_than(session, StreamId::tags_of(user), max).await
    }

    /// Whether a list has fewer than `max` members, as the session sees it.
    pub async fn members_fewer_than(&self, session: &mut ClientSession, list: ListId, max: u32) -> Result<bool, Error> {
        self.active_fewer_than(session, StreamId::members_of(list), max).await
    }

    /// Whether a list has fewer than `max` tags, as the session sees it.
    pub async fn list_tags_fewer_than(
        &self,
        session: &mut ClientSession,
        list: ListId,
        max: u32,
    ) -> Result<bool, Error> {
        self.active_fewer_than(session, StreamId::tags_of_list(list), max).await
    }

    /// Whether a user has fewer than `max` lists that are not deleted, as the session sees it.
    pub async fn lists_fewer_than(&self, session: &mut ClientSession, owner: UserId, max: u32) -> Result<bool, Error> {
        self.kept_fewer_than(session, LIST_CREATED, "data.title", owner, max)
            .await
    }

    /// Whether a user has fewer than `max` filters that are not deleted, as the session sees it.
    pub async fn has_fewer_filters_than(
        &self,
        session: &mut ClientSession,
        owner: UserId,
        max: u32,
    ) -> Result<bool, Error> {
        self.kept_fewer_than(session, FILTER_CREATED, "data.content", owner, max)
            .await
    }

    /// Whether an owner has made fewer than `max` things that are not deleted. A deletion takes `text` out of the event that created one, and
    /// so the event out of the index that answers this.
    async fn kept_fewer_than(
        &self,
        session: &mut ClientSession,
        created: &str,
        text: &str,
        owner: UserId,
        max: u32,
    ) -> Result<bool, Error> {
        let kept = doc! { "type": created, "data.owner": owner, text: { "$exists": true } };
        let kept = self.events.count_documents(kept).limit(max.into());
        Ok(kept.session(session).await? < max.into())
    }

    /// Whether fewer than `max` streams between two names are active.
    ///
    /// Two queries answer this. The first counts the user's events up to `max`, from the index of streams and versions. Nearly every user
    /// has fewer, and needs no second query. The second counts the streams whose last event says that something is
    /// active, or is a request.
    ///
    /// It costs one step in the index, and one event, for each stream, however long it is: the server goes from the end of a stream to the
    /// end of the next (`DISTINCT_SCAN`). It ends at `max` streams, and fails after [`COUNTED_FOR`].
    async fn active_fewer_than(
        &self,
        session: &mut ClientSession,
        [first, last]: [StreamId; 2],
        max: u32,
    ) -> Result<bool, Error> {
        let streams = doc! { "stream": { "$gt": first.as_str(), "$lt": last.as_str() } };
        let events = self
            .events
            .count_documents(streams.clone())
            .limit(max.into())
            .session(&mut *session)
            .await?;
        if events < max.into() {
            return Ok(true);
        }
        let pipeline = [
            doc! { "$match": streams },
            // Only with this order and this group does the server read just the last event of each stream.
            doc! { "$sort": { "stream": -1, "version": -1 } },
            doc! { "$group": {
                "_id": "$stream",
                "active": { "$first": "$data.active" },
                "requested": { "$first": "$data.requested" },
            } },
            doc! { "$match": { "$or": [{ "active": true }, { "requested": true }] } },
            doc! { "$skip": i64::from(max.saturating_sub(1)) },
            doc! { "$limit": 1 },
        ];
        let counting = self.events.aggregate(pipeline).max_time(COUNTED_FOR);
        let mut found = counting.session(&mut *session).await?;
        Ok(found.stream(session).try_next().await?.is_none())
    }

    /// One page of the requests to follow a user, in the order of their ids, from the first one after `after` on. All that were acknowledged
    /// before this call are there.
    pub async fn requests_to(
        &self,
        followee: UserId,
        after: Option<EventId>,
        limit: u32,
    ) -> Result<RequestPage, Error> {
        let mut filter = doc! { "type": REQUESTED, "data.followee": followee };
        if let Some(after) = after {
            filter.insert("_id", doc! { "$gt": after });
        }
        self.requests(followee, filter, doc! { "_id": 1 }, limit).await
    }

    /// One page of a user's requests to follow others, in the order of their streams, from the first stream after `after` on. All that were
    /// acknowledged before this call are there.
    pub async fn requests_by(
        &self,
        follower: UserId,
        after: Option<&StreamId>,
        limit: u32,
    ) -> Result<RequestPage, Error> {
        let [first, last] = StreamId::follows_of(follower);
        let streams = doc! { "$gt": after.unwrap_or(&first).as_str(), "$lt": last.as_str() };
        let filter = doc! { "stream": streams, "type": REQUESTED };
        // The last request of each stream comes first, so that a page that ends within a stream has the one that may wait.
        let order = doc! { "stream": 1, "version": -1 };
        self.requests(follower, filter, order, limit).await
    }

    /// A mark comes first: a primary that was just elected may not show yet what the former one has acknowledged.
    async fn requests(&self, of: UserId, filter: Document, order: Document, limit: u32) -> Result<RequestPage, Error> {
        let mut session = self.session().await?;
        self.mark_in(&mut session, Some(of.partition()), false).await?;
        let found = self.events.find(filter).sort(order).limit(limit.into());
        let mut found = found.session(&mut session).await?;
        let found: Vec<RecordedEvent> = found.stream(&mut session).try_collect().await?;
        let last = found.last().map(|request| (request.id, request.stream.clone()));
        Ok(RequestPage {
            waiting: self.last_of_their_streams(&mut session, found).await?,
            last,
        })
    }

    /// The events among these that nothing follows. It costs one step in the index of streams and versions for each.
    async fn last_of_their_streams(
        &self,
        session: &mut ClientSession,
        mut events: Vec<RecordedEvent>,
    ) -> Result<Vec<RecordedEvent>, Error> {
        #[derive(Deserialize)]
        struct Follower {
            stream: StreamId,
            version: i64,
        }
        if events.is_empty() {
            return Ok(events);
        }
        let next: Vec<Document> = events
            .iter()
            .map(|event| doc! { "stream": event.stream.as_str(), "version": event.version + 1 })
            .collect();
        let keys = self.events.clone_with_type::<Follower>();
        let found = keys.find(doc! { "$or": next });
        let found = found.projection(doc! { "_id": 0, "stream": 1, "version": 1 });
        let mut found = found.session(&mut *session).await?;
        let followed: HashSet<(StreamId, i64)> = found
            .stream(session)
            .map_ok(|after| (after.stream, after.version - 1))
            .try_collect()
            .await?;
        events.retain(|event| !followed.contains(&(event.stream.clone(), event.version)));
        Ok(events)
    }
}
