//! `/v1/users/me`: what only its owner may do with an account.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::Data;
use model::api;
use model::values::{Bio, DisplayName, Email, Password};
use serde::{Deserialize, Serialize};
use service::http::{Authenticated, Class, Fields, IfMatch, Json, Key, Limits, Problem, etag};
use utoipa::ToSchema;

use super::documentation::{Failures, OtherVersion, Reads, SessionEnded, WrongPassword};
use super::problems::problem;
use super::request::Caller;
use super::users::user;
use commands::{Changes, Commands, ExpectedVersions};

/// Oneself.
#[derive(Serialize, ToSchema)]
pub(super) struct Me {
    #[serde(flatten)]
    user: api::User,
    /// Nobody else is shown it.
    #[schema(example = "ada@example.org")]
    email: String,
}

/// Look at oneself
///
/// Needs a session that lives. What a command has changed is there at once; the counts are query-svc's.
#[utoipa::path(
    get, path = "/v1/users/me", tag = "users", operation_id = "me",
    responses(
        (status = 200, description = "As it is now", body = Me, headers(("ETag" = String))),
        SessionEnded, Reads,
    ),
    security(("bearer" = [])),
)]
pub(super) async fn show(caller: Authenticated, commands: Data<Commands>) -> Result<HttpResponse, Problem> {
    let (known, email) = commands.account(caller.sub, caller.sid).await.map_err(problem)?;
    Ok(HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header(etag(known.version))
        .json(Me {
            user: user(known.state),
            email,
        }))
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
    /// Needed for another e-mail address or password.
    #[schema(format = "password")]
    current_password: Option<String>,
}

impl ChangeRequest {
    fn parse(&self) -> Result<Changes, Problem> {
        let mut fields = Fields::default();
        let changes = Changes {
            display_name: fields.parse_optional("display_name", self.display_name.as_deref(), DisplayName::parse),
            bio: fields.parse_optional("bio", self.bio.as_deref(), Bio::parse),
            email: fields.parse_optional("email", self.email.as_deref(), Email::parse),
            password: fields.parse_optional("password", self.password.as_deref(), Password::parse),
        };
        if (self.email.is_some() || self.password.is_some()) && self.current_password.is_none() {
            fields.refuse(
                "current_password",
                "is missing: it is needed for another e-mail address or password",
            );
        }
        fields.finish()?;
        Ok(changes)
    }
}

/// Change oneself
///
/// Needs a session that lives, and for another e-mail address or password the current password. A new password ends all other
/// sessions; access tokens that are out are good for their remaining minutes, but not for this.
#[utoipa::path(
    patch, path = "/v1/users/me", tag = "users", operation_id = "changeUser",
    params(("If-Match" = Option<String>, Header, description = "The `ETag` of what is to be changed")),
    request_body = ChangeRequest,
    responses(
        (status = 200, description = "As it is now", body = api::User, headers(
            ("ETag" = String), ("Consistency-Token" = String),
        )),
        SessionEnded, WrongPassword,
        (status = 409, description = "The e-mail address is taken", body = Problem, content_type = "application/problem+json"),
        OtherVersion, Failures,
    ),
    security(("bearer" = [])),
)]
pub(super) async fn change(
    caller: Caller,
    limits: Limits,
    if_match: IfMatch,
    commands: Data<Commands>,
    Json(request): Json<ChangeRequest>,
) -> Result<HttpResponse, Problem> {
    let changes = request.parse()?;
    let current = match &request.current_password {
        Some(current) if changes.need_password() => current_password(&caller, &limits, current)?,
        _ => None,
    };
    let if_match = ExpectedVersions(if_match.0);
    let done = commands
        .change_user(
            caller.claims.sid,
            current,
            limits.address(),
            changes,
            if_match,
            caller.cause(),
        )
        .await
        .map_err(problem)?;
    Ok(caller
        .sent
        .answer(StatusCode::OK, &commands, &done)
        .insert_header(etag(done.answer.version))
        .json(user(done.answer.state)))
}

/// Who wants to be deleted.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DeleteRequest {
    #[schema(format = "password")]
    current_password: String,
}

/// Delete oneself
///
/// Needs a session that lives, and the current password. At once, all that was the user's is hidden and all sessions end; it is taken back one by one in the minutes after.
#[utoipa::path(
    delete, path = "/v1/users/me", tag = "users", operation_id = "deleteUser",
    params(("If-Match" = Option<String>, Header, description = "The `ETag` of what is to be deleted")),
    request_body = DeleteRequest,
    responses(
        (status = 204, description = "Deleted", headers(("Consistency-Token" = String))),
        SessionEnded, WrongPassword,
        (status = 409, description = "Others change the account at the same time", body = Problem, content_type = "application/problem+json"),
        OtherVersion, Failures,
    ),
    security(("bearer" = [])),
)]
pub(super) async fn delete(
    caller: Caller,
    limits: Limits,
    if_match: IfMatch,
    commands: Data<Commands>,
    Json(request): Json<DeleteRequest>,
) -> Result<HttpResponse, Problem> {
    let current = current_password(&caller, &limits, &request.current_password)?;
    let if_match = ExpectedVersions(if_match.0);
    let done = commands
        .delete_user(caller.claims.sid, current, if_match, caller.cause())
        .await
        .map_err(problem)?;
    Ok(caller.sent.answer(StatusCode::NO_CONTENT, &commands, &done).finish())
}

/// Counted like a login: by address, and by session, as `origins.rs` argues. None where what was sent can be nobody's password.
fn current_password(caller: &Caller, limits: &Limits, sent: &str) -> Result<Option<Password>, Problem> {
    limits.check(Class::Login, Key::Address(limits.address()))?;
    limits.check(Class::Account, Key::Name(format!("session:{}", caller.claims.sid)))?;
    Ok(Password::parse(sent).ok())
}
