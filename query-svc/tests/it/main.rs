//! Tests of query-svc with a real database.

#![expect(clippy::unwrap_used, reason = "a test may panic on an error")]

mod bad_input;
mod conformance;
mod consistency;
mod cuts;
#[path = "../../views/tests/it/definition.rs"]
mod definition;
mod event_reader;
mod filling;
mod filters;
#[allow(dead_code, reason = "the views' own tests use the rest")]
#[path = "../../views/tests/it/fixture.rs"]
mod fixture;
mod histories;
mod home;
mod lists;
mod loads;
mod moderation;
mod notifications;
mod operation;
mod people;
mod posts;
mod service;
mod socket;
mod streams;
mod tags;
mod users;
mod websocket;
