//! Tests of the event log against a real database.
#![expect(clippy::unwrap_used, reason = "a test that fails by a panic has done its work")]

mod connections;
mod event_store;
mod panics;
mod room;
mod subscription;
mod takeover;
mod unknown;
mod world;
