//! Rows on which no count elsewhere depends. Each is written by itself, outside the transactions of [`super::rows`].

use bson::{Binary, Document, doc};
use event_log::subscription::Delivery;
use mongodb::Database;
use mongodb::error::Error;

use super::bulk::{self, Update};

/// The rows that a batch of events writes to one collection.
#[derive(Debug, Default)]
pub(super) struct GuardedRows {
    stubs: Vec<Update>,
    updates: Vec<Update>,
}

impl GuardedRows {
    /// Adds the row of an event. The first write makes a stub if the row is missing. The second write has the guard: it does not find a row
    /// that is newer than its event.
    pub(super) fn add(&mut self, id: Binary, delivery: &Delivery, live: bool, mut row: Document) {
        let version = delivery.version();
        row.extend(doc! { "version": version, "live": live, "order": delivery.recorded.id });
        let stub = doc! { "$setOnInsert": { "version": 0_i64, "live": false } };
        self.stubs.push(Update::upsert(doc! { "_id": id.clone() }, stub));
        let mut update = doc! {};
        match delivery.position {
            Some(position) => drop(row.insert("position", position)),
            None => drop(update.insert("$unset", doc! { "position": "" })),
        }
        update.insert("$set", row);
        let older = doc! { "_id": id, "version": { "$lt": version } };
        self.updates.push(Update::existing(older, update));
    }

    pub(super) async fn write(self, database: &Database, collection: &str) -> Result<(), Error> {
        if !self.updates.is_empty() {
            bulk::write(database, collection, self.stubs).await?;
            bulk::write(database, collection, self.updates).await?;
        }
        Ok(())
    }
}
