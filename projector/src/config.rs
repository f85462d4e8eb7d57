//! The configuration of the projector: sections that it shares with the other programs, and its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use event_log::mongo::MongoDb;
use event_log::subscription::SubscriptionSettings;
use serde::{Deserialize, Serialize};
use service::config::{Auth, ConfigError, Http, Shutdown, Telemetry};
use views::Timelines;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Config {
    pub mongodb: MongoDb,
    /// How long access tokens live. The deletion sweep waits until the last one has expired.
    pub auth: Auth,
    pub http: Http,
    pub telemetry: Telemetry,
    pub shutdown: Shutdown,
    pub timelines: Timelines,
    pub subscriptions: SubscriptionSettings,
    pub projector: Projector,
    pub rebuild: Rebuild,
    pub sweep: Sweep,
}

impl Config {
    /// The defaults, with one database.
    pub fn at(mongodb: MongoDb) -> Self {
        Self {
            mongodb,
            auth: Auth::default(),
            http: Http::default(),
            telemetry: Telemetry::default(),
            shutdown: Shutdown::default(),
            timelines: Timelines::default(),
            subscriptions: SubscriptionSettings::default(),
            projector: Projector::default(),
            rebuild: Rebuild::default(),
            sweep: Sweep::default(),
        }
    }

    /// Checks rules that involve several sections.
    pub fn check(&self) -> Result<(), ConfigError> {
        let last_token = self.auth.access_token_ttl.saturating_add(self.auth.leeway);
        if self.sweep.last_pass_after <= last_token {
            let reason = format!(
                "must be longer than an access token lives (auth.access_token_ttl and auth.leeway: {})",
                humantime_serde::re::humantime::format_duration(last_token)
            );
            return Err(ConfigError::invalid("sweep.last_pass_after", reason));
        }
        if self.subscriptions.renew_every.saturating_mul(2) > self.subscriptions.lease_duration {
            let reason = "must be at most half of subscriptions.lease_duration".to_owned();
            return Err(ConfigError::invalid("subscriptions.renew_every", reason));
        }
        if self.subscriptions.stream_silence
            <= self
                .subscriptions
                .heartbeat_every
                .saturating_add(self.subscriptions.renew_every)
        {
            let reason = "must be longer than subscriptions.heartbeat_every and subscriptions.renew_every together";
            return Err(ConfigError::invalid("subscriptions.stream_silence", reason.to_owned()));
        }
        let timelines = self.timelines.check();
        timelines.map_err(|reason| ConfigError::invalid("timelines.idle_after", reason))?;
        for (key, number) in [
            ("rebuild.batch", self.rebuild.batch),
            ("sweep.concurrency", self.sweep.concurrency),
        ] {
            if number == 0 {
                return Err(ConfigError::invalid(key, "must not be 0"));
            }
        }
        Ok(())
    }
}

/// The program itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Projector {
    /// The address of probes and metrics.
    pub listen: SocketAddr,
    /// How often the projector checks which generations to follow.
    #[serde(with = "humantime_serde")]
    pub look_every: Duration,
    /// How often owners who have not read for long are marked idle.
    #[serde(with = "humantime_serde")]
    pub idle_pass_every: Duration,
}

impl Default for Projector {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8083)),
            look_every: SECOND,
            idle_pass_every: 60 * MINUTE,
        }
    }
}

/// The rebuild: building a new generation of the views.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rebuild {
    /// Whether projectors rebuild by themselves. `microblog rebuild --here` always does.
    pub hosted: bool,
    /// How often the process in charge checks for a requested rebuild, and for confirmations of readers.
    #[serde(with = "humantime_serde")]
    pub look_every: Duration,
    /// How many events are scanned, or how many owners' timelines are filled, between two notes of progress.
    pub batch: usize,
    /// The new generation has caught up if it passes a mark within this time.
    #[serde(with = "humantime_serde")]
    pub max_lag: Duration,
    /// The pause from the last reader's confirmation until the former generation is not followed any more: as long as a request can take.
    #[serde(with = "humantime_serde")]
    pub reader_grace: Duration,
    /// How often to search for leftovers of former generations.
    #[serde(with = "humantime_serde")]
    pub clean_every: Duration,
    /// The pause from a failure to the next attempt.
    #[serde(with = "humantime_serde")]
    pub retry_after: Duration,
}

impl Default for Rebuild {
    fn default() -> Self {
        Self {
            hosted: true,
            look_every: SECOND,
            batch: 400,
            max_lag: 2 * SECOND,
            reader_grace: 10 * SECOND,
            clean_every: 10 * MINUTE,
            retry_after: 2 * SECOND,
        }
    }
}

/// The deletion sweep: retracting what belongs to deleted users. What follows from blocks and from ends of protections has the same pace.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sweep {
    /// How often the process in charge checks for work.
    #[serde(with = "humantime_serde")]
    pub look_every: Duration,
    /// The time from the event to the second look. It must be longer than any command takes: a command may read the user just before a
    /// deletion, and write just after it. A command has `command.deadline`, and its last request to the database has
    /// `mongodb.operation_timeout`.
    #[serde(with = "humantime_serde")]
    pub settle_after: Duration,
    /// The time from the deletion to the last pass. By then, every access token of the user has expired.
    #[serde(with = "humantime_serde")]
    pub last_pass_after: Duration,
    /// How long a round waits for the views to pass its mark, before it begins again with another mark.
    #[serde(with = "humantime_serde")]
    pub barrier_timeout: Duration,
    /// The pause from a failure to the next attempt.
    #[serde(with = "humantime_serde")]
    pub retry_after: Duration,
    /// How many commands are sent at the same time for one event.
    pub concurrency: usize,
}

impl Default for Sweep {
    fn default() -> Self {
        Self {
            look_every: SECOND,
            settle_after: 15 * SECOND,
            last_pass_after: 16 * MINUTE,
            barrier_timeout: MINUTE,
            retry_after: 10 * SECOND,
            concurrency: 8,
        }
    }
}

#[cfg(test)]
mod tests {
    use service::config::{Environment, load};

    use super::*;

    fn environment() -> Environment {
        [("MICROBLOG__MONGODB__URI", "mongodb://127.0.0.1:1")]
            .into_iter()
            .collect()
    }

    #[test]
    fn only_the_database_has_no_default() {
        let config: Config = load(None, &environment()).unwrap();
        config.check().unwrap();
        assert_eq!(config.projector.listen.port(), 8083);
        assert!(load::<Config>(None, &Environment::default()).is_err());
    }

    #[test]
    fn what_no_single_key_can_say() {
        let endless = format!("{}s", u64::MAX);
        for (key, value, named) in [
            // At the last pass, every access token of a deleted user has expired.
            ("auth.access_token_ttl", "1h", "sweep.last_pass_after"),
            // An owner who reads all the time is never idle.
            ("timelines.note_visit_every", "31d", "timelines.idle_after"),
            ("auth.access_token_ttl", &endless, "sweep.last_pass_after"),
            ("subscriptions.renew_every", &endless, "subscriptions.renew_every"),
            (
                "subscriptions.heartbeat_every",
                &endless,
                "subscriptions.stream_silence",
            ),
        ] {
            let mut environment = environment();
            environment.set(key, value);
            let config: Config = load(None, &environment).unwrap();
            let refused = config.check().unwrap_err().to_string();
            assert!(refused.starts_with(named), "{key} = {value}: {refused}");
        }
    }
}
