//! The part of the configuration that query-svc reads.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::time::Duration;

use model::api;
use model::events::{Filter, Pins, Report};
use model::values::{
    Bio, DisplayName, Handle, MAX_TEXT_BYTES, PostText, ProfileField, RegistrationPolicy, ReportComment, Warning,
};
use serde::{Deserialize, Serialize};
use service::config::{self, ConfigError};
use service::http::Limit;

/// The configuration of query-svc.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Config {
    #[serde(default)]
    pub query: Query,
    #[serde(default)]
    pub cache: Cache,
    #[serde(default)]
    pub live: Live,
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
    pub telemetry: config::Telemetry,
    #[serde(default)]
    pub shutdown: config::Shutdown,
    #[serde(default)]
    pub clock: event_log::clock_guard::ClockSkew,
    #[serde(default)]
    pub consistency: config::Consistency,
    #[serde(default)]
    pub timelines: views::Timelines,
    #[serde(default)]
    pub instance: Instance,
    #[serde(default)]
    pub follows: config::Follows,
    #[serde(default)]
    pub lists: config::Lists,
    #[serde(default)]
    pub command: Command,
}

impl Config {
    /// Checks what no key can say alone.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        // A pool size of 0 means no bound.
        if (1..=self.query.database_concurrency.get()).contains(&self.mongodb.max_pool_size) {
            let reason = "must be less than mongodb.max_pool_size, because the change stream needs a connection too";
            return Err(ConfigError::invalid("query.database_concurrency", reason));
        }
        let timelines = self.timelines.check();
        timelines.map_err(|reason| ConfigError::invalid("timelines.idle_after", reason))
    }
}

/// The settings of query-svc alone.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Query {
    pub listen: SocketAddr,
    /// A request that is not answered in this time is answered 503.
    #[serde(with = "humantime_serde")]
    pub request_timeout: Duration,
    /// How many questions may run on the database at once. It must be fewer than `mongodb.max_pool_size`, so that the change
    /// stream always has a connection.
    pub database_concurrency: NonZeroU32,
    /// A change stream that sends nothing for this time is broken. A working stream also reports that nothing happened.
    #[serde(with = "humantime_serde")]
    pub stream_silence: Duration,
    /// The longest pause between two attempts to open the change stream.
    #[serde(with = "humantime_serde")]
    pub stream_max_backoff: Duration,
    /// For how long this process claims the generation of the views that it reads. A process that is killed delays the end of
    /// a rebuild by this time.
    #[serde(with = "humantime_serde")]
    pub claim_for: Duration,
}

impl Default for Query {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8082)),
            request_timeout: Duration::from_secs(5),
            database_concurrency: const { NonZeroU32::new(48).expect("not zero") },
            stream_silence: Duration::from_secs(5),
            stream_max_backoff: Duration::from_secs(2),
            claim_for: Duration::from_secs(30),
        }
    }
}

/// Live streams.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Live {
    /// The most connections at the same time. One more is answered 503.
    pub max_connections: NonZeroU32,
    /// The same for one user, or for one address if nobody is logged in.
    pub max_connections_per_caller: NonZeroU32,
    /// A stream without an event for this time says that it is there. Many proxies end connections that are silent for 30 or 60 seconds.
    #[serde(with = "humantime_serde")]
    pub heartbeat: Duration,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            max_connections: const { NonZeroU32::new(8_192).expect("not zero") },
            max_connections_per_caller: const { NonZeroU32::new(64).expect("not zero") },
            heartbeat: Duration::from_secs(20),
        }
    }
}

/// What `GET /v1/instance` says of the place.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Instance {
    pub name: String,
    pub description: String,
    /// One rule on each line.
    pub rules: String,
}

impl Default for Instance {
    fn default() -> Self {
        Self {
            name: "Microblog".to_owned(),
            description: String::new(),
            rules: String::new(),
        }
    }
}

/// What clients are told of the section of command-svc, which has all its other keys.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Command {
    pub registration: RegistrationPolicy,
}

