//! query-svc against a real database.

mod bad_input;
mod consistency;
mod home;
mod operation;
mod posts;
mod service;
mod users;
mod views;
