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
use crate::reading::{ReadError, Reading};
use views::RelationId;

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
    let me = caller.sub;
    let page = service
        .read(token, move |_, reading| async move {
            Ok(between(&reading, me, &others).await?)
        })
        .await?;
    Ok(HttpResponse::Ok()
        .content_type(ContentType::json())
        .body(json(&page, 0)?))
}

async fn between(reading: &Reading, me: UserId, others: &[UserId]) -> Result<api::Page<api::Relationship>, ReadError> {
    let both_ways = others
        .iter()
        .flat_map(|&id| [RelationId::follow(me, id), RelationId::follow(id, me)])
        .collect();
    let (profiles, follows) = futures_util::try_join!(reading.profiles(others.to_vec()), reading.relations(both_ways))?;
    let items = others
        .iter()
        .filter(|id| profiles[id].is_some())
        .map(|&id| api::Relationship {
            id,
            following: follows[&RelationId::follow(me, id)],
            followed_by: follows[&RelationId::follow(id, me)],
        })
        .collect();
    Ok(api::Page {
        items,
        next: None,
        prev: None,
    })
}
