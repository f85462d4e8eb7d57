//! The configuration of the operator: sections that it shares with the other programs, and its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use event_log::mongo::MongoDb;
use serde::{Deserialize, Serialize};
use service::config::{ConfigError, Http, Shutdown, Telemetry};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Config {
    pub mongodb: MongoDb,
    #[serde(default)]
    pub http: Http,
    #[serde(default)]
    pub telemetry: Telemetry,
    #[serde(default)]
    pub shutdown: Shutdown,
    #[serde(default)]
    pub operator: Operator,
}

/// The section `operator`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Operator {
    /// The address for probes and metrics.
    pub listen: SocketAddr,
    /// The manifest of the Job that builds a generation, without its name.
    pub job_template: PathBuf,
    /// The Lease that the operators of a namespace compete for.
    pub lease: String,
    /// How long the Lease is valid after its holder has renewed it last.
    #[serde(with = "humantime_serde")]
    pub lease_duration: Duration,
    #[serde(with = "humantime_serde")]
    pub renew_every: Duration,
    /// How often a projection is reconciled while nobody changes it.
    #[serde(with = "humantime_serde")]
    pub look_every: Duration,
    /// The same, while a generation is being built.
    #[serde(with = "humantime_serde")]
    pub look_at_rebuild_every: Duration,
    /// A projection is not ready if its lag is larger than this.
    #[serde(with = "humantime_serde")]
    pub max_lag: Duration,
}

impl Default for Operator {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8084)),
            job_template: PathBuf::from("/etc/microblog/rebuild-job.yaml"),
            lease: "microblog-operator".to_owned(),
            lease_duration: Duration::from_secs(15),
            renew_every: Duration::from_secs(3),
            look_every: Duration::from_secs(10),
            look_at_rebuild_every: Duration::from_secs(2),
            max_lag: Duration::from_secs(30),
        }
    }
}

impl Config {
    /// Checks what concerns more than one key.
    pub fn check(&self) -> Result<(), ConfigError> {
        let Operator {
            lease_duration,
            renew_every,
            ..
        } = self.operator;
        if lease_duration < Duration::from_secs(1) || lease_duration.as_secs() > 3600 {
            return Err(ConfigError::invalid("operator.lease_duration", "must be from 1s to 1h"));
        }
        if renew_every * 3 > lease_duration {
            let reason = "must be at most a third of operator.lease_duration";
            return Err(ConfigError::invalid("operator.renew_every", reason));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use service::config::{Environment, load};

    use super::*;

    #[test]
    fn a_lease_is_renewed_before_it_runs_out() {
        let mut environment: Environment = [("MICROBLOG__MONGODB__URI", "mongodb://127.0.0.1:1")]
            .into_iter()
            .collect();
        let config: Config = load(None, &environment).unwrap();
        config.check().unwrap();
        environment.set("operator.renew_every", "6s");
        let config: Config = load(None, &environment).unwrap();
        let refused = config.check().unwrap_err().to_string();
        assert!(refused.contains("MICROBLOG__OPERATOR__RENEW_EVERY"), "{refused}");
    }
}
