//! `/v1/users/password-resets`: a new password for somebody who has forgotten theirs.

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

/// The code from the operator, and the new password.
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
/// `microblog reset-password` makes the code. The request ends all sessions and begins none, so log in afterwards.
#[utoipa::path(
    post, path = "/v1/users/password-resets", tag = "users", operation_id = "resetPassword",
    request_body = ResetRequest,
    responses(
        (status = 204, description = "The new password is set", headers(("Consistency-Token" = String))),
        (status = 403, description = "The code was used, has expired, or was never issued", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Other requests are changing the account", body = Problem, content_type = "application/problem+json"),
        Failures,
    ),
)]
pub(super) async fn reset(
    sent: Sent,
    commands: Data<Commands>,
    Json(request): Json<ResetRequest>,
) -> Result<HttpResponse, Problem> {
    let password = Password::parse(&request.password).map_err(|error| Problem::invalid_field("password", error))?;
    // The code says whose password it is.
    let unowned = sent.cause(UserId::from_bytes([0; 16]));
    let done = commands
        .reset_password(request.code, password, move |actor| Cause { actor, ..unowned })
        .await
        .map_err(problem)?;
    Ok(sent.answer(StatusCode::NO_CONTENT, &commands, &done).finish())
}
