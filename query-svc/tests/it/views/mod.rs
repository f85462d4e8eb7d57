//! From events to views: duplicates, reordering, restarts, and what becomes of home timelines.

pub(crate) mod definition;
mod equality;
pub(crate) mod fixture;
mod home_timelines;
mod rows;
mod served;
