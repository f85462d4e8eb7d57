//! The section `command` of the configuration.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use model::values::RegistrationPolicy;
use serde::{Deserialize, Serialize};

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
