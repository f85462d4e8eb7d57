//! query-svc against a real database.

#![expect(
    clippy::unwrap_used,
    reason = "a test that meets an error has nothing better to do than to panic"
)]

mod bad_input;
mod consistency;
mod filling;
mod histories;
mod home;
mod loads;
mod operation;
mod posts;
mod service;
mod users;
mod views;
