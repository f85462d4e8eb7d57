//! The event store on MongoDB, and subscriptions to it.
//!
//! [`event_store`] appends events, [`subscription`] hands them to handlers at least once, [`position`] and [`consistency`] say how far
//! that has come, and [`mongo`] holds what every user of the database has to know.

pub mod clock_guard;
pub mod consistency;
pub mod crypto;
pub mod event_store;
pub mod mongo;
pub mod position;
pub mod subscription;
pub mod trace;
