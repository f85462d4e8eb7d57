//! `/v1/posts`: write, edit and delete posts and replies.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::web::Data;
use model::api;
use model::events;
use model::ids::PostId;
use model::values::{PostText, Visibility};
use serde::Deserialize;
use service::http::{IfMatch, Json, KeyHeader, Path, Problem, etag};
use utoipa::ToSchema;

use super::documentation::{Failures, NoGoodToken, NotTheAuthor, NotThere, OtherVersion, Versions};
use super::problems::problem;
use super::request::Caller;
use commands::{Commands, ExpectedVersions, NewPost};

/// A post, or a reply to one.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateRequest {
    /// 1 to 500 characters as a reader counts them, and at most 16 KiB. It is trimmed.
    #[schema(example = "Hello, @ada! #firstpost", min_length = 1)]
    text: String,
    /// The post that this answers. The id of a repost means its original.
    in_reply_to: Option<PostId>,
    /// By default `public`, and `followers` if the account is protected. It never changes. A protected account can't write what others than
    /// its followers see.
    visibility: Option<Visibility>,
}

/// Write a post or a reply
#[utoipa::path(
    post, path = "/v1/posts", tag = "posts", operation_id = "createPost", security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "A repeated request with the same key and body gets the same answer as the first one, and writes nothing")),
    request_body = CreateRequest,
    responses(
        (status = 201, description = "Written", body = api::Post, headers(("Location" = String), ("ETag" = String), ("Consistency-Token" = String))),
        (status = 404, description = "The caller can't see the post that it answers, or the post that was written with this key is deleted", body = Problem, content_type = "application/problem+json"),
        NoGoodToken, Failures,
    ),
)]
pub(super) async fn create(
    caller: Caller,
    KeyHeader(idempotency_key): KeyHeader,
    commands: Data<Commands>,
    Json(request): Json<CreateRequest>,
) -> Result<HttpResponse, Problem> {
    let new = NewPost {
        text: text(&request.text)?,
        in_reply_to: request.in_reply_to,
        visibility: request.visibility,
        idempotency_key,
    };
    let done = commands.create_post(new, caller.cause()).await.map_err(problem)?;
    Ok(caller
        .sent
        .answer(StatusCode::CREATED, &commands, &done)
        .insert_header((LOCATION, format!("/v1/posts/{}", done.answer.state.id)))
        .insert_header(etag(done.answer.version))
        .json(post(done.answer.state, caller.author())))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EditRequest {
    #[schema(example = "Hello, @ada! #secondthoughts", min_length = 1)]
    text: String,
}

/// Edit a post
///
/// Only the author can. The former text stays in the post's history. The same text again changes nothing.
#[utoipa::path(
    patch, path = "/v1/posts/{id}", tag = "posts", operation_id = "editPost", security(("bearer" = [])),
    params(("id" = PostId, Path), Versions),
    request_body = EditRequest,
    responses(
        (status = 200, description = "As it is now", body = api::Post, headers(("ETag" = String), ("Consistency-Token" = String))),
        NoGoodToken, NotTheAuthor, NotThere, OtherVersion, Failures,
    ),
)]
pub(super) async fn edit(
    caller: Caller,
    Path(id): Path<PostId>,
    if_match: IfMatch,
    commands: Data<Commands>,
    Json(request): Json<EditRequest>,
) -> Result<HttpResponse, Problem> {
    let text = text(&request.text)?;
    let done = commands
        .edit_post(id, text, ExpectedVersions(if_match.0), caller.cause())
        .await
        .map_err(problem)?;
    Ok(caller
        .sent
        .answer(StatusCode::OK, &commands, &done)
        .insert_header(etag(done.answer.version))
        .json(post(done.answer.state, caller.author())))
}

/// Delete a post
///
/// Only the author can. The text is also removed from the post's history. A repost of the caller can be deleted by its id, too.
#[utoipa::path(
    delete, path = "/v1/posts/{id}", tag = "posts", operation_id = "deletePost", security(("bearer" = [])),
    params(("id" = PostId, Path), Versions),
    responses(
        (status = 204, description = "Deleted", headers(("Consistency-Token" = String))),
        NoGoodToken, NotTheAuthor, NotThere, OtherVersion, Failures,
    ),
)]
pub(super) async fn delete(
    caller: Caller,
    Path(id): Path<PostId>,
    if_match: IfMatch,
    commands: Data<Commands>,
) -> Result<HttpResponse, Problem> {
    let done = commands
        .delete_post(id, ExpectedVersions(if_match.0), caller.cause())
        .await
        .map_err(problem)?;
    Ok(caller.sent.answer(StatusCode::NO_CONTENT, &commands, &done).finish())
}

fn text(raw: &str) -> Result<PostText, Problem> {
    PostText::parse(raw).map_err(|error| Problem::invalid_field("text", error))
}

fn post(post: events::Post, author: api::Author) -> api::Post {
    let (text, entities) = post
        .content
        .map(|content| (content.text, content.entities))
        .unwrap_or_default();
    api::Post {
        id: post.id,
        author,
        text,
        entities,
        in_reply_to: post.in_reply_to.map(|answered| answered.post),
        repost_of: None,
        visibility: post.visibility,
        created_at: post.created_at,
        edited_at: post.edited_at,
        counts: None,
        viewer: None,
    }
}
