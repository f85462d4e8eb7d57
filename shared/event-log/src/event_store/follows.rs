//! How many accounts and tags a user follows, from the streams alone.

use std::time::Duration;

use bson::doc;
use futures_util::TryStreamExt;
use mongodb::ClientSession;
use mongodb::error::Error;

use super::EventStore;
use model::events::StreamId;
use model::ids::UserId;

/// How long the server may count. A command gives up after seconds, but the server would go on without this limit.
const COUNTED_FOR: Duration = Duration::from_secs(2);

impl EventStore {
    /// Whether a user follows fewer than `max` accounts, as the session sees it.
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

    /// Whether fewer than `max` streams between two names are active.
    ///
    /// Two queries answer this, both from the index of streams and versions. The first counts the user's events up to `max`. Nearly every
    /// user has fewer, and needs no second query. In a stream, follow and unfollow alternate from version 1 on. So the second query counts
    /// the streams that end in an odd version.
    ///
    /// It costs one step in the index for each stream, however long it is: the server goes from the end of a stream to the end of the next
    /// (`DISTINCT_SCAN`). It ends at `max` streams, and fails after [`COUNTED_FOR`].
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
            doc! { "$group": { "_id": "$stream", "version": { "$first": "$version" } } },
            doc! { "$match": { "version": { "$mod": [2, 1] } } },
            doc! { "$skip": i64::from(max.saturating_sub(1)) },
            doc! { "$limit": 1 },
        ];
        let counting = self.events.aggregate(pipeline).max_time(COUNTED_FOR);
        let mut found = counting.session(&mut *session).await?;
        Ok(found.stream(session).try_next().await?.is_none())
    }
}
