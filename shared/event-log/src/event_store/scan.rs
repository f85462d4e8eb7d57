//! Reading events in the order of their ids.

use bson::doc;
use mongodb::error::Error;
use mongodb::{ClientSession, SessionCursor};

use super::{EventStore, RecordedEvent, Unreadable};
use crate::position::Position;
use model::ids::{EventId, Partition};

/// A scan under way.
#[derive(Debug)]
pub struct EventScan {
    cursor: SessionCursor<RecordedEvent>,
    session: ClientSession,
}

impl EventStore {
    /// The events of these partitions, except those of the types `left_out`, in the order of their ids: all that were committed up to
    /// `horizon`, and perhaps later ones. A document without a partition belongs to each.
    pub async fn scan(
        &self,
        partitions: &[Partition],
        left_out: &[&str],
        from: EventId,
        horizon: Position,
    ) -> Result<EventScan, Error> {
        let mut filter = doc! { "_id": { "$gte": from } };
        let others: Vec<Partition> = Partition::all().filter(|it| !partitions.contains(it)).collect();
        if !others.is_empty() {
            filter.insert("partition", doc! { "$nin": others });
        }
        if !left_out.is_empty() {
            filter.insert("type", doc! { "$nin": left_out });
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
    /// The next event or unreadable document. None: the end.
    pub async fn next(&mut self) -> Result<Option<Result<RecordedEvent, Unreadable>>, Error> {
        if self.cursor.advance(&mut self.session).await? {
            Ok(Some(RecordedEvent::read(self.cursor.current())))
        } else {
            Ok(None)
        }
    }
}
