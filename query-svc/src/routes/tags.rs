//! `/v1/tags`, and the timelines of tags.

use actix_web::http::header::ContentType;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use model::api;
use model::tags::Tag;
use serde::Deserialize;
use service::http::{Authenticated, Limit, MaybeAuthenticated, PageQuery, Path, Problem, Query, TokenHeader};
use utoipa::IntoParams;

use super::documentation::{Failures, Seen};
use super::{Service, json, page_of, requested, viewer};
use crate::cursor::Cursor;
use crate::since::Since;
use crate::timelines::TagFilter;

/// The most tags in each of `any`, `all` and `none`.
const MOST_TAGS: usize = 4;

/// The parameters of a page, and which other tags its posts have.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TimelineQuery {
    #[serde(default)]
    limit: Limit,
    #[serde(default)]
    before: Option<Cursor>,
    #[serde(default)]
    after: Option<Since>,
    #[serde(default)]
    any: Vec<Tag>,
    #[serde(default)]
    all: Vec<Tag>,
    #[serde(default)]
    none: Vec<Tag>,
}

impl TagFilter {
    pub(super) fn checked(tag: &Tag, any: &[Tag], all: &[Tag], none: &[Tag]) -> Result<Self, Problem> {
        for (field, tags) in [("any", any), ("all", all), ("none", none)] {
            if tags.len() > MOST_TAGS {
                let message = format!("may be given at most {MOST_TAGS} times");
                return Err(Problem::malformed_field(field, message));
            }
        }
        Ok(Self::new(tag, any, all, none))
    }
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only for the description: `TimelineQuery` reads it")]
pub(super) struct OtherTags {
    /// Posts with this tag too. Up to 4 tags may be sent, each as a parameter of its own
    #[param(max_items = 4)]
    any: Option<Vec<String>>,
    /// Only posts that also have this tag. Up to 4
    #[param(max_items = 4)]
    all: Option<Vec<String>>,
    /// Only posts that do not have this tag. Up to 4
    #[param(max_items = 4)]
    none: Option<Vec<String>>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "only for the description: `Tag` reads it")]
pub(super) struct TagPath {
    /// Without the `#`. Capitals and the width of letters make no difference
    #[param(example = "Rust", min_length = 1)]
    tag: String,
}

/// The timeline of a tag
///
/// Everybody's public posts and replies with the tag, without reposts, newest first. A post to which an edit adds the tag takes the place of the
/// time when it was written.
#[utoipa::path(
    get, path = "/v1/timelines/tags/{tag}", operation_id = "tagTimeline", tag = "timelines", security((), ("bearer" = [])),
    params(TagPath, OtherTags, PageQuery<String>, Seen),
    responses((status = 200, body = api::Page<api::Post>, headers(("Link" = String, description = "The pages around this one"))), Failures),
)]
pub(super) async fn timeline(
    service: Data<Service>,
    MaybeAuthenticated(caller): MaybeAuthenticated,
    Path(tag): Path<Tag>,
    token: TokenHeader,
    Query(query): Query<TimelineQuery>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (filter, viewer) = (
        TagFilter::checked(&tag, &query.any, &query.all, &query.none)?,
        viewer(caller.as_ref()),
    );
    let page = requested(PageQuery {
        limit: query.limit,
        before: query.before,
        after: query.after,
    })?;
    let page = service
        .ask(token, move |queries, read_model| async move {
            queries.tagged(&read_model, filter, viewer, page).await
        })
        .await?;
    page_of(&request, &page)
}

/// A tag
///
/// Whether the caller follows it. Any tag can be asked for, whether a post has it or not. Only `followed` can't: that address is the list of
/// followed tags.
#[utoipa::path(
    get, path = "/v1/tags/{tag}", operation_id = "tag", tag = "tags", security((), ("bearer" = [])),
    params(TagPath, Seen),
    responses((status = 200, body = api::Tag), Failures),
)]
pub(super) async fn tag(
    service: Data<Service>,
    MaybeAuthenticated(caller): MaybeAuthenticated,
    Path(tag): Path<Tag>,
    token: TokenHeader,
) -> Result<HttpResponse, Problem> {
    let viewer = viewer(caller.as_ref());
    let tag = service
        .ask(token, move |queries, read_model| async move {
            queries.tag(&read_model, &tag, viewer).await
        })
        .await?;
    Ok(HttpResponse::Ok()
        .content_type(ContentType::json())
        .body(json(&tag, 1)?))
}

/// The tags that the caller follows
///
/// The last follow comes first. Nobody else sees them.
#[utoipa::path(
    get, path = "/v1/tags/followed", operation_id = "followedTags", tag = "tags", security(("bearer" = [])),
    params(PageQuery<String>, Seen),
    responses((status = 200, body = api::Page<api::Tag>, headers(("Link" = String, description = "The pages around this one"))), Failures),
)]
pub(super) async fn followed(
    service: Data<Service>,
    caller: Authenticated,
    token: TokenHeader,
    Query(page): Query<PageQuery<Cursor, Since>>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (page, user) = (requested(page)?, caller.sub);
    let page = service
        .ask(token, move |queries, read_model| async move {
            queries.followed_tags(&read_model, user, page).await
        })
        .await?;
    page_of(&request, &page)
}
