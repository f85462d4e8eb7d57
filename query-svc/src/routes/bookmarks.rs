//! `/v1/bookmarks`: the caller's bookmarks.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use model::api;
use service::http::{Authenticated, PageQuery, Problem, Query, TokenHeader};

use super::documentation::{Failures, Seen};
use super::{Service, page_of, requested};
use crate::cursor::Cursor;
use crate::since::Since;

/// The caller's bookmarks
///
/// The last bookmark comes first. Nobody else sees the bookmarks of the caller. A post that the caller may no longer see is left out.
#[utoipa::path(
    get, path = "/v1/bookmarks", tag = "posts", security(("bearer" = [])),
    params(PageQuery<String>, Seen),
    responses((status = 200, body = api::Page<api::Post>, headers(("Link" = String, description = "The pages around this one"))), Failures),
)]
pub(super) async fn bookmarks(
    service: Data<Service>,
    caller: Authenticated,
    token: TokenHeader,
    Query(page): Query<PageQuery<Cursor, Since>>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (page, user) = (requested(page)?, caller.sub);
    let page = service
        .ask(token, move |queries, read_model| async move {
            queries.bookmarks(&read_model, user, page).await
        })
        .await?;
    page_of(&request, &page)
}
