//! `/v1/sessions`: log in, stay logged in, log out.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::Data;
use chrono::{DateTime, Utc};
use model::ids::SessionId;
use model::values::{Email, Handle, Password};
use serde::{Deserialize, Serialize};
use service::http::{Authenticated, Class, Json, Key, Limits, Path, Problem};
use utoipa::ToSchema;

use super::documentation::{Failures, NotLoggedIn, Reads, SessionEnded};
use super::problems::problem;
use super::request::Device;
use commands::{Attempt, CommandError, Commands, Identifier, Login, Refusal, SessionInfo};

/// The handle or the e-mail address, and the password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LoginRequest {
    #[schema(example = "ada")]
    handle: Option<String>,
    /// Instead of the handle.
    #[schema(example = "ada@example.org")]
    email: Option<String>,
    #[schema(format = "password")]
    password: String,
    /// Of a confidential client (`auth.client_secret`): a server that keeps the refresh token where nobody else can read it. The token of this
    /// session stays valid when it is used, and only together with the secret.
    client_secret: Option<String>,
}

impl LoginRequest {
    /// None if the text that was sent can't be a handle or an address. Then the login fails like any other. So a counted name is never
    /// longer than a name can be.
    fn identifier(&self) -> Result<Option<Identifier>, Problem> {
        match (&self.handle, &self.email) {
            (Some(handle), None) => Ok(Handle::parse(handle).ok().map(Identifier::Handle)),
            (None, Some(email)) => Ok(Email::to_look_up(email).map(Identifier::Email)),
            (None, None) => Err(Problem::invalid_field("handle", "is missing, and so is `email`")),
            (Some(_), Some(_)) => Err(Problem::invalid_field("email", "must not be given beside `handle`")),
        }
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RefreshRequest {
    refresh_token: String,
    /// Needed for a session that began with it.
    client_secret: Option<String>,
}

/// An access token, and the refresh token for the next one.
#[derive(Serialize, ToSchema)]
pub(super) struct Tokens {
    access_token: String,
    /// Always `Bearer`.
    #[schema(example = "Bearer")]
    token_type: &'static str,
    /// How long the access token is valid, in seconds.
    #[schema(example = 900)]
    expires_in: u64,
    /// Valid for one use, unless a confidential client has it.
    refresh_token: String,
}

/// Log in
#[utoipa::path(
    post, path = "/v1/sessions", tag = "sessions", operation_id = "logIn",
    request_body = LoginRequest,
    responses(
        (status = 201, description = "A session begins", body = Tokens),
        (status = 401, description = "The handle, e-mail address or password is wrong", body = Problem, content_type = "application/problem+json"),
        Failures,
    ),
)]
pub(super) async fn log_in(
    limits: Limits,
    device: Device,
    commands: Data<Commands>,
    Json(request): Json<LoginRequest>,
) -> Result<HttpResponse, Problem> {
    let identifier = request.identifier()?;
    let attempt = Attempt {
        address: limits.address(),
        device: device.0,
        confidential: is_client(&commands, request.client_secret.as_deref())?,
        allowance: match &identifier {
            Some(identifier) => limits.take(Class::Account, Key::Name(identifier.to_string())),
            None => Ok(()),
        },
    };
    let password = Password::parse(&request.password).ok();
    match commands.log_in(identifier, password, attempt).await {
        Ok(login) => Ok(tokens(StatusCode::CREATED, login)),
        Err(CommandError::Refused(Refusal::TooOften(wait))) => Err(limits.refuse(Class::Account, wait)),
        Err(error) => Err(problem(error)),
    }
}

/// Refresh a session
///
/// A refresh token is valid for one use. A client that repeats the last one within a minute, because the answer was lost, gets the same
/// successor. Any other second use ends the session. A session that began with a `client_secret` keeps its refresh token.
#[utoipa::path(
    post, path = "/v1/sessions/refresh", tag = "sessions", operation_id = "refresh",
    request_body = RefreshRequest,
    responses(
        (status = 200, description = "The session continues", body = Tokens),
        (status = 401, description = "The refresh token is not valid, or no longer valid", body = Problem, content_type = "application/problem+json"),
        Failures,
    ),
)]
pub(super) async fn refresh(
    limits: Limits,
    commands: Data<Commands>,
    Json(request): Json<RefreshRequest>,
) -> Result<HttpResponse, Problem> {
    match commands.session_of(&request.refresh_token) {
        Some(session) => limits.check(Class::Refresh, Key::Name(session.to_string())),
        None => limits.check(Class::Login, Key::Address(limits.address())),
    }?;
    let by_client = is_client(&commands, request.client_secret.as_deref())?;
    Ok(tokens(
        StatusCode::OK,
        commands
            .refresh(request.refresh_token, by_client)
            .await
            .map_err(problem)?,
    ))
}

