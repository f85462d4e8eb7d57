//! What the one address answers.

use actix_web::http::header::LOCATION;
use actix_web::web::{Data, Payload, ServiceConfig, get, resource, route};
use actix_web::{HttpRequest, HttpResponse};

use crate::backends::{Backends, Services};

pub(crate) fn configure(routes: &mut ServiceConfig, backends: &Backends) {
    routes
        .app_data(Data::new(backends.reach()))
        .service(resource("/").route(get().to(to_documentation)))
        .service(resource("/v1/{path:.*}").route(route().to(pass_on)))
        .service(resource("/.well-known/{path:.*}").route(route().to(pass_on)));
}

async fn to_documentation() -> HttpResponse {
    HttpResponse::TemporaryRedirect()
        .insert_header((LOCATION, "/docs/"))
        .finish()
}

async fn pass_on(request: HttpRequest, body: Payload, services: Data<Services>) -> HttpResponse {
    services.answer(&request, body.into_inner()).await
}