impl Config {
    /// What everybody may know of the place. Each limit is the one that is enforced.
    pub(crate) fn instance(&self) -> api::Instance {
        let Instance {
            name,
            description,
            rules,
        } = self.instance.clone();
        let rules = rules.lines().map(str::trim).filter(|rule| !rule.is_empty());
        api::Instance {
            name,
            description,
            rules: rules.map(str::to_owned).collect(),
            limits: api::InstanceLimits {
                post_characters: PostText::MAX_GRAPHEMES,
                warning_characters: Warning::MAX_GRAPHEMES,
                handle_characters: Handle::MAX_LEN,
                display_name_characters: DisplayName::MAX_GRAPHEMES,
                bio_characters: Bio::MAX_GRAPHEMES,
                text_bytes: MAX_TEXT_BYTES,
                fields: ProfileField::MAX,
                pins: Pins::MAX,
                follows: self.follows.max.get(),
                followed_tags: self.follows.max_tags.get(),
                lists: self.lists.max.get(),
                list_members: self.lists.max_members.get(),
                list_tags: self.lists.max_tags.get(),
                filters: Filter::MAX,
                report_posts: Report::MAX_POSTS,
                report_comment_characters: ReportComment::MAX_GRAPHEMES,
                page_items: Limit::MAX,
            },
            version: env!("CARGO_PKG_VERSION").to_owned(),
            streams: Some("/v1/streams".to_owned()),
            registration: self.command.registration,
        }
    }
}

/// Documents in memory.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cache {
    /// About how much memory posts, profiles, relations and filters may take together, in MiB.
    pub max_mib: NonZeroU32,
    /// About how much memory the newest parts of home timelines may take besides, in MiB. 0 keeps none.
    pub heads_max_mib: u32,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            max_mib: const { NonZeroU32::new(256).expect("not zero") },
            heads_max_mib: 32,
        }
    }
}

impl Cache {
    pub(crate) fn max_bytes(&self) -> u64 {
        u64::from(self.max_mib.get()) * 1024 * 1024
    }

    pub(crate) fn heads_bytes(&self) -> u64 {
        u64::from(self.heads_max_mib) * 1024 * 1024
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use service::config::{Environment, load};

    use super::*;

    #[test]
    fn the_place_has_the_registration_and_the_limits_of_command_svc_and_a_rule_on_each_line() {
        let mut environment = Environment::default();
        for (key, value) in [
            ("mongodb.uri", "mongodb://127.0.0.1:1"),
            ("command.registration", "invite"),
            ("command.max_hashing", "2"),
            ("follows.max", "7"),
            ("instance.name", "The place"),
            ("instance.rules", "Be kind, always.\n\n  No advertisements.\n"),
        ] {
            environment.set(key, value);
        }
        let config: Config = load(None, &environment).unwrap();
        let instance = config.instance();
        assert_eq!(instance.name, "The place");
        assert_eq!(instance.rules, ["Be kind, always.", "No advertisements."]);
        assert_eq!(instance.registration, RegistrationPolicy::Invite);
        assert_eq!(instance.limits.follows, 7);
        assert!(PostText::parse(&"é".repeat(instance.limits.post_characters)).is_ok());
        assert!(PostText::parse(&"é".repeat(instance.limits.post_characters + 1)).is_err());
    }

    #[rstest]
    #[case::defaults(&[], None)]
    #[case::who_reads_all_the_time_is_never_idle(&[("timelines.idle_after", "1d")], Some("timelines.idle_after"))]
    #[case::the_stream_has_a_connection(&[("mongodb.max_pool_size", "48")], Some("query.database_concurrency"))]
    fn what_no_single_key_can_say(#[case] settings: &[(&str, &str)], #[case] refused: Option<&str>) {
        let mut environment = Environment::default();
        environment.set("mongodb.uri", "mongodb://127.0.0.1:1");
        for (key, value) in settings {
            environment.set(key, *value);
        }
        let config: Config = load(None, &environment).unwrap();
        let outcome = config.check().map_err(|error| error.to_string());
        match refused {
            None => outcome.unwrap(),
            Some(key) => assert!(
                outcome.as_ref().is_err_and(|error| error.starts_with(key)),
                "{outcome:?}"
            ),
        }
    }
}
