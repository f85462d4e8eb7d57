//! `/v1/notifications`: mark them as read, and dismiss one. Both can be repeated.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::Data;
use commands::Commands;
use model::ids::EventId;
use serde::{Deserialize, Serialize};
use service::http::{Json, Path, Problem};
use utoipa::ToSchema;

use super::documentation::{Failures, NoGoodToken, NotThere};
use super::problems::problem;
use super::request::Caller;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReadRequest {
    /// The id of the newest notification that the caller has read.
    up_to: EventId,
}

/// How far the caller has read.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Read {
    up_to: EventId,
}

/// Mark notifications as read
///
/// All up to the one that is named, and that one too. The marker only rises: a lower one changes nothing, and the answer says where the marker
/// is. It rises at most once a second. An attempt before that is answered 429 with the type `marked-just-now`.
#[utoipa::path(
    put, path = "/v1/notifications/read", tag = "notifications", operation_id = "markNotificationsRead", security(("bearer" = [])),
    request_body = ReadRequest,
    responses(
        (status = 200, description = "Read up to here, by this request or an earlier one", body = Read, headers(("Consistency-Token" = String))),
        NoGoodToken, Failures,
    ),
)]
pub(super) async fn mark_read(
    caller: Caller,
    commands: Data<Commands>,
    Json(request): Json<ReadRequest>,
) -> Result<HttpResponse, Problem> {
    let done = commands
        .mark_notifications_read(request.up_to, caller.cause())
        .await
        .map_err(problem)?;
    let mut answer = caller.sent.answer(StatusCode::OK, &commands, &done);
    Ok(answer.json(Read { up_to: done.answer }))
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Dismissed {
    dismissed: bool,
}

/// Dismiss a notification
///
/// The caller does not see it any more, whatever happens with its cause. An id that no notification of the caller has is dismissed too:
/// another service knows which there are.
#[utoipa::path(
    delete, path = "/v1/notifications/{id}", tag = "notifications", operation_id = "dismissNotification", security(("bearer" = [])),
    params(("id" = EventId, Path)),
    responses(
        (status = 200, description = "Dismissed, by this request or an earlier one", body = Dismissed, headers(("Consistency-Token" = String))),
        NoGoodToken, NotThere, Failures,
    ),
)]
pub(super) async fn dismiss(
    caller: Caller,
    Path(id): Path<EventId>,
    commands: Data<Commands>,
) -> Result<HttpResponse, Problem> {
    let done = commands
        .dismiss_notification(id, caller.cause())
        .await
        .map_err(problem)?;
    let mut answer = caller.sent.answer(StatusCode::OK, &commands, &done);
    Ok(answer.json(Dismissed { dismissed: true }))
}
