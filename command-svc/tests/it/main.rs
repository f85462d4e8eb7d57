//! The real program on its own port, with a real database: what clients see, and what is stored.
#![expect(clippy::unwrap_used, reason = "a test that unwraps nothing fails, as it should")]

mod accounts;
mod answers;
mod codes;
mod consequences;
mod contention;
mod contents;
mod database;
mod documentation;
mod filters;
mod follows;
mod idempotency;
mod inputs;
mod limits;
mod lists;
mod live_sessions;
mod lost_replies;
mod moderation;
mod notifications;
mod outages;
mod own_account;
mod people;
mod posts;
mod program;
mod proxy;
mod reactions;
mod retractions;
mod service;
mod sessions;
mod tags;
mod tickets;
mod tokens;
mod users;
mod visibility;
