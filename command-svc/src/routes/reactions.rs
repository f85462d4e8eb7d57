//! `/v1/posts/{id}/like` and `/v1/posts/{id}/repost`: set a reaction and take it back. Both can be repeated.

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
    put, path = "/v1/posts/{id}/like", tag = "posts", operation_id = "like", security(("bearer" = [])),
    params(("id" = PostId, Path, description = "The id of a repost means its original")),
    responses(
        (status = 200, description = "Liked, by this request or an earlier one", body = Liked, headers(("Consistency-Token" = String))),
        NoGoodToken, NotThere, Failures,
    ),
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

/// Take a like back
#[utoipa::path(
    delete, path = "/v1/posts/{id}/like", tag = "posts", operation_id = "unlike", security(("bearer" = [])),
    params(("id" = PostId, Path, description = "The id of a repost means its original")),
    responses(
        (status = 200, description = "Not liked any more, or never liked", body = Liked, headers(("Consistency-Token" = String))),
        NoGoodToken, NotThere, Failures,
    ),
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
/// Only public and unlisted posts can be reposted. A repost has a new id each time.
#[utoipa::path(
    put, path = "/v1/posts/{id}/repost", tag = "posts", operation_id = "repost", security(("bearer" = [])),
    params(("id" = PostId, Path, description = "The id of a repost means its original")),
    responses(
        (status = 200, description = "Reposted, by this request or an earlier one", body = Reposted, headers(("Consistency-Token" = String))),
        NoGoodToken,
        (status = 403, description = "Not everybody may see the post, or the caller's account is suspended", body = Problem, content_type = "application/problem+json"),
        NotThere, Failures,
    ),
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

/// Retract a repost
#[utoipa::path(
    delete, path = "/v1/posts/{id}/repost", tag = "posts", operation_id = "unrepost", security(("bearer" = [])),
    params(("id" = PostId, Path, description = "The id of the post, or of a repost of it")),
    responses(
        (status = 200, description = "Not reposted any more, or never reposted", body = Reposted, headers(("Consistency-Token" = String))),
        NoGoodToken, NotThere, Failures,
    ),
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
