//! `/v1/users`: registering, changing and deleting oneself.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::web::Data;
use serde::Deserialize;
use shared::http::{Fields, IfMatch, Json, Problem, etag};
use shared::values::{Bio, DisplayName, Email, Handle, Password};
use shared::{api, events};
use utoipa::ToSchema;

use super::documentation::Failures;
use super::request::{Caller, Sent};
use crate::commands::{Changes, Commands, ExpectedVersions, Registration};

/// Who wants to be a user.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RegisterRequest {
    /// `[a-z0-9_]{1,30}`; capitals are taken as small letters. It never changes and is never given again.
    #[schema(example = "ada", min_length = 1, max_length = 30)]
    handle: String,
    #[schema(example = "ada@example.org", format = "email", max_length = 254)]
    email: String,
    #[schema(format = "password", min_length = 8, max_length = 256)]
    password: String,
    /// Where none is given, the handle is shown.
    #[schema(example = "Ada Lovelace", min_length = 1, max_length = 50)]
    display_name: Option<String>,
}

impl RegisterRequest {
    fn parse(self) -> Result<Registration, Problem> {
        let mut fields = Fields::default();
        let handle = fields.parse("handle", self.handle.as_str(), Handle::parse);
        let email = fields.parse("email", self.email.as_str(), Email::parse);
        let password = fields.parse("password", self.password.as_str(), Password::parse);
        let display_name = fields.parse_optional("display_name", self.display_name.as_deref(), DisplayName::parse);
        fields.finish()?;
        Ok(Registration {
            handle: Fields::take(handle)?,
            email: Fields::take(email)?,
            password: Fields::take(password)?,
            display_name,
        })
    }
}

/// Register a user
///
/// Needs no token, and gives none: log in next.
#[utoipa::path(
    post, path = "/v1/users", tag = "users", operation_id = "register",
    request_body = RegisterRequest,
    responses(
        (status = 201, description = "Registered", body = api::User, headers(
            ("Location" = String), ("ETag" = String), ("Consistency-Token" = String),
        )),
        (status = 409, description = "The handle or the e-mail address is taken", body = shared::http::Problem, content_type = "application/problem+json"),
        Failures,
    ),
)]
pub(super) async fn register(
    sent: Sent,
    commands: Data<Commands>,
    Json(request): Json<RegisterRequest>,
) -> Result<HttpResponse, Problem> {
    let registration = request.parse()?;
    // Nobody is logged in: the user to be is the one who acts.
    let unowned = sent.cause(shared::ids::UserId::from_bytes([0; 16]));
    let done = commands
        .register(registration, move |actor| crate::commands::Cause { actor, ..unowned })
        .await?;
    Ok(sent
        .answer(StatusCode::CREATED, &commands, &done)
        .insert_header((LOCATION, format!("/v1/users/{}", done.answer.state.id)))
        .insert_header(etag(done.answer.version))
        .json(user(done.answer.state)))
}

/// What is to be otherwise; what is not given stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangeRequest {
    #[schema(example = "Ada, Countess of Lovelace", min_length = 1, max_length = 50)]
    display_name: Option<String>,
    #[schema(example = "Notes on an engine.", max_length = 300)]
    bio: Option<String>,
    #[schema(example = "ada@example.net", format = "email", max_length = 254)]
    email: Option<String>,
    /// Ends all other sessions.
    #[schema(format = "password", min_length = 8, max_length = 256)]
    password: Option<String>,
}

impl ChangeRequest {
    fn parse(self) -> Result<Changes, Problem> {
        let mut fields = Fields::default();
        let changes = Changes {
            display_name: fields.parse_optional("display_name", self.display_name.as_deref(), DisplayName::parse),
            bio: fields.parse_optional("bio", self.bio.as_deref(), Bio::parse),
            email: fields.parse_optional("email", self.email.as_deref(), Email::parse),
            password: fields.parse_optional("password", self.password.as_deref(), Password::parse),
        };
        fields.finish()?;
        Ok(changes)
    }
}

/// Change oneself
///
/// A new password ends all other sessions; access tokens that are out are good for their remaining minutes.
#[utoipa::path(
    patch, path = "/v1/users/me", tag = "users", operation_id = "changeUser",
    params(("If-Match" = Option<String>, Header, description = "The `ETag` of what is to be changed")),
    request_body = ChangeRequest,
    responses(
        (status = 200, description = "As it is now", body = api::User, headers(
            ("ETag" = String), ("Consistency-Token" = String),
        )),
        (status = 401, description = "No good token, or its user is deleted", body = shared::http::Problem, content_type = "application/problem+json"),
        (status = 409, description = "The e-mail address is taken", body = shared::http::Problem, content_type = "application/problem+json"),
        (status = 412, description = "It has another version", body = shared::http::Problem, content_type = "application/problem+json"),
        Failures,
    ),
    security(("bearer" = [])),
)]
pub(super) async fn change(
    caller: Caller,
    if_match: IfMatch,
    commands: Data<Commands>,
    Json(request): Json<ChangeRequest>,
) -> Result<HttpResponse, Problem> {
    let changes = request.parse()?;
    let done = commands
        .change_user(caller.claims.sid, changes, ExpectedVersions(if_match.0), caller.cause())
        .await?;
    Ok(caller
        .sent
        .answer(StatusCode::OK, &commands, &done)
        .insert_header(etag(done.answer.version))
        .json(user(done.answer.state)))
}

/// Delete oneself
///
/// At once, all that was the user's is hidden and all sessions end; it is taken back one by one in the minutes after.
#[utoipa::path(
    delete, path = "/v1/users/me", tag = "users", operation_id = "deleteUser",
    params(("If-Match" = Option<String>, Header, description = "The `ETag` of what is to be deleted")),
    responses(
        (status = 204, description = "Deleted", headers(("Consistency-Token" = String))),
        (status = 401, description = "No good token, or its user is deleted", body = shared::http::Problem, content_type = "application/problem+json"),
        (status = 412, description = "It has another version", body = shared::http::Problem, content_type = "application/problem+json"),
        Failures,
    ),
    security(("bearer" = [])),
)]
pub(super) async fn delete(
    caller: Caller,
    if_match: IfMatch,
    commands: Data<Commands>,
) -> Result<HttpResponse, Problem> {
    let done = commands
        .delete_user(ExpectedVersions(if_match.0), caller.cause())
        .await?;
    Ok(caller.sent.answer(StatusCode::NO_CONTENT, &commands, &done).finish())
}

fn user(user: events::User) -> api::User {
    api::User {
        id: user.id,
        handle: user.handle.as_str().to_owned(),
        display_name: user.display_name.unwrap_or_default(),
        bio: user.bio.unwrap_or_default(),
        created_at: user.created_at,
        counts: None,
    }
}
