//! The types that both sides of Microblog share: ids, values, entities, events, and the types of the API.
//!
//! This crate does no I/O, and knows no service and no database client.

pub mod api;
pub mod clock;
pub mod entities;
pub mod events;
pub mod ids;
pub mod phrases;
pub mod tags;
pub mod values;