/// # Errors
///
/// 422 if the secret is a wrong one.
fn is_client(commands: &Commands, secret: Option<&str>) -> Result<bool, Problem> {
    match secret {
        None => Ok(false),
        Some(secret) if commands.is_client(secret) => Ok(true),
        Some(_) => Err(Problem::invalid_field(
            "client_secret",
            "is not that of a client of this service",
        )),
    }
}

/// Log out
///
/// Ends the session of the token. Its refresh token is no longer valid. The access token stays valid for its remaining minutes.
#[utoipa::path(
    delete, path = "/v1/sessions/current", tag = "sessions", operation_id = "logOut", security(("bearer" = [])),
    responses(
        (status = 204, description = "The session is over"),
        NotLoggedIn, Failures,
    ),
)]
pub(super) async fn log_out(caller: Authenticated, commands: Data<Commands>) -> Result<HttpResponse, Problem> {
    commands.log_out(caller.sid).await.map_err(problem)?;
    Ok(HttpResponse::NoContent().finish())
}

/// A session, as its owner sees it.
#[derive(Serialize, ToSchema)]
pub(super) struct SessionShown {
    id: SessionId,
    /// The name that the device gave at the login (`User-Agent`), if any.
    #[schema(example = "curl/8.14.1")]
    device: Option<String>,
    created_at: DateTime<Utc>,
    /// The time of the login, or of the last refresh.
    last_used_at: DateTime<Utc>,
    /// Whether it is the session of this request.
    current: bool,
}

/// The sessions of the caller, the last used first, at most 100.
#[derive(Serialize, ToSchema)]
pub(super) struct SessionList {
    items: Vec<SessionShown>,
}

/// List the caller's sessions
///
/// Needs a live session. A user has at most 100 sessions. Another login ends the session that was used longest ago.
#[utoipa::path(
    get, path = "/v1/sessions", tag = "sessions", operation_id = "sessions", security(("bearer" = [])),
    responses(
        (status = 200, description = "The sessions", body = SessionList),
        SessionEnded, Reads,
    ),
)]
pub(super) async fn list(caller: Authenticated, commands: Data<Commands>) -> Result<HttpResponse, Problem> {
    let sessions = commands.sessions(caller.sub, caller.sid).await.map_err(problem)?;
    let shown = |session: SessionInfo| SessionShown {
        current: session.id == caller.sid,
        id: session.id,
        device: session.device,
        created_at: session.created_at,
        last_used_at: session.last_used_at,
    };
    Ok(HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(SessionList {
            items: sessions.into_iter().map(shown).collect(),
        }))
}

/// End one of the caller's sessions
///
/// Needs a live session. The refresh token of the other session is no longer valid. Its access token stays valid for its remaining minutes,
/// but not for the account or its sessions.
#[utoipa::path(
    delete, path = "/v1/sessions/{id}", tag = "sessions", operation_id = "endSession", security(("bearer" = [])),
    params(("id" = SessionId, Path)),
    responses(
        (status = 204, description = "The session is over"),
        SessionEnded,
        (status = 404, description = "The caller has no such session", body = Problem, content_type = "application/problem+json"),
        Failures,
    ),
)]
pub(super) async fn end(
    caller: Authenticated,
    Path(id): Path<SessionId>,
    commands: Data<Commands>,
) -> Result<HttpResponse, Problem> {
    commands
        .end_session(caller.sub, caller.sid, id)
        .await
        .map_err(problem)?;
    Ok(HttpResponse::NoContent().finish())
}

fn tokens(status: StatusCode, login: Login) -> HttpResponse {
    HttpResponse::build(status)
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(Tokens {
            access_token: login.access_token,
            token_type: "Bearer",
            expires_in: login.expires_in.as_secs(),
            refresh_token: login.refresh_token,
        })
}
