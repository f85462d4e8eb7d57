//! `/v1/posts/{id}`: a post, its thread, who likes and who reposted it, and what it said before.
//!
//! What the caller may not see is 404 throughout. A like, a reply or an edit of a repost is one of its original; so are
//! the lists here when they are asked for by a repost's id.

use std::sync::Arc;

use actix_web::http::header::ContentType;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use model::api;
use model::entities::Entities;
use model::ids::{PostId, UserId};
use serde::Serialize;
use service::http::{MaybeAuthenticated, PageQuery, Path, Problem, Query, TokenHeader, etag};
use utoipa::ToSchema;

use super::documentation::{Failures, NotFound, Seen};
use super::{Service, json, linked, page_of, requested, viewer};
use crate::cursor::Cursor;
use crate::handled::Appearance;
use crate::paging::{self, Arrival, Listing, Part};
use crate::people::{People, Which};
use crate::reading::{InUse, ReadError, Reading};
use crate::shown::{Candidate, List, ShownPost};
use crate::since::Since;
use crate::timelines::{Posts, Which as WhichPosts};
use views::{End, Post, PostReference, PostVersion, Range};

/// The nearest ones; who wants more reads the thread of the first of them.
const MAX_ANCESTORS: usize = 50;

/// A post, what it answers and the answers to it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Thread<P = api::Post> {
    /// What the post answers, from the beginning of the conversation on; at most 50. A post that is gone, or that the
    /// caller may not see, hides all that lie before it.
    ancestors: Vec<P>,
    post: P,
    /// Direct answers, newest first: a page, which `limit`, `before` and `after` choose.
    replies: Vec<P>,
    /// For `before`: older answers; null at the end.
    next: Option<String>,
    /// For `after`: newer answers.
    prev: Option<String>,
}

/// What a post said from a time on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Version {
    /// 1 for what was posted first. Numbers may be left out.
    version: i64,
    text: String,
    entities: Entities,
    #[serde(serialize_with = "model::api::time")]
    at: chrono::DateTime<chrono::Utc>,
}

impl From<PostVersion> for Version {
    fn from(row: PostVersion) -> Self {
        Self {
            version: row.version,
            text: row.text,
            entities: row.entities,
            at: row.at,
        }
    }
}

fn gone() -> Problem {
    Problem::not_found("There is no such post, or it is not for you to see.")
}

/// A post as the viewer sees it; 404 if there is nothing to see.
async fn shown(reading: &Reading, id: PostId, viewer: Option<UserId>) -> Result<ShownPost, Problem> {
    let post = reading.posts(vec![id]).await?.remove(&id).flatten().ok_or_else(gone)?;
    show_one(reading, Candidate::from(post.as_ref()), viewer)
        .await?
        .ok_or_else(gone)
}

async fn show_one(
    reading: &Reading,
    candidate: Candidate,
    viewer: Option<UserId>,
) -> Result<Option<ShownPost>, ReadError> {
    Ok(reading.show(&[candidate], viewer, List::Any).await?.pop().flatten())
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
        .read(
            token,
            move |_, reading| async move { shown(&reading, id, viewer).await },
        )
        .await?;
    let version = etag(post.post.version);
    Ok(HttpResponse::Ok()
        .content_type(ContentType::json())
        .insert_header(version)
        .body(json(&post, 2)?))
}

