//! What each program needs besides its work: configuration, access tokens, telemetry, an HTTP server, and how a program starts and stops.
//!
//! This crate imports no program, and reads no section that belongs to only one of them.

pub mod auth;
pub mod config;
#[cfg(feature = "http")]
pub mod http;
pub mod program;
pub mod telemetry;
