//! Configuration: the defaults of the structures below, then a file, then `MICROBLOG__SECTION__KEY`.
//!
//! All programs share one file and one environment. Each program has its own structure, which names the sections that it reads, so it
//! ignores the others. A section that no program knows, or a key that is unknown in its section, stops the start with an error that names
//! it.
//!
//! ```no_run
//! # use serde::{Deserialize, Serialize};
//! use service::config::{self, Environment};
//!
//! #[derive(Debug, Serialize, Deserialize)]
//! struct Config {
//!     http: config::Http,
//!     telemetry: config::Telemetry,
//! }
//!
//! let config: Config = config::load(None, &Environment::of_process())?;
//! # Ok::<(), config::ConfigError>(())
//! ```

mod load;
mod networks;
mod secret;
mod sections;

pub use load::{ConfigError, Environment, SECTIONS, load, print_config, variable};
pub use networks::Networks;
pub use secret::{Pem, PemList, Secret, StringList};
pub use sections::{Auth, Consistency, Cors, Follows, Http, Lists, LogFormat, Quota, RateLimit, Shutdown, Telemetry};

#[cfg(test)]
mod tests;