/// A post in its conversation
///
/// What it answers, back to the beginning, and a page of the direct answers to it, newest first. `next` and `prev` are
/// those of the answers. Of a repost: the conversation of its original.
#[utoipa::path(
    get, path = "/v1/posts/{id}/thread", tag = "posts", security((), ("bearer" = [])),
    params(("id" = PostId, Path), PageQuery<String>, Seen),
    responses((status = 200, body = Thread, headers(("Link" = String, description = "The pages of answers around this one"))), Failures, NotFound),
)]
pub(super) async fn thread(
    service: Data<Service>,
    MaybeAuthenticated(caller): MaybeAuthenticated,
    token: TokenHeader,
    Path(id): Path<PostId>,
    Query(page): Query<PageQuery<Cursor, Since>>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let page = requested(page)?;
    let viewer = viewer(caller.as_ref());
    let read = move |service: Arc<Service>, reading: InUse| async move {
        let mut post = shown(&reading, id, viewer).await?;
        if post.post.repost_of.is_some() {
            let original = Candidate::from(post.target().as_ref());
            post = show_one(&reading, original, viewer).await?.ok_or_else(gone)?;
        }
        let mut replies = Posts::new(&reading, WhichPosts::AnswersTo(post.post.id), viewer);
        let (ancestors, replies) = futures_util::try_join!(
            async { Ok(ancestors(&reading, &post, viewer).await?) },
            service.page(&reading, &mut replies, page),
        )?;
        Ok((post, ancestors, replies))
    };
    let (post, ancestors, replies) = service.read(token, read).await?;
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

/// What the post answers, the oldest first.
async fn ancestors(reading: &Reading, post: &ShownPost, viewer: Option<UserId>) -> Result<Vec<ShownPost>, ReadError> {
    let mut ancestors: Vec<ShownPost> = Vec::new();
    let mut parent = post.post.in_reply_to;
    while let (Some(reference), true) = (parent, ancestors.len() < MAX_ANCESTORS) {
        let candidate = Candidate {
            id: reference.post,
            author: reference.author,
            original: None,
            position: None,
        };
        let Some(shown) = show_one(reading, candidate, viewer).await? else {
            break;
        };
        parent = shown.post.in_reply_to;
        ancestors.push(shown);
    }
    ancestors.reverse();
    Ok(ancestors)
}

/// Who likes a post
///
/// Who liked it last comes first.
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
    people(&service, viewer(caller.as_ref()), token, id, page, &request, |post| {
        Which::LikersOf(PostReference {
            post: post.id,
            author: post.author,
        })
    })
    .await
}

/// Who reposted a post
///
/// Who reposted it last comes first.
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
    people(&service, viewer(caller.as_ref()), token, id, page, &request, |post| {
        Which::RepostersOf(post.id)
    })
    .await
}

async fn people(
    service: &Arc<Service>,
    viewer: Option<UserId>,
    token: TokenHeader,
    id: PostId,
    page: PageQuery<Cursor, Since>,
    request: &HttpRequest,
    which: fn(&Post) -> Which,
) -> Result<HttpResponse, Problem> {
    let page = requested(page)?;
    let page = service
        .read(token, move |service, reading| async move {
            let which = which(shown(&reading, id, viewer).await?.target());
            let reading = &reading;
            service.page(reading, &mut People { reading, which }, page).await
        })
        .await?;
    page_of(request, &page)
}

/// What a post has said
///
/// Every text that it has had, the present one first.
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
    let page = requested(page)?;
    let viewer = viewer(caller.as_ref());
    let page = service
        .read(token, move |_, reading| async move {
            let post = shown(&reading, id, viewer).await?.target().id;
            let mut versions = Versions {
                reading: &reading,
                post,
            };
            Ok(paging::page(&mut versions, page, &Arrival::InOrder).await?)
        })
        .await?;
    page_of(&request, &page)
}

/// The versions of a post. Their numbers are their places.
struct Versions<'a> {
    reading: &'a Reading,
    post: PostId,
}

impl Versions<'_> {
    async fn read(&self, range: Range<i64>) -> Result<Vec<PostVersion>, ReadError> {
        self.reading
            .ask(self.reading.views.post_history.of_post(self.post, range))
            .await
    }
}

impl Listing for Versions<'_> {
    type Candidate = PostVersion;
    type Item = Version;

    fn place(version: &PostVersion) -> Cursor {
        Cursor::of_version(version.version)
    }

    async fn older(&mut self, below: Cursor, count: usize) -> Result<Part<PostVersion>, ReadError> {
        let found = self
            .read(Range {
                before: (below < Cursor::TOP).then(|| below.to_version()),
                after: None,
                limit: u32::try_from(count).unwrap_or(u32::MAX),
                end: End::Newest,
            })
            .await?;
        Ok(Part::of(found, count, Self::place))
    }

    async fn newer(&mut self, above: Cursor, count: usize) -> Result<Part<PostVersion>, ReadError> {
        let mut found = self
            .read(Range {
                before: None,
                after: Some(above.to_version()),
                limit: u32::try_from(count).unwrap_or(u32::MAX),
                end: End::Oldest,
            })
            .await?;
        found.reverse();
        Ok(Part::of(found, count, Self::place))
    }

    /// Versions are numbers of one stream: nothing comes late below the newest.
    async fn appearances(&mut self, candidates: &[PostVersion]) -> Result<Vec<Option<Appearance>>, ReadError> {
        Ok(vec![None; candidates.len()])
    }

    async fn admit(&mut self, candidates: &[PostVersion]) -> Result<Vec<Option<Version>>, ReadError> {
        Ok(candidates.iter().cloned().map(|version| Some(version.into())).collect())
    }
}
