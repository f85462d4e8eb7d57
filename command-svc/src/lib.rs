//! The HTTP service of the write side.
//!
//! A request goes from `routes` (what HTTP says) to the crate [`commands`] (what is decided, and how it becomes one appended event).

mod app;
mod config;
mod routes;

pub use app::{App, StartError};
pub use config::Config;
pub use routes::openapi;
