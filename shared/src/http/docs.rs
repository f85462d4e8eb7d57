//! The description of the API, and a reader for it that works offline.

use actix_web::http::header::{CONTENT_TYPE, LOCATION};
use actix_web::web::{self, Bytes, ServiceConfig};
use actix_web::{HttpResponse, Responder};
use utoipa::openapi::OpenApi;
use utoipa_swagger_ui::{Config, SwaggerUi};

/// `/openapi.json` and `/docs`.
pub(super) fn configure(service: &mut ServiceConfig, openapi: &OpenApi) {
    let json = Bytes::from(serde_json::to_vec(openapi).expect("a description has only texts and numbers"));
    // No validator: it would call home.
    let reader = Config::from("/openapi.json").validator_url("none");
    service
        .service(web::resource("/openapi.json").route(web::get().to(move || described(json.clone()))))
        .service(web::resource("/docs").route(web::get().to(to_reader)))
        .service(SwaggerUi::new("/docs/{_:.*}").config(reader));
}

async fn described(json: Bytes) -> impl Responder {
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "application/json"))
        .body(json)
}

async fn to_reader() -> impl Responder {
    HttpResponse::PermanentRedirect()
        .insert_header((LOCATION, "/docs/"))
        .finish()
}
