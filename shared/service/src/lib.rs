//! What each program has around its work: configuration, access tokens, telemetry, an HTTP server, and how a program starts and stops.
//!
//! This crate imports no program and reads no section that only one of them has.

pub mod auth;
pub mod config;
#[cfg(feature = "http")]
pub mod http;
pub mod program;
pub mod telemetry;
