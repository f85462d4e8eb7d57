//! `/v1/filters`: the caller's filters.

use actix_web::HttpResponse;
use actix_web::http::header::ContentType;
use actix_web::web::Data;
use model::api;
use model::ids::FilterId;
use service::http::{Authenticated, Path, Problem, TokenHeader};

use super::documentation::{Failures, NotFound, Seen};
use super::{Service, json};

/// The caller's filters
///
/// All in one answer, the last one made first. A filter that is over does nothing, and stays in the list until it is deleted. Nobody else
/// sees the filters of the caller.
#[utoipa::path(
    get, path = "/v1/filters", tag = "filters", security(("bearer" = [])),
    params(Seen),
    responses((status = 200, body = api::Page<api::Filter>), Failures),
)]
pub(super) async fn filters(
    service: Data<Service>,
    caller: Authenticated,
    token: TokenHeader,
) -> Result<HttpResponse, Problem> {
    let owner = caller.sub;
    let items = service
        .ask(token, move |queries, read_model| async move {
            queries.filters(&read_model, owner).await
        })
        .await?;
    let page = api::Page {
        items,
        next: None,
        prev: None,
    };
    Ok(HttpResponse::Ok()
        .content_type(ContentType::json())
        .body(json(&page, page.items.len())?))
}

/// A filter of the caller
#[utoipa::path(
    get, path = "/v1/filters/{id}", tag = "filters", security(("bearer" = [])),
    params(("id" = FilterId, Path), Seen),
    responses((status = 200, body = api::Filter), Failures, NotFound),
)]
pub(super) async fn filter(
    service: Data<Service>,
    caller: Authenticated,
    token: TokenHeader,
    Path(id): Path<FilterId>,
) -> Result<HttpResponse, Problem> {
    let owner = caller.sub;
    let filter = service
        .ask(token, move |queries, read_model| async move {
            queries.filter(&read_model, owner, id).await
        })
        .await?
        .ok_or_else(|| Problem::not_found("You have no such filter."))?;
    Ok(HttpResponse::Ok()
        .content_type(ContentType::json())
        .body(json(&filter, 1)?))
}
