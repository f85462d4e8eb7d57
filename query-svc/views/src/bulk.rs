//! Sends several updates of one collection in one command.
//!
//! The `update` command accepts several updates in every version of MongoDB. The driver's `bulk_write` needs version 8.

use bson::{Bson, Document, doc};
use event_log::mongo::is_duplicate_key;
use mongodb::error::{CommandError, Error, ErrorKind, WriteConcernError, WriteFailure};
use mongodb::{ClientSession, Database};

/// The most updates in one command. This is well below the server's limits of 100,000 updates and 48 MB.
const COMMAND: usize = 1_000;
/// How often an upsert is tried if it conflicts with another upsert of the same `_id`.
const ATTEMPTS: usize = 5;

const DUPLICATE_KEY: i32 = 11_000;

/// One update of one document.
#[derive(Debug, Clone)]
pub(super) struct Update {
    filter: Document,
    update: Document,
    upsert: bool,
}

impl Update {
    /// Changes the document, or creates it from the filter and the update.
    pub(super) fn upsert(filter: Document, update: Document) -> Self {
        Self {
            filter,
            update,
            upsert: true,
        }
    }

    /// Changes the document if the filter still finds it.
    pub(super) fn existing(filter: Document, update: Document) -> Self {
        Self {
            filter,
            update,
            upsert: false,
        }
    }

    #[cfg(test)]
    pub(super) fn parts(&self) -> (&Document, &Document) {
        (&self.filter, &self.update)
    }

    #[cfg(test)]
    pub(super) fn makes_it(&self) -> bool {
        self.upsert
    }

    fn to_document(&self) -> Document {
        doc! { "q": &self.filter, "u": &self.update, "upsert": self.upsert, "multi": false }
    }
}

/// Inserts in a transaction. A duplicate key is a conflict: another transaction has made the row since this one looked for it.
pub(super) async fn insert_in(
    session: &mut ClientSession,
    database: &Database,
    collection: &str,
    documents: Vec<Document>,
) -> Result<(), WriteError> {
    if documents.is_empty() {
        return Ok(());
    }
    match database
        .collection::<Document>(collection)
        .insert_many(documents)
        .session(session)
        .await
    {
        Ok(_) => Ok(()),
        Err(error) if is_duplicate_key(&error) => Err(WriteError::Conflict),
        Err(error) => Err(error.into()),
    }
}

/// Writes in a transaction. A duplicate key is a conflict: another upsert of the same row came first.
pub(super) async fn write_in(
    session: &mut ClientSession,
    database: &Database,
    collection: &str,
    updates: &[Update],
) -> Result<(), WriteError> {
    for chunk in updates.chunks(COMMAND) {
        let updates: Vec<Bson> = chunk.iter().map(|update| update.to_document().into()).collect();
        let command = doc! { "update": collection, "updates": updates, "ordered": true };
        let reply = database.run_command(command).session(&mut *session).await?;
        if let Some(error) = Failed::all(&reply).into_iter().next() {
            return Err(if error.code == DUPLICATE_KEY {
                WriteError::Conflict
            } else {
                error.into()
            });
        }
    }
    Ok(())
}

/// Writes each update by itself, acknowledged by a majority. Returns how many documents existed and were changed.
pub(super) async fn write(database: &Database, collection: &str, updates: Vec<Update>) -> Result<u64, Error> {
    let mut open = updates;
    let mut modified = 0;
    for _ in 0..ATTEMPTS {
        let mut again = Vec::new();
        for chunk in open.chunks(COMMAND) {
            let updates: Vec<Bson> = chunk.iter().map(|update| update.to_document().into()).collect();
            let command = doc! {
                "update": collection,
                "updates": updates,
                "ordered": false,
                "writeConcern": { "w": "majority", "j": true },
            };
            let reply = database.run_command(command).await?;
            acknowledged(&reply)?;
            modified += reply
                .get_i32("nModified")
                .ok()
                .and_then(|count| u64::try_from(count).ok())
                .unwrap_or(0);
            for failed in Failed::all(&reply) {
                // Two upserts of one `_id` ran at the same time. The next attempt finds the other's document.
                match chunk.get(failed.index) {
                    Some(update) if failed.code == DUPLICATE_KEY => again.push(update.clone()),
                    _ => return Err(failed.into()),
                }
            }
        }
        if again.is_empty() {
            return Ok(modified);
        }
        open = again;
    }
    // The conflict is temporary, so the error has a kind that is retried without end.
    Err(std::io::Error::other(format!(
        "{} upserts of {collection} conflicted with others {ATTEMPTS} times",
        open.len()
    ))
    .into())
}

