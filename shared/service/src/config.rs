//! Configuration: the defaults of the structures below, then a file, then `MICROBLOG__SECTION__KEY`.
//!
//! All programs share one file and one environment. Each has a structure of its own that names the sections it
//! reads, so that it ignores the others; a section that no program knows, and a key that its section does not
//! know, stop the start with their name.
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
pub use sections::{Auth, Consistency, Cors, Http, LogFormat, Quota, RateLimit, Shutdown, Telemetry};

#[cfg(test)]
mod tests;
