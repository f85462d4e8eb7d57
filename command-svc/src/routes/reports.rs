//! `/v1/reports`: tell the moderators, and resolve what was told.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::Data;
use commands::{Commands, NewReport};
use model::api;
use model::events;
use model::ids::{PostId, ReportId, UserId};
use model::values::{IdempotencyKey, ReportComment, ReportState};
use serde::Deserialize;
use service::http::{Fields, Json, KeyHeader, Path, Problem};
use utoipa::ToSchema;

use super::documentation::{Failures, ModeratorsOnly, NoGoodToken, NotThere};
use super::problems::problem;
use super::request::Caller;

/// Whom and what it is about, and why.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReportRequest {
    user: UserId,
    /// Posts of the user that it is about, which the caller can see. At most 10.
    #[serde(default)]
    #[schema(max_items = 10)]
    posts: Vec<PostId>,
    /// For the moderators. At most 1,000 characters.
    #[serde(default)]
    #[schema(example = "Posts the same advertisement every minute.", max_length = 1000)]
    comment: String,
}

impl ReportRequest {
    fn parse(self, idempotency_key: Option<IdempotencyKey>) -> Result<NewReport, Problem> {
        let mut fields = Fields::default();
        let most = events::Report::MAX_POSTS;
        if self.posts.len() > most {
            let message = format!("must have at most {most} items, it has {}", self.posts.len());
            fields.refuse("posts", message);
        }
        let comment = fields.parse("comment", self.comment.as_str(), ReportComment::parse);
        fields.finish()?;
        Ok(NewReport {
            user: self.user,
            posts: self.posts,
            comment: Fields::take(comment)?,
            idempotency_key,
        })
    }
}

/// Report a user
///
/// Only moderators see it. Nobody tells the user who is reported.
#[utoipa::path(
    post, path = "/v1/reports", tag = "moderation", operation_id = "report", security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "A repeated request with the same key and body gets the same answer as the first one, and writes nothing")),
    request_body = ReportRequest,
    responses(
        (status = 201, description = "Reported", body = api::Report, headers(("Consistency-Token" = String))),
        NoGoodToken, Failures,
    ),
)]
pub(super) async fn report(
    caller: Caller,
    KeyHeader(idempotency_key): KeyHeader,
    commands: Data<Commands>,
    Json(request): Json<ReportRequest>,
) -> Result<HttpResponse, Problem> {
    let new = request.parse(idempotency_key)?;
    let done = commands.report(new, caller.cause()).await.map_err(problem)?;
    let mut answer = caller.sent.answer(StatusCode::CREATED, &commands, &done);
    Ok(answer.json(shown(done.answer)))
}

/// Resolve a report
///
/// It can be repeated. The first moderator who has resolved it stays the one who has. Only an admin can resolve a report of a moderator or an
/// admin.
#[utoipa::path(
    post, path = "/v1/reports/{id}/resolve", tag = "moderation", operation_id = "resolveReport", security(("bearer" = [])),
    params(("id" = ReportId, Path)),
    responses(
        (status = 200, description = "Resolved, by this request or an earlier one", body = api::Report, headers(("Consistency-Token" = String))),
        NoGoodToken, ModeratorsOnly, NotThere, Failures,
    ),
)]
pub(super) async fn resolve(
    caller: Caller,
    Path(id): Path<ReportId>,
    commands: Data<Commands>,
) -> Result<HttpResponse, Problem> {
    let done = commands.resolve_report(id, caller.cause()).await.map_err(problem)?;
    let mut answer = caller.sent.answer(StatusCode::OK, &commands, &done);
    Ok(answer.json(shown(done.answer)))
}

fn shown(report: events::Report) -> api::Report {
    api::Report {
        id: report.id,
        reporter: report.reporter,
        user: report.user,
        posts: report.posts,
        comment: report.comment,
        state: ReportState::of(report.resolved_by),
        resolved_by: report.resolved_by,
        created_at: report.id.time(),
    }
}
