//! `/v1/posts/{id}/quotes/{quote}`: a quoted author takes a post out of the post that quotes it.

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
pub(super) struct Detached {
    detached: bool,
}

/// Detach a quote
///
/// The post `quote` stays. It no longer shows the caller's post `id` to anybody, and the caller can't take that back. The request can be repeated.
#[utoipa::path(
    delete, path = "/v1/posts/{id}/quotes/{quote}", tag = "posts", operation_id = "detachQuote", security(("bearer" = [])),
    params(("id" = PostId, Path, description = "The quoted post"), ("quote" = PostId, Path, description = "The post that quotes it")),
    responses(
        (status = 200, description = "Detached, by this request or an earlier one", body = Detached, headers(("Consistency-Token" = String))),
        NoGoodToken, NotThere, Failures,
    ),
)]
pub(super) async fn detach(
    caller: Caller,
    Path(id): Path<PostId>,
    Path(quote): Path<PostId, 1>,
    commands: Data<Commands>,
) -> Result<HttpResponse, Problem> {
    let done = commands
        .detach_quote(id, quote, caller.cause())
        .await
        .map_err(problem)?;
    let mut answer = caller.sent.answer(StatusCode::OK, &commands, &done);
    Ok(answer.json(Detached { detached: true }))
}
