//! `/v1/lists`, and the timelines of lists. Only its owner sees a list: for everybody else there is none.

use actix_web::http::header::ContentType;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use model::api;
use model::ids::ListId;
use service::http::{Authenticated, PageQuery, Path, Problem, Query, TokenHeader};

use super::documentation::{Failures, NotFound, Seen};
use super::{Service, json, page_of, requested};
use crate::cursor::Cursor;
use crate::since::Since;

fn no_such_list() -> Problem {
    Problem::not_found("You have no such list.")
}

/// The caller's lists
///
/// The last one made comes first.
#[utoipa::path(
    get, path = "/v1/lists", operation_id = "lists", tag = "lists", security(("bearer" = [])),
    params(PageQuery<String>, Seen),
    responses((status = 200, body = api::Page<api::List>, headers(("Link" = String, description = "The pages around this one"))), Failures),
)]
pub(super) async fn lists(
    service: Data<Service>,
    caller: Authenticated,
    token: TokenHeader,
    Query(page): Query<PageQuery<Cursor, Since>>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (page, owner) = (requested(page)?, caller.sub);
    let page = service
        .ask(token, move |queries, read_model| async move {
            queries.lists(&read_model, owner, page).await
        })
        .await?;
    page_of(&request, &page)
}

/// A list of the caller
#[utoipa::path(
    get, path = "/v1/lists/{id}", operation_id = "list", tag = "lists", security(("bearer" = [])),
    params(("id" = ListId, Path), Seen),
    responses((status = 200, body = api::List), NotFound, Failures),
)]
pub(super) async fn list(
    service: Data<Service>,
    caller: Authenticated,
    Path(id): Path<ListId>,
    token: TokenHeader,
) -> Result<HttpResponse, Problem> {
    let owner = caller.sub;
    let list = service
        .ask(token, move |queries, read_model| async move {
            queries.list(&read_model, id, owner).await
        })
        .await?;
    let list = list.ok_or_else(no_such_list)?;
    Ok(HttpResponse::Ok()
        .content_type(ContentType::json())
        .body(json(&list, 1)?))
}

/// The members of a list
///
/// The last one added comes first. Somebody whom the caller blocks, who blocks the caller, or who is suspended, is left out.
#[utoipa::path(
    get, path = "/v1/lists/{id}/members", operation_id = "listMembers", tag = "lists", security(("bearer" = [])),
    params(("id" = ListId, Path), PageQuery<String>, Seen),
    responses((status = 200, body = api::Page<api::User>, headers(("Link" = String, description = "The pages around this one"))), NotFound, Failures),
)]
pub(super) async fn members(
    service: Data<Service>,
    caller: Authenticated,
    Path(id): Path<ListId>,
    token: TokenHeader,
    Query(page): Query<PageQuery<Cursor, Since>>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (page, owner) = (requested(page)?, caller.sub);
    let page = service
        .ask(token, move |queries, read_model| async move {
            queries.list_members(&read_model, id, owner, page).await
        })
        .await?;
    page_of(&request, &page.ok_or_else(no_such_list)?)
}

/// The tags in a list
///
/// The last one added comes first.
#[utoipa::path(
    get, path = "/v1/lists/{id}/tags", operation_id = "listTags", tag = "lists", security(("bearer" = [])),
    params(("id" = ListId, Path), PageQuery<String>, Seen),
    responses((status = 200, body = api::Page<api::Tag>, headers(("Link" = String, description = "The pages around this one"))), NotFound, Failures),
)]
pub(super) async fn tags(
    service: Data<Service>,
    caller: Authenticated,
    Path(id): Path<ListId>,
    token: TokenHeader,
    Query(page): Query<PageQuery<Cursor, Since>>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (page, owner) = (requested(page)?, caller.sub);
    let page = service
        .ask(token, move |queries, read_model| async move {
            queries.list_tags(&read_model, id, owner, page).await
        })
        .await?;
    page_of(&request, &page.ok_or_else(no_such_list)?)
}

/// The timeline of a list
///
/// Every post and repost by its members, whether the caller follows them or not, and everybody's public posts with one of its tags, newest
/// first, without end. What the caller may not see, and whom the caller mutes, is left out.
#[utoipa::path(
    get, path = "/v1/timelines/lists/{id}", operation_id = "listTimeline", tag = "timelines", security(("bearer" = [])),
    params(("id" = ListId, Path), PageQuery<String>, Seen),
    responses((status = 200, body = api::Page<api::Post>, headers(("Link" = String, description = "The pages around this one"))), NotFound, Failures),
)]
pub(super) async fn timeline(
    service: Data<Service>,
    caller: Authenticated,
    Path(id): Path<ListId>,
    token: TokenHeader,
    Query(page): Query<PageQuery<Cursor, Since>>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (page, owner) = (requested(page)?, caller.sub);
    let page = service
        .ask(token, move |queries, read_model| async move {
            queries.list_timeline(&read_model, id, owner, page).await
        })
        .await?;
    page_of(&request, &page.ok_or_else(no_such_list)?)
}
