//! The words that both sides of Microblog speak: ids, values, entities, events, and the types of the API.
//!
//! Nothing here does I/O, and nothing knows a service or a database's client.

pub mod api;
pub mod clock;
pub mod entities;
pub mod events;
pub mod ids;
pub mod values;
