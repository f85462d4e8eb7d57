//! What the services of Microblog have in common: the words (ids, values, events), the event store,
//! subscriptions to it, and the plumbing of a service (configuration, telemetry, HTTP).
//!
//! This crate imports no program: arrows point from `command-svc`, `query-svc`, `projector` and
//! `microblog` to here, never back. It knows them by name where configuration is concerned: [`config`] lists all sections
//! that a file may have, and describes those that several programs share.

pub mod api;
pub mod auth;
pub mod clock;
pub mod clock_guard;
pub mod config;
pub mod consistency;
pub mod crypto;
pub mod entities;
pub mod event_store;
pub mod events;
#[cfg(feature = "http")]
pub mod http;
pub mod ids;
pub mod mongo;
pub mod position;
pub mod subscription;
pub mod telemetry;
pub mod values;
