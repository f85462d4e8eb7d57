//! The sections that several programs share. Each program adds its own (`command`, `query`, `projector`).

use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};

use super::networks::Networks;
use super::secret::{MASK, Pem, PemList, Secret, StringList};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Access tokens and refresh tokens. A program that only verifies needs only the public keys.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    pub issuer: String,
    pub audience: String,
    /// How far the clocks of signer and verifier may differ.
    #[serde(with = "humantime_serde")]
    pub leeway: Duration,
    /// Ed25519 keys (PEM, SPKI or a certificate) whose signatures are accepted: the current one and, during a rotation, former ones. The
    /// public key of `signing_key` need not be repeated here.
    pub public_keys: PemList,
    /// The Ed25519 key (PKCS #8, PEM) that signs.
    pub signing_key: Option<Pem>,
    #[serde(with = "humantime_serde")]
    pub access_token_ttl: Duration,
    #[serde(with = "humantime_serde")]
    pub refresh_token_ttl: Duration,
    /// The secret from which refresh tokens are derived: 32 characters or more.
    pub refresh_secret: Option<Secret>,
    /// What a client proves itself with that keeps refresh tokens where nobody else can read them, as the gateway does: 32 characters or
    /// more. The refresh tokens of its sessions don't change.
    pub client_secret: Option<Secret>,
    /// How long the last refresh token but one still gets the same successor, because an answer may be lost. An election of the database
    /// takes 10 to 12 s, and then the client tries again.
    #[serde(with = "humantime_serde")]
    pub refresh_reuse_grace: Duration,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            issuer: "microblog".to_owned(),
            audience: "microblog".to_owned(),
            leeway: 5 * SECOND,
            public_keys: PemList::default(),
            signing_key: None,
            access_token_ttl: 15 * MINUTE,
            refresh_token_ttl: 30 * DAY,
            refresh_secret: None,
            client_secret: None,
            refresh_reuse_grace: MINUTE,
        }
    }
}

/// The limits of the HTTP servers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// How many threads answer requests. By default one for each processor.
    pub workers: Option<NonZeroU32>,
    /// The most connections at the same time, over all workers.
    pub max_connections: NonZeroU32,
    /// The most requests at the same time, over all workers. One more is answered 503.
    pub max_in_flight: NonZeroU32,
    /// The most requests whose bodies arrive at the same time, over all workers. They don't count for `max_in_flight` yet.
    pub max_bodies: NonZeroU32,
    /// The same for one address. An IPv6 network of 56 bits counts as one address.
    pub max_bodies_per_address: NonZeroU32,
    /// How long a client may take to send the head of a request.
    #[serde(with = "humantime_serde")]
    pub head_timeout: Duration,
    /// How long a client may take to send the body of a request.
    #[serde(with = "humantime_serde")]
    pub body_timeout: Duration,
    #[serde(with = "humantime_serde")]
    pub keep_alive: Duration,
    /// How long `/readyz` waits for each of its checks.
    #[serde(with = "humantime_serde")]
    pub check_timeout: Duration,
    /// The networks of the proxies in front, whose `X-Forwarded-For` is trusted. None by default.
    pub trusted_proxies: Networks,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            workers: None,
            max_connections: const { NonZeroU32::new(16_384).expect("not zero") },
            max_in_flight: const { NonZeroU32::new(2_048).expect("not zero") },
            max_bodies: const { NonZeroU32::new(2_048).expect("not zero") },
            max_bodies_per_address: const { NonZeroU32::new(64).expect("not zero") },
            head_timeout: 5 * SECOND,
            body_timeout: 10 * SECOND,
            keep_alive: 75 * SECOND,
            check_timeout: 3 * SECOND,
            trusted_proxies: Networks::default(),
        }
    }
}

/// The other sites whose pages may call the API.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cors {
    /// For example `https://example.org`, or `*` for all. None by default.
    pub allowed_origins: StringList,
    #[serde(with = "humantime_serde")]
    pub max_age: Duration,
}

impl Default for Cors {
    fn default() -> Self {
        Self {
            allowed_origins: StringList::default(),
            max_age: 60 * MINUTE,
        }
    }
}

/// A burst, and a number of requests a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    pub burst: NonZeroU32,
    pub per_minute: NonZeroU32,
}

impl Quota {
    /// # Panics
    /// If either is zero.
    pub const fn new(burst: u32, per_minute: u32) -> Self {
        Self {
            burst: NonZeroU32::new(burst).expect("a burst is not zero"),
            per_minute: NonZeroU32::new(per_minute).expect("a rate is not zero"),
        }
    }
}

