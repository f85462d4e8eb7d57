//! Lists of users that only their owner sees: requests to follow, blocks and mutes.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use model::api;
use model::ids::UserId;
use service::http::{Authenticated, PageQuery, Problem, Query, TokenHeader};

use super::documentation::{Failures, Seen};
use super::{Service, page_of, requested};
use crate::cursor::Cursor;
use crate::people::Which;
use crate::since::Since;

/// Who asks to follow the caller
///
/// The requests that wait for an answer, the latest first.
#[utoipa::path(
    get, path = "/v1/follow-requests", tag = "users", security(("bearer" = [])),
    params(PageQuery<String>, Seen),
    responses((status = 200, body = api::Page<api::User>, headers(("Link" = String, description = "The pages around this one"))), Failures),
)]
pub(super) async fn requests(
    service: Data<Service>,
    caller: Authenticated,
    token: TokenHeader,
    Query(page): Query<PageQuery<Cursor, Since>>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    list(&service, &caller, token, page, &request, Which::RequestsTo).await
}

/// Whom the caller asks to follow
///
/// The requests that wait for an answer, the latest first.
#[utoipa::path(
    get, path = "/v1/follow-requests/sent", tag = "users", security(("bearer" = [])),
    params(PageQuery<String>, Seen),
    responses((status = 200, body = api::Page<api::User>, headers(("Link" = String, description = "The pages around this one"))), Failures),
)]
pub(super) async fn requests_sent(
    service: Data<Service>,
    caller: Authenticated,
    token: TokenHeader,
    Query(page): Query<PageQuery<Cursor, Since>>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    list(&service, &caller, token, page, &request, Which::RequestsOf).await
}

/// Whom the caller blocks
///
/// The last block comes first.
#[utoipa::path(
    get, path = "/v1/blocks", tag = "users", security(("bearer" = [])),
    params(PageQuery<String>, Seen),
    responses((status = 200, body = api::Page<api::User>, headers(("Link" = String, description = "The pages around this one"))), Failures),
)]
pub(super) async fn blocks(
    service: Data<Service>,
    caller: Authenticated,
    token: TokenHeader,
    Query(page): Query<PageQuery<Cursor, Since>>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    list(&service, &caller, token, page, &request, Which::BlockedBy).await
}

/// Whom the caller mutes
///
/// The last mute comes first. A mute that is over is left out. `GET /v1/relationships` says when a mute ends.
#[utoipa::path(
    get, path = "/v1/mutes", tag = "users", security(("bearer" = [])),
    params(PageQuery<String>, Seen),
    responses((status = 200, body = api::Page<api::User>, headers(("Link" = String, description = "The pages around this one"))), Failures),
)]
pub(super) async fn mutes(
    service: Data<Service>,
    caller: Authenticated,
    token: TokenHeader,
    Query(page): Query<PageQuery<Cursor, Since>>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    list(&service, &caller, token, page, &request, Which::MutedBy).await
}

async fn list(
    service: &Service,
    caller: &Authenticated,
    token: TokenHeader,
    page: PageQuery<Cursor, Since>,
    request: &HttpRequest,
    which: fn(UserId) -> Which,
) -> Result<HttpResponse, Problem> {
    let (page, owner) = (requested(page)?, caller.sub);
    let page = service
        .ask(token, move |queries, read_model| async move {
            queries.own_people(&read_model, which, owner, page).await
        })
        .await?;
    page_of(request, &page)
}
