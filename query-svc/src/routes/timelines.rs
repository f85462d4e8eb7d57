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
use crate::timelines::{Home, Posts, Which};

/// The caller's home timeline
///
/// Every post and repost by the caller and by the accounts that the caller follows now, newest first, without end.
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
    let page = requested(page)?;
    let page = service
        .read(token, move |service, reading| async move {
            // A token that only verifies leaves no trace: nobody has come back. Neither does anybody while our clock may be off:
            // the floor of who comes back is made from it, and one that is too low would lie below what was never written.
            let visits = caller.has_scope(SCOPE_USER) && service.clock_guard.check().is_ok();
            let mut home = Home::new(&reading, caller.sub, visits, service.home, &service.clock);
            let page = service.page(&reading, &mut home, page).await?;
            home.note_visit().await;
            Ok(page)
        })
        .await?;
    page_of(&request, &page)
}

/// The public timeline
///
/// Everybody's public posts and replies, without reposts, newest first.
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
    let page = requested(page)?;
    let viewer = viewer(caller.as_ref());
    let page = service
        .read(token, move |service, reading| async move {
            let mut posts = Posts::new(&reading, Which::Public, viewer);
            service.page(&reading, &mut posts, page).await
        })
        .await?;
    page_of(&request, &page)
}
