//! The operator: reconciles `Projection` resources with their specs, and reports their status.
//!
//! It communicates with the projectors through the control document in the views' database. That document says which generation is read,
//! whether the projectors are paused, and how far a rebuild is. A Job does the rebuild. The operator itself writes no view.

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

pub use app::{App, Place, RunError, StartError, run};
pub use config::{Config, Operator};
pub use job::TemplateError;
