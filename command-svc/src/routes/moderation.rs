//! `/v1/posts/{id}/hide` and `/v1/users/{id}/suspension`: what moderators do, and take back. All of it can be repeated.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::Data;
use commands::{Commands, Done};
use model::ids::{PostId, UserId};
use serde::Serialize;
use service::http::{Path, Problem};
use utoipa::ToSchema;

use super::documentation::{Failures, ModeratorsOnly, NoGoodToken, NoSuchUser, NotThere};
use super::problems::problem;
use super::request::Caller;

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Hidden {
    hidden: bool,
}

/// Hide a post
///
/// From now on, only its author sees it, and sees that it is hidden. An edit changes nothing in that. Only an admin can hide a post of a
/// moderator or an admin.
#[utoipa::path(
    put, path = "/v1/posts/{id}/hide", tag = "moderation", operation_id = "hidePost", security(("bearer" = [])),
    params(("id" = PostId, Path, description = "The id of a repost means its original")),
    responses(
        (status = 200, description = "Hidden, by this request or an earlier one", body = Hidden, headers(("Consistency-Token" = String))),
        NoGoodToken, ModeratorsOnly, NotThere, Failures,
    ),
)]
pub(super) async fn hide(
    caller: Caller,
    Path(id): Path<PostId>,
    commands: Data<Commands>,
) -> Result<HttpResponse, Problem> {
    let done = commands.set_hidden(id, true, caller.cause()).await.map_err(problem)?;
    Ok(answer(&caller, &commands, &done).json(Hidden { hidden: true }))
}

/// Show a hidden post again
#[utoipa::path(
    delete, path = "/v1/posts/{id}/hide", tag = "moderation", operation_id = "unhidePost", security(("bearer" = [])),
    params(("id" = PostId, Path, description = "The id of a repost means its original")),
    responses(
        (status = 200, description = "Not hidden any more, or never hidden", body = Hidden, headers(("Consistency-Token" = String))),
        NoGoodToken, ModeratorsOnly, NotThere, Failures,
    ),
)]
pub(super) async fn unhide(
    caller: Caller,
    Path(id): Path<PostId>,
    commands: Data<Commands>,
) -> Result<HttpResponse, Problem> {
    let done = commands.set_hidden(id, false, caller.cause()).await.map_err(problem)?;
    Ok(answer(&caller, &commands, &done).json(Hidden { hidden: false }))
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Suspension {
    suspended: bool,
}

/// Suspend a user
///
/// From now on, nobody else sees the user's posts, and the profile shows name and handle only. The user writes nothing: every command that
/// would is answered 403 with the type `suspended`. The user can still log in and out, read, set another password, and delete the account.
/// Only an admin can suspend a moderator or an admin.
#[utoipa::path(
    put, path = "/v1/users/{id}/suspension", tag = "moderation", operation_id = "suspendUser", security(("bearer" = [])),
    params(("id" = UserId, Path)),
    responses(
        (status = 200, description = "Suspended, by this request or an earlier one", body = Suspension, headers(("Consistency-Token" = String))),
        NoGoodToken, ModeratorsOnly, NoSuchUser, Failures,
    ),
)]
pub(super) async fn suspend(
    caller: Caller,
    Path(id): Path<UserId>,
    commands: Data<Commands>,
) -> Result<HttpResponse, Problem> {
    let done = commands
        .set_suspension(id, true, caller.cause())
        .await
        .map_err(problem)?;
    Ok(answer(&caller, &commands, &done).json(Suspension { suspended: true }))
}

/// Restore a suspended user
#[utoipa::path(
    delete, path = "/v1/users/{id}/suspension", tag = "moderation", operation_id = "restoreUser", security(("bearer" = [])),
    params(("id" = UserId, Path)),
    responses(
        (status = 200, description = "Not suspended any more, or never suspended", body = Suspension, headers(("Consistency-Token" = String))),
        NoGoodToken, ModeratorsOnly, NoSuchUser, Failures,
    ),
)]
pub(super) async fn restore(
    caller: Caller,
    Path(id): Path<UserId>,
    commands: Data<Commands>,
) -> Result<HttpResponse, Problem> {
    let done = commands
        .set_suspension(id, false, caller.cause())
        .await
        .map_err(problem)?;
    Ok(answer(&caller, &commands, &done).json(Suspension { suspended: false }))
}

fn answer(caller: &Caller, commands: &Commands, done: &Done<()>) -> actix_web::HttpResponseBuilder {
    caller.sent.answer(StatusCode::OK, commands, done)
}
