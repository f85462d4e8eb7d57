//! The projector: turns events into views, builds new generations of them, and sweeps up after deleted users.
//!
//! Several of these programs share the work. What one has to know of the others is in the views' database: leases
//! (who works on which partition, and how far it is), seats (who does what only one may do), and the control
//! document of the generations.

mod app;
mod barrier;
mod config;
mod discards;
mod health;
pub mod leadership;
mod metrics;
mod rebuild;
mod subscriptions;
pub mod sweep;
mod upkeep;

pub use self::app::{App, RunError, StartError};
pub use self::config::{Config, Projector, Rebuild, Sweep};
pub use self::rebuild::{HostError, host_rebuilds};
