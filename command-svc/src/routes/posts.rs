//! `/v1/posts`: write, edit and delete posts and replies.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::web::Data;
use model::api;
use model::events;
use model::ids::PostId;
use model::values::{IdempotencyKey, Language, PostText, Visibility, Warning};
use serde::{Deserialize, Deserializer};
use service::http::{Fields, IfMatch, Json, KeyHeader, Path, Problem, etag};
use utoipa::ToSchema;

use super::documentation::{Failures, NoGoodToken, NotTheAuthor, NotThere, OtherVersion, Versions};
use super::problems::problem;
use super::request::Caller;
use commands::{Commands, ExpectedVersions, NewPost, PostChanges};

/// A post, or a reply to one.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreatePostRequest {
    /// 1 to 500 characters as a reader counts them, and at most 16 KiB. It is trimmed.
    #[schema(example = "Hello, @ada! #firstpost", min_length = 1)]
    text: String,
    /// What the post warns of. Clients show it first, and the text to those who want to see it.
    #[schema(example = "Spoilers", min_length = 1)]
    warning: Option<String>,
    /// The language of the text, as a tag of BCP 47 without extensions.
    #[schema(example = "en", min_length = 1, max_length = 35)]
    language: Option<String>,
    /// The post that this answers. The id of a repost means its original.
    in_reply_to: Option<PostId>,
    /// The post that this quotes: one that everybody may see, or one of the caller's own. The id of a repost means its original. Whoever
    /// reads this post sees the quoted one only if they may see it anyway.
    quote_of: Option<PostId>,
    /// By default `public`, and `followers` if the account is protected. It never changes. A protected account can't write what others than
    /// its followers see.
    visibility: Option<Visibility>,
}

impl CreatePostRequest {
    fn parse(&self, idempotency_key: Option<IdempotencyKey>) -> Result<NewPost, Problem> {
        let mut fields = Fields::default();
        let text = fields.parse("text", self.text.as_str(), PostText::parse);
        let warning = fields.parse_optional("warning", self.warning.as_deref(), Warning::parse);
        let language = fields.parse_optional("language", self.language.as_deref(), Language::parse);
        fields.finish()?;
        Ok(NewPost {
            text: Fields::take(text)?,
            warning,
            language,
            in_reply_to: self.in_reply_to,
            quote_of: self.quote_of,
            visibility: self.visibility,
            idempotency_key,
        })
    }
}

/// Write a post or a reply
///
/// An `@handle` in the text mentions the user who has this handle now. Who is mentioned sees the post even if it is only for followers.
#[utoipa::path(
    post, path = "/v1/posts", tag = "posts", operation_id = "createPost", security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "A repeated request with the same key and body gets the same answer as the first one, and writes nothing")),
    request_body = CreatePostRequest,
    responses(
        (status = 201, description = "Written", body = api::Post, headers(("Location" = String), ("ETag" = String), ("Consistency-Token" = String))),
        (status = 403, description = "Not everybody may see the post that it quotes", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "The caller can't see the post that it answers or quotes, or the post that was written with this key is deleted", body = Problem, content_type = "application/problem+json"),
        NoGoodToken, Failures,
    ),
)]
pub(super) async fn create(
    caller: Caller,
    KeyHeader(idempotency_key): KeyHeader,
    commands: Data<Commands>,
    Json(request): Json<CreatePostRequest>,
) -> Result<HttpResponse, Problem> {
    let new = request.parse(idempotency_key)?;
    let done = commands.create_post(new, caller.cause()).await.map_err(problem)?;
    Ok(caller
        .sent
        .answer(StatusCode::CREATED, &commands, &done)
        .insert_header((LOCATION, format!("/v1/posts/{}", done.answer.state.id)))
        .insert_header(etag(done.answer.version))
        .json(post(done.answer.state, caller.author())))
}

/// The changes. A field that is not given stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EditRequest {
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String, required = false, example = "Hello, @ada! #secondthoughts", min_length = 1)]
    text: Option<String>,
    /// Null removes it.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, example = "Spoilers", min_length = 1)]
    warning: Option<Option<String>>,
    /// Null removes it.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, example = "en", min_length = 1, max_length = 35)]
    language: Option<Option<String>>,
}

/// Tells a field that is null from one that is not there.
pub(super) fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl EditRequest {
    fn parse(&self) -> Result<PostChanges, Problem> {
        let mut fields = Fields::default();
        let changes = PostChanges {
            text: fields.parse_optional("text", self.text.as_deref(), PostText::parse),
            warning: self
                .warning
                .as_ref()
                .map(|raw| fields.parse_optional("warning", raw.as_deref(), Warning::parse)),
            language: self
                .language
                .as_ref()
                .map(|raw| fields.parse_optional("language", raw.as_deref(), Language::parse)),
        };
        fields.finish()?;
        Ok(changes)
    }
}

/// Edit a post
///
/// Only the author can. What was there before stays in the post's history. The same text again changes nothing, and mentions whom it
/// mentioned before. Another text mentions the users who have its handles now; who sees the post may change with that.
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
    let changes = request.parse()?;
    let done = commands
        .edit_post(id, changes, ExpectedVersions(if_match.0), caller.cause())
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

fn post(post: events::Post, author: api::Author) -> api::Post {
    let hidden = post.is_hidden();
    let content = post.content.unwrap_or_default();
    api::Post {
        id: post.id,
        author,
        text: content.text,
        entities: content.entities,
        warning: content.warning,
        language: content.language,
        attachments: Vec::new(),
        in_reply_to: post.in_reply_to.map(|answered| answered.post),
        repost_of: None,
        quote: post.quote_of.map(|quote| api::Quote {
            state: match quote.detached {
                true => api::QuoteState::Detached,
                false => api::QuoteState::Nested,
            },
            post: None,
        }),
        visibility: post.visibility,
        created_at: post.created_at,
        edited_at: post.edited_at,
        hidden,
        counts: None,
        pinned: false,
        viewer: None,
        filtered: Vec::new(),
    }
}
