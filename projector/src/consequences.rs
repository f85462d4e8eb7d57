//! The consequences of a block and of the end of a protection, by ordinary commands: a block ends the follows and requests between the two
//! users, and an account that is no longer protected accepts the requests that wait.
//!
//! A subscription ([`crate::noting`]) notes each such event as an [`Item`]. One process at a time ([`Worker`]) works on the items. It looks
//! twice: at once, and when every command has ended that may have read "no block" or "protected" just before the event. Those commands write
//! to other streams, so nothing conflicts. Everything is read from the event store, so no view has to be waited for.
//!
//! Any number of requests may wait. They are accepted page by page, one page in each round, so that nobody else's consequences wait for them.
//! The item says how far they are. An interrupted round begins again there, and repeats commands that then find nothing to do.

mod items;
mod worker;

pub use self::items::{Item, Items, Look};
pub use self::worker::Worker;
