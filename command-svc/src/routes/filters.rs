//! `/v1/filters`: create, change and delete filters.

use std::collections::BTreeSet;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::web::Data;
use model::api;
use model::events::{Filter, FilterContent};
use model::ids::FilterId;
use model::values::{FilterAction, FilterContext, InvalidPhrases, Phrases};
use serde::Deserialize;
use service::http::{Fields, Json, KeyHeader, Path, Problem};
use utoipa::ToSchema;

use super::documentation::{Failures, NoGoodToken, NotThere};
use super::posts::given;
use super::problems::problem;
use super::request::{Caller, time};
use commands::{Commands, FilterChanges};

/// A filter.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateFilterRequest {
    /// 1 to 50 phrases of 1 to 100 characters, each one line. Together they have at most 4096 bytes. Capitals and the width of letters make
    /// no difference.
    #[schema(example = json!(["spoiler", "season two"]), min_items = 1, max_items = 50)]
    phrases: Vec<String>,
    /// A phrase matches only where no word goes on before or after it. A word is made of letters, marks, digits and underscores; at a side
    /// where the phrase itself does not begin or end with one of them, anything may stand. Where a script puts no spaces between words,
    /// leave it false.
    #[serde(default)]
    whole_word: bool,
    /// At least one of the kinds of lists in which the filter looks. One that is named twice counts once.
    #[schema(value_type = Vec<FilterContext>, min_items = 1)]
    contexts: BTreeSet<FilterContext>,
    /// `hide` leaves a post out, `warn` shows it with the filter in its `filtered`.
    #[serde(default = "warn")]
    #[schema(default = "warn")]
    action: FilterAction,
    /// When the filter ends: a time in the future, in RFC 3339. Without it, the filter lasts until it is deleted.
    #[schema(example = "2030-01-31T12:00:00Z", format = "date-time")]
    expires_at: Option<String>,
}

/// What can't be undone by looking again is not the default.
fn warn() -> FilterAction {
    FilterAction::Warn
}

impl CreateFilterRequest {
    fn parse(self) -> Result<FilterContent, Problem> {
        let mut fields = Fields::default();
        let phrases = phrases(&mut fields, &self.phrases);
        refuse_none(&mut fields, &self.contexts);
        let expires_at = fields.parse_optional("expires_at", self.expires_at.as_deref(), time);
        fields.finish()?;
        Ok(FilterContent {
            phrases: Fields::take(phrases)?,
            whole_word: self.whole_word,
            contexts: self.contexts,
            action: self.action,
            expires_at,
        })
    }
}

fn phrases(fields: &mut Fields, raw: &[String]) -> Option<Vec<String>> {
    match Phrases::parse(raw) {
        Ok(phrases) => return Some(phrases.into_strings()),
        Err(InvalidPhrases::Phrase(index, error)) => fields.refuse(&format!("phrases[{index}]"), error),
        Err(error) => fields.refuse("phrases", error),
    }
    None
}

fn refuse_none(fields: &mut Fields, contexts: &BTreeSet<FilterContext>) {
    if contexts.is_empty() {
        fields.refuse("contexts", "must not be empty");
    }
}

/// Create a filter
///
/// From now on, what the caller reads in the `contexts` leaves out posts in which a phrase is found, or names the filter in their `filtered`. The text and
/// the warning of a post are searched, and those of the original of a repost; never what the caller wrote. Nobody else sees a filter. A user
/// has at most 100.
#[utoipa::path(
    post, path = "/v1/filters", tag = "filters", operation_id = "createFilter", security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "A repeated request with the same key and body gets the same answer as the first one, and writes nothing")),
    request_body = CreateFilterRequest,
    responses(
        (status = 201, description = "Created", body = api::Filter, headers(("Location" = String), ("Consistency-Token" = String))),
        (status = 404, description = "The filter that was created with this key is deleted", body = Problem, content_type = "application/problem+json"),
        NoGoodToken, Failures,
    ),
)]
pub(super) async fn create(
    caller: Caller,
    KeyHeader(idempotency_key): KeyHeader,
    commands: Data<Commands>,
    Json(request): Json<CreateFilterRequest>,
) -> Result<HttpResponse, Problem> {
    let content = request.parse()?;
    let done = commands
        .create_filter(content, idempotency_key, caller.cause())
        .await
        .map_err(problem)?;
    Ok(caller
        .sent
        .answer(StatusCode::CREATED, &commands, &done)
        .insert_header((LOCATION, format!("/v1/filters/{}", done.answer.id)))
        .json(filter(done.answer)?))
}

