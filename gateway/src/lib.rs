//! One address for everything. The gateway passes each request of the API on to the service that answers it, command-svc or query-svc,
//! and makes web pages of what they answer.
//!
//! It has no state and no database. It knows of the services only what their public descriptions say.

mod app;
mod backends;
mod config;
mod description;
mod forward;
mod routes;
mod web;

pub use app::{App, StartError, run};
pub use backends::{Backend, Backends};
pub use config::Config;
