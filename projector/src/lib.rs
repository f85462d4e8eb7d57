//! The projector: writes views from events, rebuilds them, sweeps up after deleted users, and does what follows from blocks and from the end
//! of protections.
//!
//! Several of these processes share the work. What they must know of each other is in the views' database: leases (which process works on
//! which partition, and how far it is), seats (which process does the work that only one may do), and the control document of the
//! generations.

mod app;
mod barrier;
mod config;
pub mod consequences;
mod discards;
mod health;
pub mod leadership;
mod metrics;
mod noting;
mod rebuild;
mod rounds;
mod subscriptions;
pub mod sweep;
mod upkeep;

pub use self::app::{App, RunError, StartError, run};
pub use self::config::{Config, Projector, Rebuild, Sweep};
pub use self::rebuild::{HostError, host_rebuilds};
