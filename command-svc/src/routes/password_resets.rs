//! `/v1/users/password-resets`: another password for somebody who has forgotten theirs.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::Data;
use model::ids::UserId;
use model::values::Password;
use serde::Deserialize;
use service::http::{Json, Problem};
use utoipa::ToSchema;

use super::documentation::Failures;
use super::problems::problem;
use super::request::Sent;
use commands::{Cause, Commands};

/// What the operator has passed on, and the password to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ResetRequest {
    #[schema(example = "0f8fad5bd9cb469fa16570867728950e", max_length = 100)]
    code: String,
    #[schema(format = "password", min_length = 8, max_length = 256)]
    password: String,
}

/// Set a password by a one-time code
///
/// `microblog reset-password` makes the code. It ends all sessions, and gives none: log in next.
#[utoipa::path(
    post, path = "/v1/users/password-resets", tag = "users", operation_id = "resetPassword",
    request_body = ResetRequest,
    responses(
        (status = 204, description = "It is the password now", headers(("Consistency-Token" = String))),
        (status = 403, description = "The code was used, has run out, or was never made", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Others change the account at the same time", body = Problem, content_type = "application/problem+json"),
        Failures,
    ),
)]
pub(super) async fn reset(
    sent: Sent,
    commands: Data<Commands>,
    Json(request): Json<ResetRequest>,
) -> Result<HttpResponse, Problem> {
    let password = Password::parse(&request.password).map_err(|error| Problem::invalid_field("password", error))?;
    // Whose password it is, the code says.
    let unowned = sent.cause(UserId::from_bytes([0; 16]));
    let done = commands
        .reset_password(request.code, password, move |actor| Cause { actor, ..unowned })
        .await
        .map_err(problem)?;
    Ok(sent.answer(StatusCode::NO_CONTENT, &commands, &done).finish())
}
