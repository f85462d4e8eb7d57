//! `/v1/posts/{id}/pin`: pin and unpin a post. Both can be repeated.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::Data;
use commands::Commands;
use model::ids::PostId;
use serde::Serialize;
use service::http::{Path, Problem};
use utoipa::ToSchema;

use super::documentation::{Failures, NoGoodToken, NotTheAuthor, NotThere};
use super::problems::problem;
use super::request::Caller;

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Pinned {
    pinned: bool,
}

/// Pin a post
///
/// It comes first among the caller's posts, before those that were pinned earlier. A user can pin at most 5 posts of their own; deleted ones
/// don't count. Who sees a post does not change.
#[utoipa::path(
    put, path = "/v1/posts/{id}/pin", tag = "posts", operation_id = "pin", security(("bearer" = [])),
    params(("id" = PostId, Path, description = "A repost can't be pinned")),
    responses(
        (status = 200, description = "Pinned, by this request or an earlier one", body = Pinned, headers(("Consistency-Token" = String))),
        NoGoodToken, NotTheAuthor, NotThere, Failures,
    ),
)]
pub(super) async fn pin(
    caller: Caller,
    Path(id): Path<PostId>,
    commands: Data<Commands>,
) -> Result<HttpResponse, Problem> {
    let done = commands.pin(id, caller.cause()).await.map_err(problem)?;
    let mut answer = caller.sent.answer(StatusCode::OK, &commands, &done);
    Ok(answer.json(Pinned { pinned: true }))
}

/// Unpin a post
#[utoipa::path(
    delete, path = "/v1/posts/{id}/pin", tag = "posts", operation_id = "unpin", security(("bearer" = [])),
    params(("id" = PostId, Path)),
    responses(
        (status = 200, description = "Not pinned any more, or never pinned", body = Pinned, headers(("Consistency-Token" = String))),
        NoGoodToken, NotThere, Failures,
    ),
)]
pub(super) async fn unpin(
    caller: Caller,
    Path(id): Path<PostId>,
    commands: Data<Commands>,
) -> Result<HttpResponse, Problem> {
    let done = commands.unpin(id, caller.cause()).await.map_err(problem)?;
    let mut answer = caller.sent.answer(StatusCode::OK, &commands, &done);
    Ok(answer.json(Pinned { pinned: false }))
}