/// Removes rows in a transaction. One command names each `_id` by itself: in a clustered collection, a list of `_id`s would be one scan from
/// the lowest to the highest.
pub(super) async fn remove_in(
    session: &mut ClientSession,
    database: &Database,
    collection: &str,
    ids: &[Bson],
) -> Result<(), WriteError> {
    for chunk in ids.chunks(COMMAND) {
        let deletes: Vec<Bson> = chunk
            .iter()
            .map(|id| doc! { "q": { "_id": id }, "limit": 1 }.into())
            .collect();
        let command = doc! { "delete": collection, "deletes": deletes, "ordered": true };
        let reply = database.run_command(command).session(&mut *session).await?;
        if let Some(error) = Failed::all(&reply).into_iter().next() {
            return Err(error.into());
        }
    }
    Ok(())
}

#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    /// Another transaction came first. The caller must read and decide again.
    #[error("another transaction made the same row")]
    Conflict,
    #[error(transparent)]
    Database(#[from] Error),
}

/// An update that the server refused, although the command succeeded.
#[derive(Debug)]
struct Failed {
    index: usize,
    code: i32,
    error: Document,
}

impl Failed {
    fn all(reply: &Document) -> Vec<Failed> {
        let Ok(errors) = reply.get_array("writeErrors") else {
            return Vec::new();
        };
        errors
            .iter()
            .filter_map(Bson::as_document)
            .map(|error| Failed {
                index: error
                    .get_i32("index")
                    .ok()
                    .and_then(|index| usize::try_from(index).ok())
                    .unwrap_or(usize::MAX),
                code: error.get_i32("code").unwrap_or(0),
                error: error.clone(),
            })
            .collect()
    }
}

/// The same error as if the command had failed, because callers decide by its code whether to retry.
impl From<Failed> for Error {
    fn from(failed: Failed) -> Error {
        match bson::deserialize_from_document::<CommandError>(failed.error) {
            Ok(error) => ErrorKind::Command(error).into(),
            Err(error) => error.into(),
        }
    }
}

impl From<Failed> for WriteError {
    fn from(failed: Failed) -> Self {
        WriteError::Database(failed.into())
    }
}

/// Fails if no majority has acknowledged the writes, because they may be rolled back then.
fn acknowledged(reply: &Document) -> Result<(), Error> {
    match reply.get_document("writeConcernError") {
        Ok(error) => {
            let error = bson::deserialize_from_document::<WriteConcernError>(error.clone())?;
            Err(ErrorKind::Write(WriteFailure::WriteConcernError(error)).into())
        }
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use event_log::mongo::is_transient;

    use super::*;

    #[test]
    fn a_refused_update_tells_whether_time_may_help() {
        let reply = |code: i32| doc! { "ok": 1, "n": 0, "writeErrors": [{ "index": 0, "code": code, "errmsg": "no" }] };
        let error = |code| Error::from(Failed::all(&reply(code)).remove(0));
        // The primary stepped down during a command. A document failed its validation.
        assert!(is_transient(&error(10_107)));
        assert!(!is_transient(&error(121)));
        assert!(Failed::all(&doc! { "ok": 1, "n": 1, "nModified": 1 }).is_empty());
    }

    #[test]
    fn what_no_majority_has_acknowledged_is_tried_again() {
        let reply =
            doc! { "ok": 1, "writeConcernError": { "code": 64, "codeName": "WriteConcernFailed", "errmsg": "late" } };
        assert!(is_transient(&acknowledged(&reply).unwrap_err()));
        assert!(acknowledged(&doc! { "ok": 1 }).is_ok());
    }
}