/// The changes. A field that is not given stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangeFilterRequest {
    /// All phrases that the filter has from now on.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Vec<String>, required = false, example = json!(["spoiler"]), min_items = 1, max_items = 50)]
    phrases: Option<Vec<String>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = bool, required = false)]
    whole_word: Option<bool>,
    /// All contexts that the filter has from now on.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Vec<FilterContext>, required = false, min_items = 1)]
    contexts: Option<BTreeSet<FilterContext>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = FilterAction, required = false)]
    action: Option<FilterAction>,
    /// A time in the future, in RFC 3339. Null: the filter has no end any more.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, example = "2030-01-31T12:00:00Z", format = "date-time")]
    expires_at: Option<Option<String>>,
}

impl ChangeFilterRequest {
    fn parse(self) -> Result<FilterChanges, Problem> {
        let mut fields = Fields::default();
        let phrases = self.phrases.and_then(|raw| phrases(&mut fields, &raw));
        if let Some(contexts) = &self.contexts {
            refuse_none(&mut fields, contexts);
        }
        let expires_at = self
            .expires_at
            .map(|raw| fields.parse_optional("expires_at", raw.as_deref(), time));
        fields.finish()?;
        Ok(FilterChanges {
            phrases,
            whole_word: self.whole_word,
            contexts: self.contexts,
            action: self.action,
            expires_at,
        })
    }
}

/// Change a filter
///
/// A filter that is over works again if it gets a later end, or none.
#[utoipa::path(
    patch, path = "/v1/filters/{id}", tag = "filters", operation_id = "changeFilter", security(("bearer" = [])),
    params(("id" = FilterId, Path)),
    request_body = ChangeFilterRequest,
    responses(
        (status = 200, description = "As it is now", body = api::Filter, headers(("Consistency-Token" = String))),
        NoGoodToken, NotThere, Failures,
    ),
)]
pub(super) async fn change(
    caller: Caller,
    Path(id): Path<FilterId>,
    commands: Data<Commands>,
    Json(request): Json<ChangeFilterRequest>,
) -> Result<HttpResponse, Problem> {
    let changes = request.parse()?;
    let done = commands
        .change_filter(id, changes, caller.cause())
        .await
        .map_err(problem)?;
    let mut answer = caller.sent.answer(StatusCode::OK, &commands, &done);
    Ok(answer.json(filter(done.answer)?))
}

/// Delete a filter
///
/// Its phrases are also removed from what was stored before.
#[utoipa::path(
    delete, path = "/v1/filters/{id}", tag = "filters", operation_id = "deleteFilter", security(("bearer" = [])),
    params(("id" = FilterId, Path)),
    responses(
        (status = 204, description = "Deleted", headers(("Consistency-Token" = String))),
        NoGoodToken, NotThere, Failures,
    ),
)]
pub(super) async fn delete(
    caller: Caller,
    Path(id): Path<FilterId>,
    commands: Data<Commands>,
) -> Result<HttpResponse, Problem> {
    let done = commands.delete_filter(id, caller.cause()).await.map_err(problem)?;
    Ok(caller.sent.answer(StatusCode::NO_CONTENT, &commands, &done).finish())
}

fn filter(filter: Filter) -> Result<api::Filter, Problem> {
    // Only a deleted filter has no content, and it is answered 404.
    let content = filter.content.ok_or_else(no_such_filter)?;
    Ok(api::Filter::new(filter.id, content))
}

pub(super) fn no_such_filter() -> Problem {
    Problem::not_found("You have no such filter.")
}
