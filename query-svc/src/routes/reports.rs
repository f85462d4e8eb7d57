//! `/v1/reports`: what users have told the moderators.

use actix_web::http::header::ContentType;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use model::api;
use model::ids::ReportId;
use model::values::ReportState;
use serde::{Deserialize, Serialize};
use service::http::{Authenticated, Limit, PageQuery, Path, Problem, Query, TokenHeader};
use utoipa::{IntoParams, ToSchema};

use super::documentation::{Failures, ModeratorsOnly, NotFound, Seen};
use super::{Service, json, page_of, requested};
use crate::cursor::Cursor;
use crate::reports::NotAModerator;
use crate::since::Since;

impl From<NotAModerator> for Problem {
    fn from(_: NotAModerator) -> Self {
        Problem::forbidden("Only moderators see this.").with_type("not-a-moderator", "You are not a moderator")
    }
}

/// The parameters of a page, and which reports are wanted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReportsQuery {
    #[serde(default)]
    limit: Limit,
    #[serde(default)]
    before: Option<Cursor>,
    #[serde(default)]
    after: Option<Since>,
    #[serde(default)]
    state: Option<ReportState>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only for the description: `ReportsQuery` reads it")]
pub(super) struct InState {
    /// By default `open`
    state: Option<ReportState>,
}

/// What a moderator reads of a report.
#[derive(Serialize, ToSchema)]
pub(super) struct ReportDetails {
    #[serde(flatten)]
    report: api::Report,
    /// The reported posts, whatever hides them from others. Those that are deleted are left out.
    reported: Vec<api::Post>,
}

/// What users have reported
///
/// Only for moderators, and without those about the caller. Newest first. A report that is resolved keeps the place of the time when it was made.
#[utoipa::path(
    get, path = "/v1/reports", operation_id = "reports", tag = "moderation", security(("bearer" = [])),
    params(InState, PageQuery<String>, Seen),
    responses(
        (status = 200, body = api::Page<api::Report>, headers(("Link" = String, description = "The pages around this one"))),
        ModeratorsOnly, Failures,
    ),
)]
pub(super) async fn reports(
    service: Data<Service>,
    caller: Authenticated,
    token: TokenHeader,
    Query(query): Query<ReportsQuery>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (viewer, state) = (caller.sub, query.state.unwrap_or(ReportState::Open));
    let page = requested(PageQuery {
        limit: query.limit,
        before: query.before,
        after: query.after,
    })?;
    let page = service
        .ask(token, move |queries, read_model| async move {
            queries.reports(&read_model, state, viewer, page).await
        })
        .await??;
    page_of(&request, &page)
}

/// A report, with the texts of the posts that it is about
///
/// Only for moderators.
#[utoipa::path(
    get, path = "/v1/reports/{id}", operation_id = "reportById", tag = "moderation", security(("bearer" = [])),
    params(("id" = ReportId, Path), Seen),
    responses((status = 200, body = ReportDetails), ModeratorsOnly, NotFound, Failures),
)]
pub(super) async fn report(
    service: Data<Service>,
    caller: Authenticated,
    Path(id): Path<ReportId>,
    token: TokenHeader,
) -> Result<HttpResponse, Problem> {
    let viewer = caller.sub;
    let report = service
        .ask(token, move |queries, read_model| async move {
            queries.report(&read_model, id, viewer).await
        })
        .await??
        .ok_or_else(|| Problem::not_found("There is no such report."))?;
    let items = report.reported.len() + 1;
    Ok(HttpResponse::Ok()
        .content_type(ContentType::json())
        .body(json(&report, items)?))
}
