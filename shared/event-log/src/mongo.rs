//! Connecting to MongoDB, and telling its errors apart.

mod connection_monitor;
mod refusal;
mod settings;
mod uri;

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use mongodb::error::{Error, ErrorKind, WriteFailure};
use mongodb::options::{Acknowledgment, ClientOptions, ReadConcern, ReadPreference, SelectionCriteria, WriteConcern};
use mongodb::{Client, Database};

pub use self::connection_monitor::{ConnectionMonitor, ConnectionWatch};
pub use self::refusal::{Refusals, is_misconfigured, refused};
pub use self::settings::MongoDb;
pub use self::uri::MongoUri;

/// The databases of the product. By default both are on one deployment, behind one client.
#[derive(Debug, Clone)]
pub struct Databases {
    /// The event store: events, marks, reserved names, credentials, sessions.
    pub events: Database,
    /// Everything derived: views, leases, checkpoints, dead letters.
    pub views: Database,
    /// Monitors the connections to both.
    pub connections: ConnectionMonitor,
}

impl Databases {
    /// With existing clients, whose connections are not monitored.
    pub fn of(events: Database, views: Database) -> Self {
        Self {
            events,
            views,
            connections: ConnectionMonitor::default(),
        }
    }

    /// Makes the clients. No request is sent yet.
    pub async fn connect(config: &MongoDb, application: &str) -> Result<Self, Error> {
        let connections = ConnectionMonitor::default();
        let events = client(config.uri.expose(), config, application, &connections).await?;
        let views = if config.views_uri().expose() == config.uri.expose() {
            events.clone()
        } else {
            client(config.views_uri().expose(), config, application, &connections).await?
        };
        Ok(Self {
            events: events.database(&config.events_database),
            views: views.database(&config.views_database),
            connections,
        })
    }

    /// Whether both answer, within `timeout`.
    pub async fn ping(&self, timeout: Duration) -> Result<(), String> {
        for database in [&self.events, &self.views] {
            let ping = database.run_command(bson::doc! { "ping": 1 });
            match tokio::time::timeout(timeout, async { ping.await }).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(format!("database '{}': {error}", database.name())),
                Err(_) => {
                    return Err(format!(
                        "database '{}' did not answer within {timeout:?}",
                        database.name()
                    ));
                }
            }
        }
        Ok(())
    }

    /// Ends the background tasks of the clients.
    pub async fn close(self) {
        self.events.client().clone().shutdown().await;
        self.views.client().clone().shutdown().await;
    }
}

async fn client(
    uri: &str,
    config: &MongoDb,
    application: &str,
    connections: &ConnectionMonitor,
) -> Result<Client, Error> {
    let mut options = ClientOptions::parse(uri).await?;
    options.app_name.get_or_insert_with(|| application.to_owned());
    options.max_pool_size = options.max_pool_size.or(Some(config.max_pool_size));
    options.server_selection_timeout = options
        .server_selection_timeout
        .or(Some(config.server_selection_timeout));
    options.connect_timeout = options.connect_timeout.or(Some(config.connect_timeout));
    options.cmap_event_handler = Some(connections.handler());
    // An acknowledged write can't be rolled back, and what is read was committed by a majority.
    options.write_concern = Some(majority());
    options.read_concern = Some(ReadConcern::majority());
    options.selection_criteria = Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
    Client::with_options(options)
}

/// A write is acknowledged when a majority has it in the journal.
pub fn majority() -> WriteConcern {
    WriteConcern::builder()
        .w(Acknowledgment::Majority)
        .journal(true)
        .build()
}

/// Whether a unique index refused the write.
pub fn is_duplicate_key(error: &Error) -> bool {
    match error.kind.as_ref() {
        ErrorKind::Write(WriteFailure::WriteError(write)) => write.code == 11000,
        ErrorKind::Command(command) => command.code == 11000,
        ErrorKind::InsertMany(insert) => {
            insert
                .write_errors
                .as_ref()
                .is_some_and(|errors| errors.iter().all(|e| e.code == 11000))
                && insert.write_concern_error.is_none()
        }
        _ => false,
    }
}

