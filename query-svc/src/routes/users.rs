//! `/v1/users/{id}`: a user, by id or by `@handle`.

use actix_web::http::header::ContentType;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use model::api;
use service::http::{MaybeAuthenticated, PageQuery, Path, Problem, Query, TokenHeader, etag};

use super::documentation::{Failures, NotFound, Seen, UserPath};
use super::{Service, json, no_such_user, page_of, requested, viewer};
use crate::cursor::Cursor;
use crate::handles::UserName;
use crate::since::Since;

/// A user
///
/// Whoever is blocked by the user sees the name and the handle, without the bio and the counts. So does everybody else while the user is
/// suspended. Then, and if a block is between the user and the caller, the lists of the user are 404.
#[utoipa::path(
    get, path = "/v1/users/{id}", tag = "users", security((), ("bearer" = [])),
    params(UserPath, Seen),
    responses((status = 200, body = api::User, headers(("ETag" = String, description = "The version, for If-Match"))), Failures, NotFound),
)]
pub(super) async fn user(
    service: Data<Service>,
    MaybeAuthenticated(caller): MaybeAuthenticated,
    token: TokenHeader,
    Path(name): Path<UserName>,
) -> Result<HttpResponse, Problem> {
    let viewer = viewer(caller.as_ref());
    let user = service
        .ask(token, move |queries, read_model| async move {
            queries.user(&read_model, name, viewer).await
        })
        .await?
        .ok_or_else(no_such_user)?;
    Ok(HttpResponse::Ok()
        .content_type(ContentType::json())
        .insert_header(etag(user.profile.version))
        .body(json(&user, 1)?))
}

/// What a user has posted and reposted
///
/// Newest first. Posts for followers are included only if the caller is the user, follows the user, or is mentioned. Posts for those whom
/// they mention are included only if the caller is the user or is mentioned.
///
/// The posts that the user has pinned come first on the page that is asked for without `before` and `after`, beyond its `limit`, and are
/// `pinned`. They are not repeated in their own place, except in the answer to `after`.
#[utoipa::path(
    get, path = "/v1/users/{id}/posts", tag = "users", security((), ("bearer" = [])),
    params(UserPath, PageQuery<String>, Seen),
    responses((status = 200, body = api::Page<api::Post>, headers(("Link" = String, description = "The pages around this one"))), Failures, NotFound),
)]
pub(super) async fn posts(
    service: Data<Service>,
    MaybeAuthenticated(caller): MaybeAuthenticated,
    token: TokenHeader,
    Path(name): Path<UserName>,
    Query(page): Query<PageQuery<Cursor, Since>>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (page, viewer) = (requested(page)?, viewer(caller.as_ref()));
    let page = service
        .ask(token, move |queries, read_model| async move {
            queries.posts_of(&read_model, name, viewer, page).await
        })
        .await?
        .ok_or_else(no_such_user)?;
    page_of(&request, &page)
}

/// Who follows a user
///
/// The user who followed last comes first.
#[utoipa::path(
    get, path = "/v1/users/{id}/followers", tag = "users", security((), ("bearer" = [])),
    params(UserPath, PageQuery<String>, Seen),
    responses((status = 200, body = api::Page<api::User>, headers(("Link" = String, description = "The pages around this one"))), Failures, NotFound),
)]
pub(super) async fn followers(
    service: Data<Service>,
    MaybeAuthenticated(caller): MaybeAuthenticated,
    token: TokenHeader,
    Path(name): Path<UserName>,
    Query(page): Query<PageQuery<Cursor, Since>>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (page, viewer) = (requested(page)?, viewer(caller.as_ref()));
    let page = service
        .ask(token, move |queries, read_model| async move {
            queries.followers(&read_model, name, viewer, page).await
        })
        .await?
        .ok_or_else(no_such_user)?;
    page_of(&request, &page)
}

/// Whom a user follows
///
/// The user who was followed last comes first.
#[utoipa::path(
    get, path = "/v1/users/{id}/following", tag = "users", security((), ("bearer" = [])),
    params(UserPath, PageQuery<String>, Seen),
    responses((status = 200, body = api::Page<api::User>, headers(("Link" = String, description = "The pages around this one"))), Failures, NotFound),
)]
pub(super) async fn following(
    service: Data<Service>,
    MaybeAuthenticated(caller): MaybeAuthenticated,
    token: TokenHeader,
    Path(name): Path<UserName>,
    Query(page): Query<PageQuery<Cursor, Since>>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (page, viewer) = (requested(page)?, viewer(caller.as_ref()));
    let page = service
        .ask(token, move |queries, read_model| async move {
            queries.following(&read_model, name, viewer, page).await
        })
        .await?
        .ok_or_else(no_such_user)?;
    page_of(&request, &page)
}
