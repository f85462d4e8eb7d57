//! `/v1/users/{id}/mute`: mute and unmute. Both can be repeated.

use actix_web::HttpResponse;
use actix_web::web::Data;
use commands::{Commands, NewMute};
use model::api::Relationship;
use model::ids::UserId;
use serde::Deserialize;
use service::http::{Fields, OptionalJson, Path, Problem};
use utoipa::ToSchema;

use super::documentation::{Failures, NoGoodToken, NoSuchUser};
use super::problems::problem;
use super::relationships::relationship;
use super::request::{Caller, time};

/// How to mute. What was said before does not stay.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct MuteRequest {
    /// When the mute ends by itself: a time in the future, in RFC 3339. Without it, the mute lasts until it is taken back.
    #[schema(example = "2030-01-31T12:00:00Z", format = "date-time")]
    until: Option<String>,
    /// Whether what the user does still makes notifications. By default it does not.
    notifications: bool,
}

impl MuteRequest {
    fn parse(&self) -> Result<NewMute, Problem> {
        let mut fields = Fields::default();
        let until = fields.parse_optional("until", self.until.as_deref(), time);
        fields.finish()?;
        Ok(NewMute {
            until,
            notifications: self.notifications,
        })
    }
}

/// Mute a user
///
/// The user is left out of the caller's timelines, lists, searches and notifications, and stays in the own profile and in threads. Nobody
/// else can see that.
#[utoipa::path(
    put, path = "/v1/users/{id}/mute", tag = "users", operation_id = "mute", security(("bearer" = [])),
    params(("id" = UserId, Path)), request_body = Option<MuteRequest>,
    responses(
        (status = 200, description = "How the two users are related now", body = Relationship, headers(("Consistency-Token" = String))),
        NoGoodToken, NoSuchUser, Failures,
    ),
)]
pub(super) async fn mute(
    caller: Caller,
    Path(id): Path<UserId>,
    commands: Data<Commands>,
    OptionalJson(request): OptionalJson<MuteRequest>,
) -> Result<HttpResponse, Problem> {
    let mute = request.parse()?;
    let done = commands.mute(id, mute, caller.cause()).await.map_err(problem)?;
    Ok(relationship(&caller, id, &commands, &done))
}

/// Unmute a user
#[utoipa::path(
    delete, path = "/v1/users/{id}/mute", tag = "users", operation_id = "unmute", security(("bearer" = [])),
    params(("id" = UserId, Path)),
    responses(
        (status = 200, description = "How the two users are related now", body = Relationship, headers(("Consistency-Token" = String))),
        NoGoodToken, NoSuchUser, Failures,
    ),
)]
pub(super) async fn unmute(
    caller: Caller,
    Path(id): Path<UserId>,
    commands: Data<Commands>,
) -> Result<HttpResponse, Problem> {
    let done = commands.unmute(id, caller.cause()).await.map_err(problem)?;
    Ok(relationship(&caller, id, &commands, &done))
}
