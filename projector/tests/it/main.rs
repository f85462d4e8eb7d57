//! The projector against a database: from events to views, by processes that share the work and die.
#![expect(clippy::unwrap_used, reason = "a test that meets an error should panic")]

mod consequences;
mod dead_letters;
mod generations;
mod leadership;
mod oracle;
mod owners;
mod projection;
mod rebuild;
mod sweep;
mod upgrade;
mod world;
