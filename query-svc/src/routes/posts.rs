//! `/v1/posts/{id}`: a post, its thread, its likes, its reposts, its quotes, and its history.
//!
//! A post that the caller may not see is answered 404 throughout. A like, a reply or an edit of a repost belongs to its
//! original. So do the lists here when a client asks for them by the id of a repost.

use actix_web::http::header::ContentType;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use model::api;
use model::ids::PostId;
use serde::Serialize;
use service::http::{MaybeAuthenticated, PageQuery, Path, Problem, Query, TokenHeader, etag};
use utoipa::ToSchema;

use super::documentation::{Failures, NotFound, Seen};
use super::{Service, json, linked, no_such_post, page_of, requested, viewer};
use crate::cursor::Cursor;
use crate::history::Version;
use crate::queries::Conversation;
use crate::since::Since;

/// A post, the posts above it, and the replies to it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Thread<P = api::Post> {
    /// The post that this one replies to, the post above that, and so on: the oldest first, at most 50. If a post is gone, the
    /// caller may not see it, or a filter hides it, all posts above it are left out.
    ancestors: Vec<P>,
    post: P,
    /// Direct replies, newest first: the page that `limit`, `before` and `after` select.
    replies: Vec<P>,
    /// Send it as `before` to get older replies. Null at the end.
    next: Option<String>,
    /// Send it as `after` to get newer replies.
    prev: Option<String>,
}

/// A post
#[utoipa::path(
    get, path = "/v1/posts/{id}", tag = "posts", security((), ("bearer" = [])),
    params(("id" = PostId, Path), Seen),
    responses((status = 200, body = api::Post, headers(("ETag" = String, description = "The version, for If-Match"))), Failures, NotFound),
)]
pub(super) async fn post(
    service: Data<Service>,
    MaybeAuthenticated(caller): MaybeAuthenticated,
    token: TokenHeader,
    Path(id): Path<PostId>,
) -> Result<HttpResponse, Problem> {
    let viewer = viewer(caller.as_ref());
    let post = service
        .ask(token, move |queries, read_model| async move {
            queries.post(&read_model, id, viewer).await
        })
        .await?
        .ok_or_else(no_such_post)?;
    let version = etag(post.post.version);
    Ok(HttpResponse::Ok()
        .content_type(ContentType::json())
        .insert_header(version)
        .body(json(&post, 2)?))
}

/// A post in its conversation
///
/// The post, the posts above it back to the beginning, and a page of its direct replies, newest first. `next` and `prev` are
/// those of the replies. For a repost, this is the conversation of its original.
#[utoipa::path(
    get, path = "/v1/posts/{id}/thread", tag = "posts", security((), ("bearer" = [])),
    params(("id" = PostId, Path), PageQuery<String>, Seen),
    responses((status = 200, body = Thread, headers(("Link" = String, description = "The pages of replies around this one"))), Failures, NotFound),
)]
pub(super) async fn thread(
    service: Data<Service>,
    MaybeAuthenticated(caller): MaybeAuthenticated,
    token: TokenHeader,
    Path(id): Path<PostId>,
    Query(page): Query<PageQuery<Cursor, Since>>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (page, viewer) = (requested(page)?, viewer(caller.as_ref()));
    let Conversation {
        ancestors,
        post,
        replies,
    } = service
        .ask(token, move |queries, read_model| async move {
            queries.conversation(&read_model, id, viewer, page).await
        })
        .await?
        .ok_or_else(no_such_post)?;
    let (next, prev) = (replies.next, replies.prev);
    let thread = Thread {
        ancestors,
        post,
        replies: replies.items,
        next: next.map(|cursor| cursor.to_string()),
        prev: prev.as_ref().map(ToString::to_string),
    };
    let json = json(&thread, 1 + thread.ancestors.len() + thread.replies.len())?;
    Ok(linked(&request, next, prev.as_ref()).body(json))
}

