//! The sections `command`, `follows` and `lists` of the configuration.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Who may register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", try_from = "String")]
pub enum RegistrationPolicy {
    Open,
    Invite,
    Closed,
}

impl TryFrom<String> for RegistrationPolicy {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        match name.as_str() {
            "open" => Ok(Self::Open),
            "invite" => Ok(Self::Invite),
            "closed" => Ok(Self::Closed),
            _ => Err("must be open, invite or closed"),
        }
    }
}

/// The section `command`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CommandSettings {
    pub listen: SocketAddr,
    /// How long a command may take, from the parsed request to the answer. After that it is answered 503.
    #[serde(with = "humantime_serde")]
    pub deadline: Duration,
    /// How many commands may use the database at the same time. It must be less than `mongodb.max_pool_size`, so that probes and the clock
    /// check always find a connection.
    pub max_concurrent: NonZeroU32,
    /// How long a command waits for a permit to use the database, for the hashing of a password, and, after an outage of the database, for
    /// the clock to be sure again. After that it is answered 503.
    #[serde(with = "humantime_serde")]
    pub max_queueing: Duration,
    /// Who may register: everybody (`open`), people with a code of `microblog invite` (`invite`), or nobody (`closed`).
    pub registration: RegistrationPolicy,
    /// How many passwords are hashed at the same time, with 19 MiB each. By default one for each processor.
    pub max_hashing: Option<NonZeroU32>,
}

impl Default for CommandSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8081)),
            deadline: Duration::from_millis(4_500),
            max_concurrent: const { NonZeroU32::new(48).expect("not zero") },
            max_queueing: Duration::from_secs(2),
            registration: RegistrationPolicy::Open,
            max_hashing: None,
        }
    }
}

/// The section `follows`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FollowSettings {
    /// The most accounts that one user may follow. Commands of one user at the same moment may each find the last place free.
    pub max: NonZeroU32,
    /// The most tags that one user may follow. A page of the home timeline asks the database for the posts of each, so this bounds its cost.
    pub max_tags: NonZeroU32,
}

impl Default for FollowSettings {
    fn default() -> Self {
        Self {
            max: const { NonZeroU32::new(10_000).expect("not zero") },
            max_tags: const { NonZeroU32::new(100).expect("not zero") },
        }
    }
}

/// The section `lists`. Commands of one user at the same moment may each find the last place free.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListSettings {
    /// The most lists that one user may have.
    pub max: NonZeroU32,
    /// The most users in one list.
    pub max_members: NonZeroU32,
    /// The most tags in one list. A page of the list asks the database for the posts of each, so this bounds its cost.
    pub max_tags: NonZeroU32,
}

impl Default for ListSettings {
    fn default() -> Self {
        Self {
            max: const { NonZeroU32::new(100).expect("not zero") },
            max_members: const { NonZeroU32::new(5_000).expect("not zero") },
            max_tags: const { NonZeroU32::new(100).expect("not zero") },
        }
    }
}
