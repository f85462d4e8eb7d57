//! query-svc against a real database.

mod views;
