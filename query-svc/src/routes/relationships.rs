//! `/v1/relationships`: how the caller and others stand.

use actix_web::HttpResponse;
use actix_web::http::header::ContentType;
use actix_web::web::Data;
use model::api;
use model::ids::UserId;
use serde::Deserialize;
use service::http::{Authenticated, Problem, Query, TokenHeader};
use utoipa::IntoParams;

use super::documentation::{Failures, Seen};
use super::{Service, json};

/// More are asked for in several requests.
const MAX_IDS: usize = 100;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RelationshipsQuery {
    /// Another user; up to 100 may be given, each as a parameter of its own.
    #[param(max_items = 100, min_items = 1)]
    id: Vec<UserId>,
}

/// How the caller and other users stand
///
/// One for each user that was asked for, in that order, all in one answer; users who are not there are left out.
#[utoipa::path(
    get, path = "/v1/relationships", tag = "users", security(("bearer" = [])),
    params(RelationshipsQuery, Seen),
    responses((status = 200, body = api::Page<api::Relationship>), Failures),
)]
pub(super) async fn relationships(
    service: Data<Service>,
    caller: Authenticated,
    token: TokenHeader,
    Query(query): Query<RelationshipsQuery>,
) -> Result<HttpResponse, Problem> {
    if query.id.len() > MAX_IDS {
        return Err(Problem::malformed_field(
            "id",
            format!("may be given {MAX_IDS} times at most"),
        ));
    }
    let mut others = Vec::with_capacity(query.id.len());
    for id in query.id {
        if !others.contains(&id) {
            others.push(id);
        }
    }
    let viewer = caller.sub;
    let items = service
        .ask(token, move |queries, read_model| async move {
            queries.relationships(&read_model, viewer, &others).await
        })
        .await?;
    let page = api::Page {
        items,
        next: None,
        prev: None,
    };
    Ok(HttpResponse::Ok()
        .content_type(ContentType::json())
        .body(json(&page, 0)?))
}
