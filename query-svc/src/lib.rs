//! The HTTP service of the read side. It answers from the crate [`views`].
//!
//! A request takes the current [`read_model`]: the views of one generation, the documents in memory, and how far the views
//! are. The [`routes`] speak HTTP and call the [`queries`], which don't know HTTP. Lists ([`timelines`], [`people`],
//! [`bookmarks`], [`notifications`], [`history`]) find candidates, [`shown`] decides which of them the viewer sees, and [`paging`] makes pages
//! of them. [`changes`] follows the views from the main runtime. The [`bus`] hands each change to the cache and the
//! positions.

pub mod app;
pub mod config;

mod asyncapi;
mod bookmarks;
mod bus;
mod cache;
mod changes;
mod cursor;
mod documents;
mod filters;
mod handled;
mod handles;
mod heads;
mod history;
mod lists;
mod live;
mod metrics;
mod notifications;
mod paging;
mod people;
mod positions;
mod queries;
mod read_model;
mod reports;
mod routes;
mod shown;
mod since;
mod tags;
mod timelines;

#[cfg(test)]
#[allow(dead_code, reason = "other tests use the rest of it")]
#[path = "../views/tests/it/fixture.rs"]
mod fixture;
#[cfg(test)]
mod shown_tests;

pub use app::{App, AppError, run};
pub use asyncapi::asyncapi;
pub use config::Config;
pub use cursor::{Cursor, InvalidCursor};
pub use since::Since;

/// The description of the API, as `/openapi.json` serves it.
pub fn openapi() -> utoipa::openapi::OpenApi {
    <routes::Api as utoipa::OpenApi>::openapi()
}
