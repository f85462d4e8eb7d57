//! How many accounts somebody follows, from the streams alone.

use std::time::Duration;

use bson::doc;
use futures_util::TryStreamExt;
use mongodb::ClientSession;
use mongodb::error::Error;

use super::EventStore;
use model::events::StreamId;
use model::ids::UserId;

/// How long the server may count. A command gives up after seconds; the server would go on without a limit.
const COUNTED_FOR: Duration = Duration::from_secs(2);

impl EventStore {
    /// Whether a user follows fewer than `max` accounts, as the session sees it.
    ///
    /// Both questions are answered from the index of streams and versions. Nearly everybody has fewer events than that, and is
    /// let through by the first, which counts no further. In a stream, follow and unfollow alternate from version 1 on. So of whoever
    /// has more, those are followed whose stream ends in an odd version.
    ///
    /// The second question costs one step in the index for each account that was ever followed, however often: the server goes from
    /// the end of a stream to the end of the next (`DISTINCT_SCAN`). It ends at `max` accounts, and fails after [`COUNTED_FOR`].
    pub async fn follows_fewer_than(
        &self,
        session: &mut ClientSession,
        follower: UserId,
        max: u32,
    ) -> Result<bool, Error> {
        let [first, last] = StreamId::follows_of(follower);
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
            // Sorted and grouped in this way and no other, the streams are gone through by their last events alone.
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
