//! `/v1/users/{id}/block`: block and unblock. Both can be repeated.

use actix_web::HttpResponse;
use actix_web::web::Data;
use commands::Commands;
use model::api::Relationship;
use model::ids::UserId;
use service::http::{Path, Problem};

use super::documentation::{Failures, NoGoodToken, NoSuchUser};
use super::problems::problem;
use super::relationships::relationship;
use super::request::Caller;

/// Block a user
///
/// Neither of the two sees the other's posts any more, or can follow the other. Follows and requests between them end.
#[utoipa::path(
    put, path = "/v1/users/{id}/block", tag = "users", operation_id = "block", security(("bearer" = [])),
    params(("id" = UserId, Path)),
    responses(
        (status = 200, description = "How the two users are related now", body = Relationship, headers(("Consistency-Token" = String))),
        NoGoodToken, NoSuchUser, Failures,
    ),
)]
pub(super) async fn block(
    caller: Caller,
    Path(id): Path<UserId>,
    commands: Data<Commands>,
) -> Result<HttpResponse, Problem> {
    let done = commands.block(id, caller.cause()).await.map_err(problem)?;
    Ok(relationship(&caller, id, &commands, &done))
}

/// Unblock a user
///
/// The follows that the block has ended stay ended.
#[utoipa::path(
    delete, path = "/v1/users/{id}/block", tag = "users", operation_id = "unblock", security(("bearer" = [])),
    params(("id" = UserId, Path)),
    responses(
        (status = 200, description = "How the two users are related now", body = Relationship, headers(("Consistency-Token" = String))),
        NoGoodToken, NoSuchUser, Failures,
    ),
)]
pub(super) async fn unblock(
    caller: Caller,
    Path(id): Path<UserId>,
    commands: Data<Commands>,
) -> Result<HttpResponse, Problem> {
    let done = commands.unblock(id, caller.cause()).await.map_err(problem)?;
    Ok(relationship(&caller, id, &commands, &done))
}
