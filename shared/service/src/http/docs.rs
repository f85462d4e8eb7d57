//! The API descriptions, and an offline reader for one of them.

use actix_web::http::header::{CONTENT_TYPE, LOCATION};
use actix_web::web::{self, Bytes, ServiceConfig};
use actix_web::{HttpResponse, Responder};
use serde_json::Value;
use utoipa::Modify;
use utoipa::openapi::path::ParameterIn;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{OpenApi, RefOr};
use utoipa_swagger_ui::{Config, SwaggerUi};

/// `/openapi.json` and `/docs`, and `/asyncapi.json` if there is one.
pub(super) fn configure(service: &mut ServiceConfig, openapi: &Value, asyncapi: Option<&Value>) {
    if let Some(asyncapi) = asyncapi {
        let json = Bytes::from(asyncapi.to_string());
        service.service(web::resource("/asyncapi.json").route(web::get().to(move || described(json.clone()))));
    }
    let json = Bytes::from(openapi.to_string());
    // No validator, because it would send requests to another site.
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

/// Adds to each described request header the pattern of its values.
#[derive(Debug, Clone, Copy)]
pub struct RequestHeaders;

impl Modify for RequestHeaders {
    fn modify(&self, openapi: &mut OpenApi) {
        let items = openapi.paths.paths.values_mut();
        let operations = items.flat_map(|item| {
            let methods = [
                &mut item.get,
                &mut item.post,
                &mut item.put,
                &mut item.patch,
                &mut item.delete,
            ];
            methods.into_iter().flatten()
        });
        let parameters = operations.flat_map(|operation| operation.parameters.iter_mut().flatten());
        for parameter in parameters {
            let RefOr::T(parameter) = parameter else { continue };
            if !matches!(parameter.parameter_in, ParameterIn::Header) {
                continue;
            }
            let text = ObjectBuilder::new().schema_type(Type::String);
            let text = match parameter.name.as_str() {
                "Consistency-Token" => text.pattern(Some("^[A-Za-z0-9_-]{22,}$")),
                "Idempotency-Key" => text.pattern(Some("^[!-~]{1,128}$")),
                "If-Match" => text.pattern(Some(r#"^(\*|(W/)?"[!#-~]*"( *, *(W/)?"[!#-~]*")*)$"#)),
                _ => continue,
            };
            parameter.schema = Some(RefOr::T(text.build().into()));
        }
    }
}
