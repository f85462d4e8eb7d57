//! The section `mongodb` of the configuration.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::uri::MongoUri;

/// Where the events and the views are.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MongoDb {
    pub uri: MongoUri,
    /// Where the views are. By default they are where the events are.
    #[serde(default)]
    pub views_uri: Option<MongoUri>,
    #[serde(default = "events_database")]
    pub events_database: String,
    #[serde(default = "views_database")]
    pub views_database: String,
    /// The most connections, for each of the two.
    #[serde(default = "max_pool_size")]
    pub max_pool_size: u32,
    /// How long an operation looks for a server before it fails.
    #[serde(default = "two_seconds", with = "humantime_serde")]
    pub server_selection_timeout: Duration,
    #[serde(default = "two_seconds", with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// How long one request to the database may take. It must be less than the 5 s in which a command is answered.
    #[serde(default = "operation_timeout", with = "humantime_serde")]
    pub operation_timeout: Duration,
    /// A starting program ends when its user or password has been refused for so long. A running one does not.
    #[serde(default = "refused_for", with = "humantime_serde")]
    pub refused_for: Duration,
}

impl MongoDb {
    /// The defaults, for one database.
    pub fn at(uri: MongoUri) -> Self {
        Self {
            uri,
            views_uri: None,
            events_database: events_database(),
            views_database: views_database(),
            max_pool_size: max_pool_size(),
            server_selection_timeout: two_seconds(),
            connect_timeout: two_seconds(),
            operation_timeout: operation_timeout(),
            refused_for: refused_for(),
        }
    }

    pub fn views_uri(&self) -> &MongoUri {
        self.views_uri.as_ref().unwrap_or(&self.uri)
    }
}

fn events_database() -> String {
    "microblog_events".to_owned()
}

fn views_database() -> String {
    "microblog_views".to_owned()
}

fn max_pool_size() -> u32 {
    64
}

fn two_seconds() -> Duration {
    Duration::from_secs(2)
}

fn operation_timeout() -> Duration {
    Duration::from_secs(4)
}

fn refused_for() -> Duration {
    Duration::from_secs(30)
}
