//! `/v1/users`: registration.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::web::Data;
use model::api;
use model::events;
use model::values::{DisplayName, Email, Handle, Password};
use serde::Deserialize;
use service::http::{Fields, Json, Problem, etag};
use utoipa::ToSchema;

use super::documentation::Failures;
use super::problems::problem;
use super::request::Sent;
use commands::{Commands, Registration};

/// The data of a new user.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RegisterRequest {
    /// `[a-z0-9_]{1,30}`. Capitals become lower-case letters. It never changes and is never given again.
    #[schema(example = "ada", min_length = 1, max_length = 30)]
    handle: String,
    #[schema(example = "ada@example.org", format = "email", max_length = 254)]
    email: String,
    #[schema(format = "password", min_length = 8, max_length = 256)]
    password: String,
    /// If none is given, the handle is shown.
    #[schema(example = "Ada Lovelace", min_length = 1, max_length = 50)]
    display_name: Option<String>,
    /// The code of an invitation, if one is needed. It is valid once.
    #[schema(example = "0f8fad5bd9cb469fa16570867728950e", max_length = 100)]
    invite: Option<String>,
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
            invite: self.invite,
        })
    }
}

/// Register a user
///
/// Needs no token, and returns none: log in afterwards.
#[utoipa::path(
    post, path = "/v1/users", tag = "users", operation_id = "register",
    request_body = RegisterRequest,
    responses(
        (status = 201, description = "Registered", body = api::User, headers(("Location" = String), ("ETag" = String), ("Consistency-Token" = String))),
        (status = 403, description = "Registration is closed, or the invitation is not valid", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The handle or the e-mail address is taken", body = Problem, content_type = "application/problem+json"),
        Failures,
    ),
)]
pub(super) async fn register(
    sent: Sent,
    commands: Data<Commands>,
    Json(request): Json<RegisterRequest>,
) -> Result<HttpResponse, Problem> {
    let registration = request.parse()?;
    // Nobody is logged in. The new user becomes the actor.
    let unowned = sent.cause(model::ids::UserId::from_bytes([0; 16]));
    let done = commands
        .register(registration, move |actor| commands::Cause { actor, ..unowned })
        .await
        .map_err(problem)?;
    Ok(sent
        .answer(StatusCode::CREATED, &commands, &done)
        .insert_header((LOCATION, format!("/v1/users/{}", done.answer.state.id)))
        .insert_header(etag(done.answer.version))
        .json(user(done.answer.state)))
}

pub(super) fn user(user: events::User) -> api::User {
    let suspended = user.is_suspended();
    api::User {
        id: user.id,
        handle: user.handle.as_str().to_owned(),
        display_name: user.display_name.unwrap_or_default(),
        bio: user.bio.unwrap_or_default(),
        protected: user.protected,
        fields: user.fields,
        avatar: None,
        created_at: user.created_at,
        suspended,
        counts: None,
    }
}
