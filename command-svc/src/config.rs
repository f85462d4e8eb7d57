//! The configuration of command-svc.

use commands::CommandSettings;
use serde::{Deserialize, Serialize};
use service::config;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Config {
    pub mongodb: event_log::mongo::MongoDb,
    #[serde(default)]
    pub auth: config::Auth,
    #[serde(default)]
    pub http: config::Http,
    #[serde(default)]
    pub cors: config::Cors,
    #[serde(default)]
    pub rate_limit: config::RateLimit,
    #[serde(default)]
    pub clock: event_log::clock_guard::ClockSkew,
    #[serde(default)]
    pub shutdown: config::Shutdown,
    #[serde(default)]
    pub telemetry: config::Telemetry,
    #[serde(default)]
    pub command: CommandSettings,
    #[serde(default)]
    pub follows: config::Follows,
    #[serde(default)]
    pub lists: config::Lists,
}

impl Config {
    /// The defaults for a database at this URI.
    pub fn at(uri: event_log::mongo::MongoUri) -> Self {
        Self {
            mongodb: event_log::mongo::MongoDb::at(uri),
            auth: config::Auth::default(),
            http: config::Http::default(),
            cors: config::Cors::default(),
            rate_limit: config::RateLimit::default(),
            clock: event_log::clock_guard::ClockSkew::default(),
            shutdown: config::Shutdown::default(),
            telemetry: config::Telemetry::default(),
            command: CommandSettings::default(),
            follows: config::Follows::default(),
            lists: config::Lists::default(),
        }
    }
}
