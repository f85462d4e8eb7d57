//! The decisions: pure and synchronous, one module for each aggregate, the proof beside the rule.
//!
//! `decide` takes the state and a command that brings clock and ids along, and answers with the event that
//! happens, with `None` where nothing changes, or with a refusal. An event carries the whole new state, so that
//! `evolve` merely takes it out, and loading an aggregate means reading its last event.

pub mod bookmark;
pub mod follow;
pub mod like;
pub mod post;
pub mod repost;
pub mod user;
pub mod visibility;

#[cfg(test)]
mod example;
