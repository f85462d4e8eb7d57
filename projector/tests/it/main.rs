//! The projector against a database: from events to views, by programs that share the work and die.
#![expect(
    clippy::unwrap_used,
    reason = "a test that meets an error has nothing better to do than to panic"
)]

mod dead_letters;
mod generations;
mod leadership;
mod oracle;
mod owners;
mod projection;
mod rebuild;
mod sweep;
mod world;
