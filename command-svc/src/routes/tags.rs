//! `/v1/tags/{tag}/follow`: follow a tag, and stop following it. Both can be repeated.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::Data;
use model::api;
use model::tags::Tag;
use service::http::{Path, Problem};

use super::documentation::{Failures, NoGoodToken};
use super::problems::problem;
use super::request::Caller;
use commands::{Commands, Done, TagStanding};

/// Follow a tag
///
/// Public posts with the tag are in the caller's home timeline from now on, older ones too. Only the caller sees that, in `GET /v1/tags/followed`.
#[utoipa::path(
    put, path = "/v1/tags/{tag}/follow", tag = "tags", operation_id = "followTag", security(("bearer" = [])),
    params(("tag" = String, Path, description = "Without the `#`. Capitals and the width of letters make no difference", example = "Rust")),
    responses(
        (status = 200, description = "Followed, by this request or an earlier one", body = api::Tag, headers(("Consistency-Token" = String))),
        NoGoodToken, Failures,
    ),
)]
pub(super) async fn follow(
    caller: Caller,
    Path(tag): Path<Tag>,
    commands: Data<Commands>,
) -> Result<HttpResponse, Problem> {
    let done = commands.follow_tag(tag, caller.cause()).await.map_err(problem)?;
    Ok(standing(&caller, &commands, done))
}

/// Unfollow a tag
#[utoipa::path(
    delete, path = "/v1/tags/{tag}/follow", tag = "tags", operation_id = "unfollowTag", security(("bearer" = [])),
    params(("tag" = String, Path, description = "Without the `#`. Capitals and the width of letters make no difference", example = "Rust")),
    responses(
        (status = 200, description = "Not followed any more, or never followed", body = api::Tag, headers(("Consistency-Token" = String))),
        NoGoodToken, Failures,
    ),
)]
pub(super) async fn unfollow(
    caller: Caller,
    Path(tag): Path<Tag>,
    commands: Data<Commands>,
) -> Result<HttpResponse, Problem> {
    let done = commands.unfollow_tag(tag, caller.cause()).await.map_err(problem)?;
    Ok(standing(&caller, &commands, done))
}

fn standing(caller: &Caller, commands: &Commands, done: Done<TagStanding>) -> HttpResponse {
    let mut answer = caller.sent.answer(StatusCode::OK, commands, &done);
    let TagStanding { name, following } = done.answer;
    answer.json(api::Tag {
        name,
        following: Some(following),
    })
}
