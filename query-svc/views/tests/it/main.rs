//! Tests of the views: duplicates, reordering, restarts, and the home timelines that follow from the events.

#![expect(clippy::unwrap_used, reason = "a test may panic on an error")]

mod bookmarks;
mod definition;
mod equality;
mod filters;
#[allow(dead_code, reason = "query-svc's tests use the rest")]
mod fixture;
mod home_timelines;
mod lists;
mod notifications;
mod reports;
mod rows;
mod served;
mod tags;
