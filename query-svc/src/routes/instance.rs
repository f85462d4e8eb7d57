//! `/v1/instance`: what clients should know of the place.

use actix_web::HttpResponse;
use actix_web::web::Data;
use model::api;

use super::Service;
use super::documentation::Failures;

/// The place
///
/// Its name and rules, its limits, and who may register. It needs no token.
#[utoipa::path(
    get, path = "/v1/instance", operation_id = "instance", tag = "instance",
    responses((status = 200, body = api::Instance), Failures),
)]
pub(super) async fn instance(service: Data<Service>) -> HttpResponse {
    HttpResponse::Ok().json(&service.instance)
}