/// Who likes a post
///
/// The user who liked it last comes first.
#[utoipa::path(
    get, path = "/v1/posts/{id}/likes", tag = "posts", security((), ("bearer" = [])),
    params(("id" = PostId, Path), PageQuery<String>, Seen),
    responses((status = 200, body = api::Page<api::User>, headers(("Link" = String, description = "The pages around this one"))), Failures, NotFound),
)]
pub(super) async fn likes(
    service: Data<Service>,
    MaybeAuthenticated(caller): MaybeAuthenticated,
    token: TokenHeader,
    Path(id): Path<PostId>,
    Query(page): Query<PageQuery<Cursor, Since>>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (page, viewer) = (requested(page)?, viewer(caller.as_ref()));
    let page = service
        .ask(token, move |queries, read_model| async move {
            queries.likers(&read_model, id, viewer, page).await
        })
        .await?
        .ok_or_else(no_such_post)?;
    page_of(&request, &page)
}

/// Who reposted a post
///
/// The user who reposted it last comes first.
#[utoipa::path(
    get, path = "/v1/posts/{id}/reposts", tag = "posts", security((), ("bearer" = [])),
    params(("id" = PostId, Path), PageQuery<String>, Seen),
    responses((status = 200, body = api::Page<api::User>, headers(("Link" = String, description = "The pages around this one"))), Failures, NotFound),
)]
pub(super) async fn reposts(
    service: Data<Service>,
    MaybeAuthenticated(caller): MaybeAuthenticated,
    token: TokenHeader,
    Path(id): Path<PostId>,
    Query(page): Query<PageQuery<Cursor, Since>>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (page, viewer) = (requested(page)?, viewer(caller.as_ref()));
    let page = service
        .ask(token, move |queries, read_model| async move {
            queries.reposters(&read_model, id, viewer, page).await
        })
        .await?
        .ok_or_else(no_such_post)?;
    page_of(&request, &page)
}

/// The posts that quote a post
///
/// The newest first, without those that are detached.
#[utoipa::path(
    get, path = "/v1/posts/{id}/quotes", tag = "posts", security((), ("bearer" = [])),
    params(("id" = PostId, Path), PageQuery<String>, Seen),
    responses((status = 200, body = api::Page<api::Post>, headers(("Link" = String, description = "The pages around this one"))), Failures, NotFound),
)]
pub(super) async fn quotes(
    service: Data<Service>,
    MaybeAuthenticated(caller): MaybeAuthenticated,
    token: TokenHeader,
    Path(id): Path<PostId>,
    Query(page): Query<PageQuery<Cursor, Since>>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (page, viewer) = (requested(page)?, viewer(caller.as_ref()));
    let page = service
        .ask(token, move |queries, read_model| async move {
            queries.quotes(&read_model, id, viewer, page).await
        })
        .await?
        .ok_or_else(no_such_post)?;
    page_of(&request, &page)
}

/// The history of a post
///
/// All texts that the post has had, each with its warning and language, the current one first.
#[utoipa::path(
    get, path = "/v1/posts/{id}/history", tag = "posts", security((), ("bearer" = [])),
    params(("id" = PostId, Path), PageQuery<String>, Seen),
    responses((status = 200, body = api::Page<Version>, headers(("Link" = String, description = "The pages around this one"))), Failures, NotFound),
)]
pub(super) async fn history(
    service: Data<Service>,
    MaybeAuthenticated(caller): MaybeAuthenticated,
    token: TokenHeader,
    Path(id): Path<PostId>,
    Query(page): Query<PageQuery<Cursor, Since>>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (page, viewer) = (requested(page)?, viewer(caller.as_ref()));
    let page = service
        .ask(token, move |queries, read_model| async move {
            queries.history(&read_model, id, viewer, page).await
        })
        .await?
        .ok_or_else(no_such_post)?;
    page_of(&request, &page)
}
