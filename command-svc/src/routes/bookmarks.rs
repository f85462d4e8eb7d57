//! `/v1/posts/{id}/bookmark`: both ways, as often as one likes.

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
/// Only the caller sees it, in `GET /v1/bookmarks`.
#[utoipa::path(
    put, path = "/v1/posts/{id}/bookmark", tag = "posts", operation_id = "bookmark", security(("bearer" = [])),
    params(("id" = PostId, Path, description = "A repost's id means its original")),
    responses(
        (status = 200, description = "Bookmarked, now or before", body = Bookmarked, headers(("Consistency-Token" = String))),
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

/// Bookmark a post no longer
#[utoipa::path(
    delete, path = "/v1/posts/{id}/bookmark", tag = "posts", operation_id = "unbookmark", security(("bearer" = [])),
    params(("id" = PostId, Path, description = "A repost's id means its original")),
    responses(
        (status = 200, description = "Not bookmarked, now or ever", body = Bookmarked, headers(("Consistency-Token" = String))),
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
