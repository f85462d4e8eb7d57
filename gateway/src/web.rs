//! The web pages. They are made here and work without JavaScript. They know only the public API, and call it as the visitor.

mod account;
mod api;
mod cookies;
mod deeds;
mod failure;
mod form;
mod layout;
mod post;
mod reading;
mod words;

use actix_web::http::StatusCode;
use actix_web::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use actix_web::web::{Data, ServiceConfig, get, post, resource, route};
use actix_web::{HttpRequest, HttpResponse, Responder};

use self::api::Api;
pub(crate) use self::cookies::Jar;
use self::failure::Failure;

const STYLE: &str = include_str!("web/style.css");

/// Every page, and everything that a form can ask for.
pub(crate) fn configure(routes: &mut ServiceConfig, jar: &Jar) {
    routes
        .app_data(Data::new(jar.clone()))
        .service(resource("/").route(get().to(reading::start)))
        .service(resource("/public").route(get().to(reading::public)))
        .service(resource("/bookmarks").route(get().to(reading::bookmarks)))
        .service(resource("/tags/{tag}").route(get().to(reading::tag)))
        .service(
            resource("/posts")
                .route(get().to(deeds::compose))
                .route(post().to(deeds::write)),
        )
        .service(resource("/posts/{id}").route(get().to(reading::thread)))
        .service(resource("/posts/{id}/delete").route(post().to(deeds::delete)))
        .service(resource("/posts/{id}/{deed:like|repost|bookmark}").route(post().to(deeds::react)))
        .service(resource("/@{handle}").route(get().to(reading::profile)))
        .service(resource("/@{handle}/{people:followers|following}").route(get().to(reading::people)))
        .service(resource("/@{handle}/follow").route(post().to(deeds::follow)))
        .service(
            resource("/login")
                .route(get().to(account::log_in_form))
                .route(post().to(account::log_in)),
        )
        .service(
            resource("/signup")
                .route(get().to(account::sign_up_form))
                .route(post().to(account::sign_up)),
        )
        .service(resource("/logout").route(post().to(account::log_out)))
        .service(resource(layout::STYLE_PATH).route(get().to(style)))
        .default_service(route().to(missing));
}

/// A person gets a page that says so. A program gets a problem, as everywhere.
async fn missing(api: Api, request: HttpRequest) -> HttpResponse {
    let accepted = request.headers().get(ACCEPT).and_then(|it| it.to_str().ok());
    if accepted.is_some_and(|accepted| accepted.contains("text/html")) {
        api.show(Err(Failure::of_status(StatusCode::NOT_FOUND)))
    } else {
        HttpResponse::NotFound().finish()
    }
}

/// Its address changes with its contents (`?v=`), so it is never out of date.
async fn style() -> impl Responder {
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/css; charset=utf-8"))
        .insert_header((CACHE_CONTROL, "public, max-age=31536000, immutable"))
        .body(STYLE)
}
