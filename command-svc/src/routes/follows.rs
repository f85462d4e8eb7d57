//! Follow, ask to, and stop; answer a request, and remove a follower. All but the answers to a request can be repeated.

use actix_web::HttpResponse;
use actix_web::web::Data;
use commands::Commands;
use model::api::Relationship;
use model::ids::UserId;
use service::http::{Path, Problem};

use super::documentation::{Blocked, Failures, NoGoodToken, NoSuchRequest, NoSuchUser};
use super::problems::problem;
use super::relationships::relationship;
use super::request::Caller;

/// Follow a user, or ask to
///
/// A protected account is asked: then the answer says `requested`.
#[utoipa::path(
    put, path = "/v1/users/{id}/follow", tag = "users", operation_id = "follow", security(("bearer" = [])),
    params(("id" = UserId, Path)),
    responses(
        (status = 200, description = "How the two users are related now", body = Relationship, headers(("Consistency-Token" = String))),
        NoGoodToken, NoSuchUser, Blocked, Failures,
    ),
)]
pub(super) async fn follow(
    caller: Caller,
    Path(id): Path<UserId>,
    commands: Data<Commands>,
) -> Result<HttpResponse, Problem> {
    let done = commands.follow(id, caller.cause()).await.map_err(problem)?;
    Ok(relationship(&caller, id, &commands, &done))
}

/// Unfollow a user, or withdraw the request
#[utoipa::path(
    delete, path = "/v1/users/{id}/follow", tag = "users", operation_id = "unfollow", security(("bearer" = [])),
    params(("id" = UserId, Path)),
    responses(
        (status = 200, description = "How the two users are related now", body = Relationship, headers(("Consistency-Token" = String))),
        NoGoodToken, NoSuchUser, Failures,
    ),
)]
pub(super) async fn unfollow(
    caller: Caller,
    Path(id): Path<UserId>,
    commands: Data<Commands>,
) -> Result<HttpResponse, Problem> {
    let done = commands.unfollow(id, caller.cause()).await.map_err(problem)?;
    Ok(relationship(&caller, id, &commands, &done))
}

/// Accept a request to follow
///
/// It can be repeated while the user follows the caller.
#[utoipa::path(
    post, path = "/v1/follow-requests/{user}/accept", tag = "users", operation_id = "acceptFollow", security(("bearer" = [])),
    params(("user" = UserId, Path, description = "Who has asked to follow the caller")),
    responses(
        (status = 200, description = "How the two users are related now", body = Relationship, headers(("Consistency-Token" = String))),
        NoGoodToken, NoSuchRequest, Blocked, Failures,
    ),
)]
pub(super) async fn accept(
    caller: Caller,
    Path(id): Path<UserId>,
    commands: Data<Commands>,
) -> Result<HttpResponse, Problem> {
    let done = commands.accept_follow(id, caller.cause()).await.map_err(problem)?;
    Ok(relationship(&caller, id, &commands, &done))
}

/// Reject a request to follow
///
/// The user is not told.
#[utoipa::path(
    post, path = "/v1/follow-requests/{user}/reject", tag = "users", operation_id = "rejectFollow", security(("bearer" = [])),
    params(("user" = UserId, Path, description = "Who has asked to follow the caller")),
    responses(
        (status = 200, description = "How the two users are related now", body = Relationship, headers(("Consistency-Token" = String))),
        NoGoodToken, NoSuchRequest, Failures,
    ),
)]
pub(super) async fn reject(
    caller: Caller,
    Path(id): Path<UserId>,
    commands: Data<Commands>,
) -> Result<HttpResponse, Problem> {
    let done = commands.reject_follow(id, caller.cause()).await.map_err(problem)?;
    Ok(relationship(&caller, id, &commands, &done))
}

/// Remove a follower
///
/// It also ends a request of the user to follow the caller. The user is not told, and may follow again: a block prevents that.
#[utoipa::path(
    delete, path = "/v1/followers/{id}", tag = "users", operation_id = "removeFollower", security(("bearer" = [])),
    params(("id" = UserId, Path)),
    responses(
        (status = 200, description = "How the two users are related now", body = Relationship, headers(("Consistency-Token" = String))),
        NoGoodToken, NoSuchUser, Failures,
    ),
)]
pub(super) async fn remove(
    caller: Caller,
    Path(id): Path<UserId>,
    commands: Data<Commands>,
) -> Result<HttpResponse, Problem> {
    let done = commands.remove_follower(id, caller.cause()).await.map_err(problem)?;
    Ok(relationship(&caller, id, &commands, &done))
}
