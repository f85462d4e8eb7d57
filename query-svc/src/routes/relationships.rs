//! `/v1/relationships`: how the caller and other users are related.

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

/// A client asks for more in several requests.
const MAX_IDS: usize = 100;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RelationshipsQuery {
    /// The id of another user. Up to 100 ids may be sent, each as a parameter of its own.
    #[param(max_items = 100, min_items = 1)]
    id: Vec<UserId>,
}

/// How the caller and other users are related
///
/// One relationship for each user in the request, in the same order, all in one answer. Users who do not exist are left out.
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
            format!("may be given at most {MAX_IDS} times"),
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
