//! `/v1/timelines`.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use model::api;
use service::auth::SCOPE_USER;
use service::http::{Authenticated, MaybeAuthenticated, PageQuery, Problem, Query, TokenHeader};

use super::documentation::{Failures, Seen};
use super::{Service, page_of, requested, viewer};
use crate::cursor::Cursor;
use crate::since::Since;

/// The caller's home timeline
///
/// Every post and repost by the caller and by the accounts that the caller follows now, if the caller may see it, newest first, without end.
#[utoipa::path(
    get, path = "/v1/timelines/home", tag = "timelines", security(("bearer" = [])),
    params(PageQuery<String>, Seen),
    responses((status = 200, body = api::Page<api::Post>, headers(("Link" = String, description = "The pages around this one"))), Failures),
)]
pub(super) async fn home(
    service: Data<Service>,
    caller: Authenticated,
    token: TokenHeader,
    Query(page): Query<PageQuery<Cursor, Since>>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (page, owner) = (requested(page)?, caller.sub);
    // A token that is only for verification leaves no trace: its holder is not the owner.
    let visits = caller.has_scope(SCOPE_USER);
    let page = service
        .ask(token, move |queries, read_model| async move {
            queries.home(&read_model, owner, visits, page).await
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
