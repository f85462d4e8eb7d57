//! Reading events in the order of their ids.

use bson::doc;
use mongodb::error::Error;
use mongodb::{ClientSession, SessionCursor};

use super::{EventStore, RecordedEvent};
use crate::ids::{EventId, Partition};
use crate::position::Position;

/// Events on their way out of the store.
#[derive(Debug)]
pub struct EventScan {
    cursor: SessionCursor<RecordedEvent>,
    session: ClientSession,
}

impl EventStore {
    /// The events of these partitions, and of these types if any are named, in the order of their ids: all that were
    /// committed up to `horizon`, and perhaps later ones.
    pub async fn scan(
        &self,
        partitions: &[Partition],
        types: Option<&[&str]>,
        from: EventId,
        horizon: Position,
    ) -> Result<EventScan, Error> {
        let mut filter = doc! { "_id": { "$gte": from } };
        if partitions.len() < Partition::all().count() {
            filter.insert("partition", doc! { "$in": partitions.to_vec() });
        }
        if let Some(types) = types {
            filter.insert("type", doc! { "$in": types });
        }
        let mut session = self.session().await?;
        session.advance_operation_time(horizon.to_timestamp());
        let cursor = self
            .events
            .find(filter)
            .sort(doc! { "_id": 1 })
            .batch_size(1_000)
            .session(&mut session)
            .await?;
        Ok(EventScan { cursor, session })
    }
}

impl EventScan {
    /// The next event; none at the end.
    ///
    /// A document that is no event, which no program of ours writes, is left out, as subscriptions leave it out.
    pub async fn next(&mut self) -> Result<Option<RecordedEvent>, Error> {
        while self.cursor.advance(&mut self.session).await? {
            match self.cursor.deserialize_current() {
                Ok(event) => return Ok(Some(event)),
                Err(error) => {
                    let id = self
                        .cursor
                        .current()
                        .get("_id")
                        .ok()
                        .flatten()
                        .map(|id| format!("{id:?}"));
                    tracing::error!(id, %error, "the event store holds a document that is no event");
                }
            }
        }
        Ok(None)
    }
}
