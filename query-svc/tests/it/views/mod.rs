//! From events to views: duplicates, reordering, restarts, and what becomes of home timelines.

mod definition;
mod equality;
mod fixture;
mod home_timelines;
mod rows;
mod served;
