//! From events to views: duplicates, reordering, restarts, and what becomes of home timelines.

#![expect(
    clippy::unwrap_used,
    reason = "a test that meets an error has nothing better to do than to panic"
)]

mod bookmarks;
mod definition;
mod equality;
#[allow(dead_code, reason = "query-svc's tests use the rest")]
mod fixture;
mod home_timelines;
mod rows;
mod served;
