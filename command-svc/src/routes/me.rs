//! `/v1/users/me`: what only the owner may do with an account.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::Data;
use model::api;
use model::values::{Bio, DisplayName, Email, Password, ProfileField};
use serde::{Deserialize, Serialize};
use service::http::{Authenticated, Class, Fields, IfMatch, Json, Key, Limits, Problem, etag};
use utoipa::ToSchema;

use super::documentation::{Failures, OtherVersion, Reads, SessionEnded, Versions, WrongPassword};
use super::problems::problem;
use super::request::Caller;
use super::users::user;
use commands::{Changes, Commands, ExpectedVersions};

/// The caller's own account.
#[derive(Serialize, ToSchema)]
pub(super) struct Me {
    #[serde(flatten)]
    user: api::User,
    /// Only the owner sees it.
    #[schema(example = "ada@example.org")]
    email: String,
}

/// Show the caller's account
///
/// Needs a live session. It shows the changes of commands at once. query-svc has the counts.
#[utoipa::path(
    get, path = "/v1/users/me", tag = "users", operation_id = "me", security(("bearer" = [])),
    responses(
        (status = 200, description = "As it is now", body = Me, headers(("ETag" = String))),
        SessionEnded, Reads,
    ),
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

/// The changes. A field that is not given stays as it is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangeUserRequest {
    #[schema(example = "Ada, Countess of Lovelace", min_length = 1, max_length = 50)]
    display_name: Option<String>,
    #[schema(example = "Notes on an engine.", max_length = 300)]
    bio: Option<String>,
    /// Whoever wants to follow a protected account has to ask, and only its followers see its posts, also those that are public. When an
    /// account is no longer protected, all requests that wait are accepted in the minutes after that.
    protected: Option<bool>,
    /// At most 4. They replace all that there are. A name has at most 64 characters, a value at most 256.
    #[schema(max_items = 4)]
    fields: Option<Vec<FieldRequest>>,
    #[schema(example = "ada@example.net", format = "email", max_length = 254)]
    email: Option<String>,
    /// Ends all other sessions.
    #[schema(format = "password", min_length = 8, max_length = 256)]
    password: Option<String>,
    /// Needed to change the e-mail address or the password.
    #[schema(format = "password")]
    current_password: Option<String>,
}

/// A name and a value in a profile.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FieldRequest {
    #[schema(example = "Pronouns", min_length = 1, max_length = 64)]
    name: String,
    #[schema(example = "she/her", min_length = 1, max_length = 256)]
    value: String,
}

impl FieldRequest {
    /// The fields without those that are refused.
    fn parse_all(all: &[Self], fields: &mut Fields) -> Vec<ProfileField> {
        if all.len() > ProfileField::MAX {
            fields.refuse(
                "fields",
                format!("must have at most {} items, it has {}", ProfileField::MAX, all.len()),
            );
        }
        let parsed = all
            .iter()
            .take(ProfileField::MAX)
            .enumerate()
            .filter_map(|(index, raw)| {
                let name = fields.parse(
                    &format!("fields[{index}].name"),
                    raw.name.as_str(),
                    ProfileField::parse_name,
                );
                let value = fields.parse(
                    &format!("fields[{index}].value"),
                    raw.value.as_str(),
                    ProfileField::parse_value,
                );
                Some(ProfileField {
                    name: name?,
                    value: value?,
                })
            });
        parsed.collect()
    }
}

impl ChangeUserRequest {
    fn parse(&self) -> Result<Changes, Problem> {
        let mut fields = Fields::default();
        let changes = Changes {
            display_name: fields.parse_optional("display_name", self.display_name.as_deref(), DisplayName::parse),
            bio: fields.parse_optional("bio", self.bio.as_deref(), Bio::parse),
            protected: self.protected,
            fields: self
                .fields
                .as_deref()
                .map(|all| FieldRequest::parse_all(all, &mut fields)),
            email: fields.parse_optional("email", self.email.as_deref(), Email::parse),
            password: fields.parse_optional("password", self.password.as_deref(), Password::parse),
        };
        if (self.email.is_some() || self.password.is_some()) && self.current_password.is_none() {
            fields.refuse(
                "current_password",
                "is missing: it is needed to change the e-mail address or the password",
            );
        }
        fields.finish()?;
        Ok(changes)
    }
}

/// Change the caller's account
///
/// Needs a live session, and the current password to change the e-mail address or the password. A new password ends all other sessions.
/// Their access tokens stay valid for their remaining minutes, but not for this request.
#[utoipa::path(
    patch, path = "/v1/users/me", tag = "users", operation_id = "changeUser", security(("bearer" = [])),
    params(Versions), request_body = ChangeUserRequest,
    responses(
        (status = 200, description = "As it is now", body = api::User, headers(("ETag" = String), ("Consistency-Token" = String))),
        SessionEnded, WrongPassword,
        (status = 409, description = "The e-mail address is taken", body = Problem, content_type = "application/problem+json"),
        OtherVersion, Failures,
    ),
)]
pub(super) async fn change(
    caller: Caller,
    limits: Limits,
    if_match: IfMatch,
    commands: Data<Commands>,
    Json(request): Json<ChangeUserRequest>,
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

/// The confirmation of a deletion.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DeleteRequest {
    #[schema(format = "password")]
    current_password: String,
}

/// Delete the caller's account
///
/// Needs a live session, and the current password. All data of the user is hidden at once, and all sessions end. In the minutes after that,
/// the data is taken back step by step.
#[utoipa::path(
    delete, path = "/v1/users/me", tag = "users", operation_id = "deleteUser", security(("bearer" = [])),
    params(Versions), request_body = DeleteRequest,
    responses(
        (status = 204, description = "Deleted", headers(("Consistency-Token" = String))),
        SessionEnded, WrongPassword,
        (status = 409, description = "Other requests are changing the account", body = Problem, content_type = "application/problem+json"),
        OtherVersion, Failures,
    ),
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

/// Counted like a login: by address, and by session, for the reasons in `origins.rs`. `None` if the text that was sent can't be a password.
fn current_password(caller: &Caller, limits: &Limits, sent: &str) -> Result<Option<Password>, Problem> {
    limits.check(Class::Login, Key::Address(limits.address()))?;
    limits.check(Class::Account, Key::Name(format!("session:{}", caller.claims.sid)))?;
    Ok(Password::parse(sent).ok())
}
