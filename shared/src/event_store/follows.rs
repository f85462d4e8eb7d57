//! How many accounts somebody follows, from the streams alone.

use bson::{Document, doc};
use futures_util::TryStreamExt;
use mongodb::ClientSession;
use mongodb::error::Error;

use super::EventStore;
use crate::events::StreamId;
use crate::ids::UserId;

impl EventStore {
    /// Whether a user follows fewer than `max` accounts, as the session sees it.
    ///
    /// Both questions are answered from the index of streams and versions. Nearly everybody has fewer events than that, and is
    /// let through by the first, which counts no further. In a stream, follow and unfollow alternate from version 1 on. So of whoever
    /// has more, those are followed whose stream ends in an odd version: the odd ones less the even ones.
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
        let odd_less_even = doc! { "$subtract": [{ "$multiply": [{ "$mod": ["$version", 2_i64] }, 2_i64] }, 1_i64] };
        let pipeline = [
            doc! { "$match": streams },
            doc! { "$group": { "_id": null, "following": { "$sum": odd_less_even } } },
        ];
        let mut found = self.events.aggregate(pipeline).session(&mut *session).await?;
        let counted: Option<Document> = found.stream(session).try_next().await?;
        let following = counted.map_or(Ok(0), |counted| counted.get_i64("following").map_err(Error::custom))?;
        Ok(following < i64::from(max))
    }
}
