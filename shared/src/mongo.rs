//! Connecting to MongoDB, and how our types are stored there.

mod losses;
mod refusal;

use std::time::Duration;

use mongodb::error::{Error, ErrorKind, WriteFailure};
use mongodb::options::{Acknowledgment, ClientOptions, ReadConcern, ReadPreference, SelectionCriteria, WriteConcern};
use mongodb::{Client, Database};

pub use self::losses::{Lookout, Losses};
pub use self::refusal::{Refusals, is_misconfigured};
use crate::config::MongoDb;

/// The databases of the product. By default both are on one deployment, behind one client.
#[derive(Debug, Clone)]
pub struct Databases {
    /// The event store: events, marks, claims, credentials, sessions.
    pub events: Database,
    /// Everything derived: views, leases, checkpoints, dead letters.
    pub views: Database,
    /// Of the connections to both.
    pub losses: Losses,
}

impl Databases {
    /// Of clients that are there already, whose losses nobody tells.
    pub fn of(events: Database, views: Database) -> Self {
        Self {
            events,
            views,
            losses: Losses::default(),
        }
    }

    /// Makes the clients. Nothing is asked of the server yet.
    pub async fn connect(config: &MongoDb, application: &str) -> Result<Self, Error> {
        let losses = Losses::default();
        let events = client(config.uri.expose(), config, application, &losses).await?;
        let views = if config.views_uri().expose() == config.uri.expose() {
            events.clone()
        } else {
            client(config.views_uri().expose(), config, application, &losses).await?
        };
        Ok(Self {
            events: events.database(&config.events_database),
            views: views.database(&config.views_database),
            losses,
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

async fn client(uri: &str, config: &MongoDb, application: &str, losses: &Losses) -> Result<Client, Error> {
    let mut options = ClientOptions::parse(uri).await?;
    options.app_name.get_or_insert_with(|| application.to_owned());
    options.max_pool_size = options.max_pool_size.or(Some(config.max_pool_size));
    options.server_selection_timeout = options
        .server_selection_timeout
        .or(Some(config.server_selection_timeout));
    options.connect_timeout = options.connect_timeout.or(Some(config.connect_timeout));
    options.cmap_event_handler = Some(losses.handler());
    // What was answered can't be rolled back, and what is read was committed by a majority.
    options.write_concern = Some(majority());
    options.read_concern = Some(ReadConcern::majority());
    options.selection_criteria = Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
    Client::with_options(options)
}

/// Acknowledged when a majority has it in the journal.
pub fn majority() -> WriteConcern {
    WriteConcern::builder()
        .w(Acknowledgment::Majority)
        .journal(true)
        .build()
}

/// A write met a unique index.
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

/// The database or the way to it failed: whether the write happened is unknown, and trying again may help.
pub fn is_transient(error: &Error) -> bool {
    error.contains_label("TransientTransactionError")
        || error.contains_label("RetryableWriteError")
        || error.contains_label("UnknownTransactionCommitResult")
        || match error.kind.as_ref() {
            ErrorKind::Io(_)
            | ErrorKind::ConnectionPoolCleared { .. }
            | ErrorKind::ServerSelection { .. }
            | ErrorKind::DnsResolve { .. }
            | ErrorKind::Shutdown
            | ErrorKind::Write(WriteFailure::WriteConcernError(_)) => true,
            ErrorKind::Command(command) => is_transient_code(command.code),
            ErrorKind::Write(WriteFailure::WriteError(write)) => is_transient_code(write.code),
            // Written, but not acknowledged by a majority, or interrupted in the middle.
            ErrorKind::InsertMany(insert) => {
                insert.write_concern_error.is_some()
                    || insert
                        .write_errors
                        .iter()
                        .flatten()
                        .any(|write| is_transient_code(write.code))
            }
            _ => false,
        }
}

/// Not primary, shutting down, network time-outs, write conflicts, interrupted, a cursor that went with its server.
fn is_transient_code(code: i32) -> bool {
    matches!(
        code,
        6 | 7
            | 24
            | 43
            | 50
            | 89
            | 91
            | 112
            | 134
            | 189
            | 202
            | 251
            | 262
            | 9001
            | 10107
            | 11600
            | 11602
            | 13435
            | 13436
    )
}

/// A time as a BSON date; a plain chrono field would be stored as text.
pub mod datetime {
    use chrono::{DateTime, Utc};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
        bson::DateTime::from_chrono(*time).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DateTime<Utc>, D::Error> {
        bson::DateTime::deserialize(deserializer).map(bson::DateTime::to_chrono)
    }
}

/// An optional time as a BSON date or null.
pub mod optional_datetime {
    use chrono::{DateTime, Utc};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(time: &Option<DateTime<Utc>>, serializer: S) -> Result<S::Ok, S::Error> {
        time.map(bson::DateTime::from_chrono).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<DateTime<Utc>>, D::Error> {
        Ok(Option::<bson::DateTime>::deserialize(deserializer)?.map(bson::DateTime::to_chrono))
    }
}
