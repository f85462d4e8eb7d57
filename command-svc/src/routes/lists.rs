//! `/v1/lists`: lists of users and tags. Only their owner knows of them.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::web::Data;
use model::ids::{ListId, UserId};
use model::tags::Tag;
use model::values::{IdempotencyKey, ListTitle};
use model::{api, events};
use serde::Deserialize;
use service::http::{Fields, Json, KeyHeader, Path, Problem};
use utoipa::{IntoResponses, ToSchema};

use super::documentation::{Blocked, Failures, NoGoodToken};
use super::posts::given;
use super::problems::problem;
use super::request::Caller;
use commands::{Commands, ListChanges, NewList};

/// The caller has no such list.
#[derive(IntoResponses)]
#[response(status = 404, content_type = "application/problem+json")]
#[expect(dead_code, reason = "described, never made: problems answer themselves")]
pub(super) struct NoSuchList(Problem);

/// The caller has no such list, or there is no such user.
#[derive(IntoResponses)]
#[response(status = 404, content_type = "application/problem+json")]
#[expect(dead_code, reason = "described, never made: problems answer themselves")]
pub(super) struct NoSuchListOrUser(Problem);

/// A new list.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateListRequest {
    /// 1 to 100 characters as a reader counts them, on one line. It is trimmed.
    #[schema(example = "Friends", min_length = 1)]
    title: String,
    /// Whether the posts of its members are kept out of the caller's home timeline. By default they are not.
    #[serde(default)]
    exclusive: bool,
}

impl CreateListRequest {
    fn parse(&self, idempotency_key: Option<IdempotencyKey>) -> Result<NewList, Problem> {
        let mut fields = Fields::default();
        let title = fields.parse("title", self.title.as_str(), ListTitle::parse);
        fields.finish()?;
        Ok(NewList {
            title: Fields::take(title)?,
            exclusive: self.exclusive,
            idempotency_key,
        })
    }
}

/// Make a list
///
/// A list shows the posts and reposts of its members, and the public posts with its tags, in `GET /v1/timelines/lists/{id}`. Nobody but the
/// caller knows of it. A user can have 100 lists.
///
/// The members of an exclusive list are left out of the caller's home timeline: their posts, also when somebody reposts them, and what they
/// repost. What the caller writes or reposts stays there.
#[utoipa::path(
    post, path = "/v1/lists", tag = "lists", operation_id = "createList", security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "A repeated request with the same key and body gets the same answer as the first one, and writes nothing")),
    request_body = CreateListRequest,
    responses(
        (status = 201, description = "Made", body = api::List, headers(("Location" = String), ("Consistency-Token" = String))),
        (status = 404, description = "The list that was made with this key is deleted", body = Problem, content_type = "application/problem+json"),
        NoGoodToken, Failures,
    ),
)]
pub(super) async fn create(
    caller: Caller,
    KeyHeader(idempotency_key): KeyHeader,
    commands: Data<Commands>,
    Json(request): Json<CreateListRequest>,
) -> Result<HttpResponse, Problem> {
    let new = request.parse(idempotency_key)?;
    let done = commands.create_list(new, caller.cause()).await.map_err(problem)?;
    Ok(caller
        .sent
        .answer(StatusCode::CREATED, &commands, &done)
        .insert_header((LOCATION, format!("/v1/lists/{}", done.answer.id)))
        .json(list(done.answer)))
}

/// The changes. A field that is not given stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangeListRequest {
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String, required = false, example = "Close friends", min_length = 1)]
    title: Option<String>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = bool, required = false)]
    exclusive: Option<bool>,
}

impl ChangeListRequest {
    fn parse(&self) -> Result<ListChanges, Problem> {
        let mut fields = Fields::default();
        let title = fields.parse_optional("title", self.title.as_deref(), ListTitle::parse);
        fields.finish()?;
        Ok(ListChanges {
            title,
            exclusive: self.exclusive,
        })
    }
}

/// Change a list
///
/// Its title, and whether it is exclusive.
#[utoipa::path(
    patch, path = "/v1/lists/{id}", tag = "lists", operation_id = "changeList", security(("bearer" = [])),
    params(("id" = ListId, Path)),
    request_body = ChangeListRequest,
    responses(
        (status = 200, description = "As it is now", body = api::List, headers(("Consistency-Token" = String))),
        NoGoodToken, NoSuchList, Failures,
    ),
)]
pub(super) async fn change(
    caller: Caller,
    Path(id): Path<ListId>,
    commands: Data<Commands>,
    Json(request): Json<ChangeListRequest>,
) -> Result<HttpResponse, Problem> {
    let changes = request.parse()?;
    let done = commands
        .change_list(id, changes, caller.cause())
        .await
        .map_err(problem)?;
    let mut answer = caller.sent.answer(StatusCode::OK, &commands, &done);
    Ok(answer.json(list(done.answer)))
}

