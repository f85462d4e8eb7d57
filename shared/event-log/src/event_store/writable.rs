//! Which events may be written: those that every program can read.
//!
//! Programs of two versions run side by side during a rolling update. A query-svc that does not know a block would show what the block
//! hides. So one release learns to read, and its new events are written only after the store says that nobody is left who can't read them
//! ([`EventStore::allow`]). A program of the version before must not be started after that.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use bson::doc;
use model::events::FIRST_SCHEMA;
use mongodb::ClientSession;
use mongodb::error::Error;
use serde::Deserialize;

use super::{AppendError, EventStore, STORE};

/// The highest schema that may be written, as this process last read it. It only rises.
#[derive(Debug, Clone)]
pub(super) struct Allowed(Arc<AtomicI32>);

impl Default for Allowed {
    fn default() -> Self {
        Self(Arc::new(AtomicI32::new(FIRST_SCHEMA)))
    }
}

#[derive(Debug, Deserialize)]
struct StoreDocument {
    /// Stores that the first version made do not have it.
    #[serde(default = "first")]
    schema: i32,
}

fn first() -> i32 {
    FIRST_SCHEMA
}

impl EventStore {
    /// Says that every program that runs, and every program that will run, reads events up to this schema.
    pub async fn allow(&self, schema: i32) -> Result<(), Error> {
        let store = self.database.collection::<StoreDocument>(STORE);
        let rises = doc! { "$max": { "schema": schema } };
        store.update_one(doc! { "_id": STORE }, rises).await?;
        self.allowed.0.fetch_max(schema, Ordering::Relaxed);
        Ok(())
    }

    /// Whether events of this schema may be written.
    pub async fn allows(&self, session: &mut ClientSession, schema: i32) -> Result<bool, Error> {
        if schema <= self.allowed.0.load(Ordering::Relaxed) {
            return Ok(true);
        }
        let store = self.database.collection::<StoreDocument>(STORE);
        let document = store.find_one(doc! { "_id": STORE }).session(session).await?;
        let allowed = document.map_or(FIRST_SCHEMA, |document| document.schema);
        self.allowed.0.fetch_max(allowed, Ordering::Relaxed);
        Ok(schema <= allowed)
    }

    pub(super) async fn check_allowed(&self, session: &mut ClientSession, schema: i32) -> Result<(), AppendError> {
        match self.allows(session, schema).await? {
            true => Ok(()),
            false => Err(AppendError::TooNew),
        }
    }
}
