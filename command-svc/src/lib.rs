//! The HTTP service of the write side.
//!
//! A request goes from `routes` (the HTTP part) to the crate [`commands`], which decides and appends one event.

mod app;
mod config;
mod routes;

pub use app::{App, StartError, run};
pub use config::Config;
pub use routes::openapi;
