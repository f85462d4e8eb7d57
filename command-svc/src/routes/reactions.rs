//! `/v1/posts/{id}/like` and `/v1/posts/{id}/repost`: both ways, as often as one likes.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::Data;
use model::ids::PostId;
use serde::Serialize;
use service::http::{Path, Problem};
use utoipa::ToSchema;

use super::documentation::{Failures, NoGoodToken, NotThere};
use super::problems::problem;
use super::request::Caller;
use commands::Commands;

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Liked {
    liked: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Reposted {
    reposted: bool,
}

/// Like a post
#[utoipa::path(
    put, path = "/v1/posts/{id}/like", tag = "posts", operation_id = "like",
    params(("id" = PostId, Path, description = "A repost's id means its original")),
    responses(
        (status = 200, description = "Liked, now or before", body = Liked, headers(("Consistency-Token" = String))),
        NoGoodToken, NotThere, Failures,
    ),
    security(("bearer" = [])),
)]
pub(super) async fn like(
    caller: Caller,
    Path(id): Path<PostId>,
    commands: Data<Commands>,
) -> Result<HttpResponse, Problem> {
    let done = commands.like(id, caller.cause()).await.map_err(problem)?;
    Ok(caller
        .sent
        .answer(StatusCode::OK, &commands, &done)
        .json(Liked { liked: true }))
}

/// Like a post no longer
#[utoipa::path(
    delete, path = "/v1/posts/{id}/like", tag = "posts", operation_id = "unlike",
    params(("id" = PostId, Path, description = "A repost's id means its original")),
    responses(
        (status = 200, description = "Not liked, now or ever", body = Liked, headers(("Consistency-Token" = String))),
        NoGoodToken, NotThere, Failures,
    ),
    security(("bearer" = [])),
)]
pub(super) async fn unlike(
    caller: Caller,
    Path(id): Path<PostId>,
    commands: Data<Commands>,
) -> Result<HttpResponse, Problem> {
    let done = commands.unlike(id, caller.cause()).await.map_err(problem)?;
    Ok(caller
        .sent
        .answer(StatusCode::OK, &commands, &done)
        .json(Liked { liked: false }))
}

/// Repost a post
///
/// Only public posts can be reposted. Each time it is made, a repost has a new id.
#[utoipa::path(
    put, path = "/v1/posts/{id}/repost", tag = "posts", operation_id = "repost",
    params(("id" = PostId, Path, description = "A repost's id means its original")),
    responses(
        (status = 200, description = "Reposted, now or before", body = Reposted, headers(("Consistency-Token" = String))),
        NoGoodToken,
        (status = 403, description = "It is for followers", body = Problem, content_type = "application/problem+json"),
        NotThere, Failures,
    ),
    security(("bearer" = [])),
)]
pub(super) async fn repost(
    caller: Caller,
    Path(id): Path<PostId>,
    commands: Data<Commands>,
) -> Result<HttpResponse, Problem> {
    let done = commands.repost(id, caller.cause()).await.map_err(problem)?;
    Ok(caller
        .sent
        .answer(StatusCode::OK, &commands, &done)
        .json(Reposted { reposted: true }))
}

/// Retract one's repost
#[utoipa::path(
    delete, path = "/v1/posts/{id}/repost", tag = "posts", operation_id = "unrepost",
    params(("id" = PostId, Path, description = "The post's, or a repost's of it")),
    responses(
        (status = 200, description = "Not reposted, now or ever", body = Reposted, headers(("Consistency-Token" = String))),
        NoGoodToken, NotThere, Failures,
    ),
    security(("bearer" = [])),
)]
pub(super) async fn unrepost(
    caller: Caller,
    Path(id): Path<PostId>,
    commands: Data<Commands>,
) -> Result<HttpResponse, Problem> {
    let done = commands.unrepost(id, caller.cause()).await.map_err(problem)?;
    Ok(caller
        .sent
        .answer(StatusCode::OK, &commands, &done)
        .json(Reposted { reposted: false }))
}
