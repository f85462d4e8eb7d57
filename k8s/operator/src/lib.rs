//! The operator: keeps `Projection` resources as they are wanted, and tells how they are.
//!
//! It speaks to the projectors through the control document in the views' database (which generation, whether they are paused, how
//! far a rebuild is), and has a Job do the rebuilding. It writes no view.

mod app;
mod config;
mod controller;
pub mod crd;
mod decide;
mod job;
mod leader;
mod metrics;
pub mod projection;
mod standstill;
mod views;

pub use app::{App, Place, RunError, StartError};
pub use config::{Config, Operator};
pub use job::TemplateError;
