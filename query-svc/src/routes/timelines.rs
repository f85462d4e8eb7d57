//! `/v1/timelines`.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use model::api;
use serde::Deserialize;
use service::auth::SCOPE_USER;
use service::http::{Authenticated, Limit, MaybeAuthenticated, PageQuery, Problem, Query, TokenHeader};

use super::documentation::{Failures, Seen};
use super::{Service, page_of, requested, viewer};
use crate::cursor::Cursor;
use crate::shown::Replies;
use crate::since::Since;
use utoipa::IntoParams;

/// The parameters of a page, and which replies it has.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HomeQuery {
    #[serde(default)]
    limit: Limit,
    #[serde(default)]
    before: Option<Cursor>,
    #[serde(default)]
    after: Option<Since>,
    #[serde(default)]
    replies: Replies,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only for the description: `HomeQuery` reads it")]
pub(super) struct WhichReplies {
    /// `followed` leaves out replies to people whom the caller does not follow. Replies to the caller, by the caller, and to the own post of
    /// their author stay, and so do reposts of replies
    #[param(inline, default = "all")]
    replies: Option<Replies>,
}

/// The caller's home timeline
///
/// Every post and repost by the caller and by the accounts that the caller follows now, and every public post with a tag that the caller
/// follows now, newest first, without end. What the caller may not see is left out, and so is whom the caller mutes or has put in an
/// exclusive list: their posts, also when somebody else reposts them, and what they repost. So is what a filter of the caller hides.
#[utoipa::path(
    get, path = "/v1/timelines/home", tag = "timelines", security(("bearer" = [])),
    params(WhichReplies, PageQuery<String>, Seen),
    responses((status = 200, body = api::Page<api::Post>, headers(("Link" = String, description = "The pages around this one"))), Failures),
)]
pub(super) async fn home(
    service: Data<Service>,
    caller: Authenticated,
    token: TokenHeader,
    Query(query): Query<HomeQuery>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (replies, owner) = (query.replies, caller.sub);
    let page = requested(PageQuery {
        limit: query.limit,
        before: query.before,
        after: query.after,
    })?;
    // A token that is only for verification leaves no trace: its holder is not the owner.
    let visits = caller.has_scope(SCOPE_USER);
    let page = service
        .ask(token, move |queries, read_model| async move {
            queries.home(&read_model, owner, visits, replies, page).await
        })
        .await?;
    page_of(&request, &page)
}

/// The public timeline
///
/// Everybody's public posts and replies, without reposts, newest first. Unlisted posts are not among them.
#[utoipa::path(
    get, path = "/v1/timelines/public", tag = "timelines", security((), ("bearer" = [])),
    params(PageQuery<String>, Seen),
    responses((status = 200, body = api::Page<api::Post>, headers(("Link" = String, description = "The pages around this one"))), Failures),
)]
pub(super) async fn public(
    service: Data<Service>,
    MaybeAuthenticated(caller): MaybeAuthenticated,
    token: TokenHeader,
    Query(page): Query<PageQuery<Cursor, Since>>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (page, viewer) = (requested(page)?, viewer(caller.as_ref()));
    let page = service
        .ask(token, move |queries, read_model| async move {
            queries.public(&read_model, viewer, page).await
        })
        .await?;
    page_of(&request, &page)
}
