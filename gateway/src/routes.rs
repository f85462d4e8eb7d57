//! What the one address answers: the API of both services, and the web pages.

use actix_web::web::{Data, Payload, ServiceConfig, resource, route};
use actix_web::{HttpRequest, HttpResponse};
use service::http::{give_place_back, received_head};

use crate::backends::{Backends, Services};
use crate::web::{self, Jar};

pub(crate) fn configure(routes: &mut ServiceConfig, backends: &Backends, jar: &Jar) {
    routes
        .app_data(Data::new(backends.reach()))
        .service(resource("/v1/{path:.*}").route(route().to(pass_on)))
        .service(resource("/.well-known/{path:.*}").route(route().to(pass_on)))
        .configure(|routes| web::configure(routes, jar));
}

async fn pass_on(request: HttpRequest, body: Payload, services: Data<Services>) -> HttpResponse {
    give_place_back(&request);
    services.answer(received_head(&request), body.into_inner()).await
}