/// Delete a list
///
/// The title is also removed from what is stored of the list's past.
#[utoipa::path(
    delete, path = "/v1/lists/{id}", tag = "lists", operation_id = "deleteList", security(("bearer" = [])),
    params(("id" = ListId, Path)),
    responses(
        (status = 204, description = "Deleted", headers(("Consistency-Token" = String))),
        NoGoodToken, NoSuchList, Failures,
    ),
)]
pub(super) async fn delete(
    caller: Caller,
    Path(id): Path<ListId>,
    commands: Data<Commands>,
) -> Result<HttpResponse, Problem> {
    let done = commands.delete_list(id, caller.cause()).await.map_err(problem)?;
    Ok(caller.sent.answer(StatusCode::NO_CONTENT, &commands, &done).finish())
}

/// Add a user to a list
///
/// Anybody but somebody whom the caller blocks, or who blocks the caller: also somebody whom the caller does not follow, and the caller. Nobody
/// else can see that. A list can have 5,000 members.
#[utoipa::path(
    put, path = "/v1/lists/{id}/members/{user}", tag = "lists", operation_id = "addListMember", security(("bearer" = [])),
    params(("id" = ListId, Path), ("user" = UserId, Path)),
    responses(
        (status = 200, description = "In the list, by this request or an earlier one", body = api::ListMember, headers(("Consistency-Token" = String))),
        NoGoodToken, Blocked, NoSuchListOrUser, Failures,
    ),
)]
pub(super) async fn add_member(
    caller: Caller,
    Path(list): Path<ListId>,
    Path(user): Path<UserId, 1>,
    commands: Data<Commands>,
) -> Result<HttpResponse, Problem> {
    let done = commands
        .add_list_member(list, user, caller.cause())
        .await
        .map_err(problem)?;
    let mut answer = caller.sent.answer(StatusCode::OK, &commands, &done);
    Ok(answer.json(api::ListMember { id: user, listed: true }))
}

/// Remove a user from a list
#[utoipa::path(
    delete, path = "/v1/lists/{id}/members/{user}", tag = "lists", operation_id = "removeListMember", security(("bearer" = [])),
    params(("id" = ListId, Path), ("user" = UserId, Path)),
    responses(
        (status = 200, description = "Not in the list any more, or never in it", body = api::ListMember, headers(("Consistency-Token" = String))),
        NoGoodToken, NoSuchList, Failures,
    ),
)]
pub(super) async fn remove_member(
    caller: Caller,
    Path(list): Path<ListId>,
    Path(user): Path<UserId, 1>,
    commands: Data<Commands>,
) -> Result<HttpResponse, Problem> {
    let done = commands
        .remove_list_member(list, user, caller.cause())
        .await
        .map_err(problem)?;
    let mut answer = caller.sent.answer(StatusCode::OK, &commands, &done);
    Ok(answer.json(api::ListMember {
        id: user,
        listed: false,
    }))
}

/// Add a tag to a list
///
/// Everybody's public posts with the tag are in the list from now on, older ones too. A list can have 100 tags.
#[utoipa::path(
    put, path = "/v1/lists/{id}/tags/{tag}", tag = "lists", operation_id = "addListTag", security(("bearer" = [])),
    params(("id" = ListId, Path), ("tag" = String, Path, description = "Without the `#`. Capitals and the width of letters make no difference", example = "Rust")),
    responses(
        (status = 200, description = "In the list, by this request or an earlier one", body = api::ListTag, headers(("Consistency-Token" = String))),
        NoGoodToken, NoSuchList, Failures,
    ),
)]
pub(super) async fn add_tag(
    caller: Caller,
    Path(list): Path<ListId>,
    Path(tag): Path<Tag, 1>,
    commands: Data<Commands>,
) -> Result<HttpResponse, Problem> {
    let done = commands
        .add_list_tag(list, tag, caller.cause())
        .await
        .map_err(problem)?;
    let mut answer = caller.sent.answer(StatusCode::OK, &commands, &done);
    Ok(answer.json(api::ListTag {
        name: done.answer,
        listed: true,
    }))
}

/// Remove a tag from a list
#[utoipa::path(
    delete, path = "/v1/lists/{id}/tags/{tag}", tag = "lists", operation_id = "removeListTag", security(("bearer" = [])),
    params(("id" = ListId, Path), ("tag" = String, Path, description = "Without the `#`. Capitals and the width of letters make no difference", example = "Rust")),
    responses(
        (status = 200, description = "Not in the list any more, or never in it", body = api::ListTag, headers(("Consistency-Token" = String))),
        NoGoodToken, NoSuchList, Failures,
    ),
)]
pub(super) async fn remove_tag(
    caller: Caller,
    Path(list): Path<ListId>,
    Path(tag): Path<Tag, 1>,
    commands: Data<Commands>,
) -> Result<HttpResponse, Problem> {
    let done = commands
        .remove_list_tag(list, tag, caller.cause())
        .await
        .map_err(problem)?;
    let mut answer = caller.sent.answer(StatusCode::OK, &commands, &done);
    Ok(answer.json(api::ListTag {
        name: done.answer,
        listed: false,
    }))
}

fn list(list: events::List) -> api::List {
    api::List {
        id: list.id,
        title: list.title.unwrap_or_default(),
        exclusive: list.exclusive,
    }
}
