//! `/v1/posts/{id}/bookmark`: set and remove a bookmark. Both can be repeated.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::Data;
use commands::Commands;
use model::ids::PostId;
use serde::Serialize;
use service::http::{Path, Problem};
use utoipa::ToSchema;

use super::documentation::{Failures, NoGoodToken, NotThere};
use super::problems::problem;
use super::request::Caller;

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Bookmarked {
    bookmarked: bool,
}

/// Bookmark a post
///
/// Only the caller can see the bookmark, in `GET /v1/bookmarks`.
#[utoipa::path(
    put, path = "/v1/posts/{id}/bookmark", tag = "posts", operation_id = "bookmark", security(("bearer" = [])),
    params(("id" = PostId, Path, description = "The id of a repost means its original")),
    responses(
        (status = 200, description = "Bookmarked, by this request or an earlier one", body = Bookmarked, headers(("Consistency-Token" = String))),
        NoGoodToken, NotThere, Failures,
    ),
)]
pub(super) async fn bookmark(
    caller: Caller,
    Path(id): Path<PostId>,
    commands: Data<Commands>,
) -> Result<HttpResponse, Problem> {
    let done = commands.bookmark(id, caller.cause()).await.map_err(problem)?;
    let mut answer = caller.sent.answer(StatusCode::OK, &commands, &done);
    Ok(answer.json(Bookmarked { bookmarked: true }))
}

/// Remove a bookmark
#[utoipa::path(
    delete, path = "/v1/posts/{id}/bookmark", tag = "posts", operation_id = "unbookmark", security(("bearer" = [])),
    params(("id" = PostId, Path, description = "The id of a repost means its original")),
    responses(
        (status = 200, description = "Not bookmarked any more, or never bookmarked", body = Bookmarked, headers(("Consistency-Token" = String))),
        NoGoodToken, NotThere, Failures,
    ),
)]
pub(super) async fn unbookmark(
    caller: Caller,
    Path(id): Path<PostId>,
    commands: Data<Commands>,
) -> Result<HttpResponse, Problem> {
    let done = commands.unbookmark(id, caller.cause()).await.map_err(problem)?;
    let mut answer = caller.sent.answer(StatusCode::OK, &commands, &done);
    Ok(answer.json(Bookmarked { bookmarked: false }))
}
