//! The write side of Microblog: decides commands and appends events.
//!
//! A request goes from `routes` (what HTTP says) through [`commands`] (how a command is carried out) to [`domain`]
//! (what is decided), and back as one appended event. The projector takes users' traces back with the same commands.

mod app;
pub mod codes;
pub mod commands;
mod config;
mod credentials;
pub mod domain;
mod latest;
mod metrics;
mod origins;
mod passwords;
mod routes;
mod sessions;
mod setup;

pub use app::{App, StartError};
pub use config::{Command, Config, Registration};
pub use passwords::HashError;
pub use routes::openapi;
pub use shared::clock_guard::ClockUnsure;
