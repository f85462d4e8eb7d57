//! The decisions. They are pure and synchronous, with one module for each aggregate, and with tests beside the rules.
//!
//! `decide` takes the state and a command, which brings the time and the ids with it. It returns the event that happens, `None` if nothing
//! changes, or a refusal. An event carries the whole new state. So `evolve` only takes the state out, and loading an aggregate means
//! reading its last event.

pub mod block;
pub mod bookmark;
pub mod filter;
pub mod follow;
pub mod like;
pub mod list;
pub mod list_member;
pub mod list_tag;
pub mod mute;
pub mod notification;
pub mod pins;
pub mod post;
pub mod report;
pub mod repost;
pub mod role;
pub mod tag;
pub mod user;
pub mod visibility;

#[cfg(test)]
mod example;