/// How often a user, or an address if nobody is logged in, may send requests to one process.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimit {
    pub enabled: bool,
    pub read: Quota,
    pub write: Quota,
    /// Logins, counted by address.
    pub login: Quota,
    /// Attempts to log in to one account from addresses that are unknown for it, and attempts at the current password in one session.
    pub account: Quota,
    /// Refreshes, counted by session.
    pub refresh: Quota,
    /// Refreshes, counted by address, whatever was sent. Hundreds of people may share an address, for example behind a provider's NAT.
    pub refresh_address: Quota,
    /// Registrations, counted by address.
    pub register: Quota,
    /// How many users and addresses are remembered for each of the seven quotas. All others share allowances.
    pub max_keys: NonZeroU32,
}

impl Default for RateLimit {
    fn default() -> Self {
        Self {
            enabled: true,
            read: Quota::new(300, 1_200),
            write: Quota::new(60, 300),
            login: Quota::new(20, 30),
            account: Quota::new(20, 5),
            refresh: Quota::new(10, 10),
            refresh_address: Quota::new(600, 600),
            register: Quota::new(20, 30),
            max_keys: const { NonZeroU32::new(100_000).expect("not zero") },
        }
    }
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", try_from = "String")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// A format for people.
    Text,
}

impl TryFrom<String> for LogFormat {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        match name.as_str() {
            "json" => Ok(Self::Json),
            "text" => Ok(Self::Text),
            _ => Err("must be json or text"),
        }
    }
}

/// Logs and traces.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    pub format: LogFormat,
    /// Which lines are written, for example `info,mongodb=warn`.
    pub filter: String,
    /// An OpenTelemetry collector (gRPC), for example `http://localhost:4317`. None by default.
    #[serde(serialize_with = "without_user")]
    pub otlp_endpoint: Option<String>,
    /// The share of traces that is sent, from 0 to 1, if the caller has not decided.
    pub sample_ratio: f64,
}

/// Prints an address without its user and password.
fn without_user<S: Serializer>(address: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    let shown = address.as_deref().map(|address| match address.rsplit_once('@') {
        Some((before, host)) => {
            let scheme = before.split_once("://").map_or("", |(scheme, _)| scheme);
            format!("{scheme}://{MASK}@{host}")
        }
        None => address.to_owned(),
    });
    shown.serialize(serializer)
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            format: LogFormat::Json,
            filter: "info".to_owned(),
            otlp_endpoint: None,
            sample_ratio: 1.0,
        }
    }
}

/// How many accounts and tags one user may follow.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Follows {
    /// The most accounts that one user may follow. Commands of one user at the same moment may each find the last place free.
    pub max: NonZeroU32,
    /// The most tags that one user may follow. A page of the home timeline asks the database for the posts of each, so this bounds its cost.
    pub max_tags: NonZeroU32,
}

impl Default for Follows {
    fn default() -> Self {
        Self {
            max: const { NonZeroU32::new(10_000).expect("not zero") },
            max_tags: const { NonZeroU32::new(100).expect("not zero") },
        }
    }
}

/// How many lists one user may have, and how much may be in one. Commands of one user at the same moment may each find the last place free.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lists {
    /// The most lists that one user may have.
    pub max: NonZeroU32,
    /// The most users in one list.
    pub max_members: NonZeroU32,
    /// The most tags in one list. A page of the list asks the database for the posts of each, so this bounds its cost.
    pub max_tags: NonZeroU32,
}

impl Default for Lists {
    fn default() -> Self {
        Self {
            max: const { NonZeroU32::new(100).expect("not zero") },
            max_members: const { NonZeroU32::new(5_000).expect("not zero") },
            max_tags: const { NonZeroU32::new(100).expect("not zero") },
        }
    }
}

/// How a program ends.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shutdown {
    /// The time between the moment when `/readyz` turns 503 and the last new connection. Load balancers must notice within this time.
    #[serde(with = "humantime_serde")]
    pub drain_delay: Duration,
    /// How long running requests may take after that.
    #[serde(with = "humantime_serde")]
    pub grace: Duration,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self {
            drain_delay: 5 * SECOND,
            grace: 20 * SECOND,
        }
    }
}

/// `Consistency-Token`: clients read their own writes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Consistency {
    /// How long a query waits until the views have caught up.
    #[serde(with = "humantime_serde")]
    pub max_wait: Duration,
    /// The most queries that wait at the same time. They don't count for `max_in_flight` meanwhile.
    pub max_waiting: NonZeroU32,
    /// The same for one user, or for one address if nobody is logged in.
    pub max_waiting_per_caller: NonZeroU32,
}

impl Default for Consistency {
    fn default() -> Self {
        Self {
            max_wait: 2 * SECOND,
            max_waiting: const { NonZeroU32::new(2_048).expect("not zero") },
            max_waiting_per_caller: const { NonZeroU32::new(32).expect("not zero") },
        }
    }
}
