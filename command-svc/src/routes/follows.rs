//! `/v1/users/{id}/follow`: follow and unfollow.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::Data;
use model::api::Relationship;
use model::ids::UserId;
use service::http::{Path, Problem};

use super::documentation::{Failures, NoGoodToken, NoSuchUser};
use super::problems::problem;
use super::request::Caller;
use commands::{Commands, Done, Standing};

/// Follow a user
#[utoipa::path(
    put, path = "/v1/users/{id}/follow", tag = "users", operation_id = "follow", security(("bearer" = [])),
    params(("id" = UserId, Path)),
    responses(
        (status = 200, description = "How the two users are related now", body = Relationship, headers(("Consistency-Token" = String))),
        NoGoodToken, NoSuchUser, Failures,
    ),
)]
pub(super) async fn follow(
    caller: Caller,
    Path(id): Path<UserId>,
    commands: Data<Commands>,
) -> Result<HttpResponse, Problem> {
    let done = commands.follow(id, caller.cause()).await.map_err(problem)?;
    Ok(standing(&caller, id, &commands, &done))
}

/// Unfollow a user
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
    Ok(standing(&caller, id, &commands, &done))
}

fn standing(caller: &Caller, id: UserId, commands: &Commands, done: &Done<Standing>) -> HttpResponse {
    let Standing { following, followed_by } = done.answer;
    caller.sent.answer(StatusCode::OK, commands, done).json(Relationship {
        following,
        followed_by,
        ..Relationship::none(id)
    })
}