/// Whether another try may help: any error but those that would come again each time. Whether a write happened is then unknown.
///
/// The permanent errors are listed here. All others are transient: an unexpected error (a server that runs out of disk, a changed
/// password, a limit of a hosted cluster) says nothing about the request.
pub fn is_transient(error: &Error) -> bool {
    error.contains_label("TransientTransactionError")
        || error.contains_label("RetryableWriteError")
        || error.contains_label("UnknownTransactionCommitResult")
        || !is_permanent(error)
}

/// Retries a question or a change that fails for a moment and may be repeated. Both may conflict with a transaction. (On MongoDB, a read
/// never conflicts. On other servers of its protocol it may.)
pub async fn retried<T, F: Future<Output = Result<T, Error>>>(attempt: impl FnMut() -> F) -> Result<T, Error> {
    attempt
        .retry(
            ExponentialBuilder::default()
                .with_min_delay(Duration::from_millis(50))
                // About a second and a half in total.
                .with_max_times(5)
                .with_jitter(),
        )
        .when(is_transient)
        .notify(|error, _| tracing::warn!(%error, "a question to the database, or a change, failed; trying again"))
        .await
}

/// Whether a transaction met another write of the same document, which came first. Nothing was committed.
pub fn is_write_conflict(error: &Error) -> bool {
    const LOCK_TIMEOUT: i32 = 24;
    const WRITE_CONFLICT: i32 = 112;
    matches!(error.kind.as_ref(), ErrorKind::Command(command) if matches!(command.code, WRITE_CONFLICT | LOCK_TIMEOUT))
}

/// Whether the request, or the document that was found, is at fault.
fn is_permanent(error: &Error) -> bool {
    match error.kind.as_ref() {
        // The driver makes no `Custom` errors: these are ours, about what can't be understood.
        ErrorKind::InvalidArgument { .. }
        | ErrorKind::BsonDeserialization(_)
        | ErrorKind::BsonSerialization(_)
        | ErrorKind::Bson(_)
        | ErrorKind::Custom(_) => true,
        ErrorKind::Command(command) => is_permanent_code(command.code),
        ErrorKind::Write(WriteFailure::WriteError(write)) => is_permanent_code(write.code),
        // If all errors are permanent. Otherwise some documents may be written by the next try.
        ErrorKind::InsertMany(insert) => {
            insert.write_concern_error.is_none()
                && insert
                    .write_errors
                    .as_ref()
                    .is_some_and(|errors| errors.iter().all(|write| is_permanent_code(write.code)))
        }
        _ => false,
    }
}

/// Whether the server refuses the statement or the document itself (`error_codes.yml` of its sources).
fn is_permanent_code(code: i32) -> bool {
    matches!(
        code,
        // BadValue, FailedToParse, TypeMismatch, Overflow, InvalidLength, InvalidBSON, and invalid paths and names.
        2 | 9 | 14 | 15 | 16 | 22 | 28 | 40 | 52 | 53 | 54 | 55 | 56 | 57
            // ImmutableField, DocumentValidationFailure.
            | 66 | 121
            // BSONObjectTooLarge, and a document that an update makes too large.
            | 10_334 | 17_419 | 17_420
            // TransactionTooLarge, TransactionTooLargeForCache: a smaller one may fit.
            | 257 | 388
            // DuplicateKey, where it is not expected.
            | 11_000
    )
}

#[cfg(test)]
mod tests {
    use bson::doc;
    use mongodb::error::CommandError;

    use super::*;

    fn command(code: i32) -> Error {
        let error = doc! { "code": code, "codeName": "", "errmsg": "no" };
        ErrorKind::Command(bson::deserialize_from_document::<CommandError>(error).unwrap()).into()
    }

    /// Out of disk, a changed password, too many requests (Cosmos DB), a view that is being moved, and an unknown code.
    #[test]
    fn an_unexpected_error_is_transient() {
        for code in [14_031, 18, 13, 8_000, 16_500, 133, 46, 372, 999_999] {
            assert!(is_transient(&command(code)), "{code}");
        }
        let io = std::io::Error::other("cut");
        assert!(is_transient(&Error::from(io)));
    }

    #[test]
    fn a_refused_statement_is_permanent() {
        for code in [2, 14, 121, 10_334, 17_419, 257, 388, 11_000] {
            assert!(!is_transient(&command(code)), "{code}");
        }
        assert!(!is_transient(&Error::custom("can't be understood")));
        let unreadable = bson::deserialize_from_document::<CommandError>(doc! {}).unwrap_err();
        assert!(!is_transient(&unreadable.into()));
    }
}
