//! What HTTP clients can ask for: the table of all routes, and one file for each resource.

mod blocks;
mod bookmarks;
mod documentation;
mod filters;
mod follows;
mod keys;
mod lists;
mod me;
mod moderation;
mod mutes;
mod notifications;
mod password_resets;
mod pins;
mod posts;
mod problems;
mod quotes;
mod reactions;
mod relationships;
mod reports;
mod request;
mod sessions;
mod streams;
mod tags;
mod users;

use actix_web::http::Method;
use actix_web::web::{Data, ServiceConfig, delete, get, patch, post, put, resource};
use service::auth::Verifier;
use service::http::Class;

pub use self::documentation::openapi;
use commands::Commands;

pub(crate) fn configure(service: &mut ServiceConfig, state: &State) {
    service
        .app_data(state.commands.clone())
        .app_data(state.keys.clone())
        .service(resource("/v1/users").route(post().to(users::register)))
        .service(
            resource("/v1/users/me")
                .route(get().to(me::show))
                .route(patch().to(me::change))
                .route(delete().to(me::delete)),
        )
        .service(resource("/v1/users/password-resets").route(post().to(password_resets::reset)))
        .service(
            resource("/v1/users/{id}/follow")
                .route(put().to(follows::follow))
                .route(delete().to(follows::unfollow)),
        )
        .service(
            resource("/v1/users/{id}/block")
                .route(put().to(blocks::block))
                .route(delete().to(blocks::unblock)),
        )
        .service(
            resource("/v1/users/{id}/mute")
                .route(put().to(mutes::mute))
                .route(delete().to(mutes::unmute)),
        )
        .service(resource("/v1/follow-requests/{user}/accept").route(post().to(follows::accept)))
        .service(resource("/v1/follow-requests/{user}/reject").route(post().to(follows::reject)))
        .service(resource("/v1/followers/{id}").route(delete().to(follows::remove)))
        .service(
            resource("/v1/sessions")
                .route(get().to(sessions::list))
                .route(post().to(sessions::log_in)),
        )
        .service(resource("/v1/sessions/refresh").route(post().to(sessions::refresh)))
        .service(resource("/v1/sessions/current").route(delete().to(sessions::log_out)))
        .service(resource("/v1/sessions/{id}").route(delete().to(sessions::end)))
        .service(resource("/v1/streams/tickets").route(post().to(streams::issue_ticket)))
        .service(resource("/v1/posts").route(post().to(posts::create)))
        .service(
            resource("/v1/posts/{id}")
                .route(patch().to(posts::edit))
                .route(delete().to(posts::delete)),
        )
        .service(
            resource("/v1/posts/{id}/like")
                .route(put().to(reactions::like))
                .route(delete().to(reactions::unlike)),
        )
        .service(
            resource("/v1/posts/{id}/repost")
                .route(put().to(reactions::repost))
                .route(delete().to(reactions::unrepost)),
        )
        .service(
            resource("/v1/posts/{id}/bookmark")
                .route(put().to(bookmarks::bookmark))
                .route(delete().to(bookmarks::unbookmark)),
        )
        .service(
            resource("/v1/posts/{id}/pin")
                .route(put().to(pins::pin))
                .route(delete().to(pins::unpin)),
        )
        .service(resource("/v1/posts/{id}/quotes/{quote}").route(delete().to(quotes::detach)))
        .service(
            resource("/v1/tags/{tag}/follow")
                .route(put().to(tags::follow))
                .route(delete().to(tags::unfollow)),
        )
        .service(resource("/v1/lists").route(post().to(lists::create)))
        .service(
            resource("/v1/lists/{id}")
                .route(patch().to(lists::change))
                .route(delete().to(lists::delete)),
        )
        .service(
            resource("/v1/lists/{id}/members/{user}")
                .route(put().to(lists::add_member))
                .route(delete().to(lists::remove_member)),
        )
        .service(
            resource("/v1/lists/{id}/tags/{tag}")
                .route(put().to(lists::add_tag))
                .route(delete().to(lists::remove_tag)),
        )
        .service(resource("/v1/filters").route(post().to(filters::create)))
        .service(
            resource("/v1/filters/{id}")
                .route(patch().to(filters::change))
                .route(delete().to(filters::delete)),
        )
        .service(resource("/v1/notifications/read").route(put().to(notifications::mark_read)))
        .service(resource("/v1/notifications/{id}").route(delete().to(notifications::dismiss)))
        .service(resource("/v1/reports").route(post().to(reports::report)))
        .service(resource("/v1/reports/{id}/resolve").route(post().to(reports::resolve)))
        .service(
            resource("/v1/posts/{id}/hide")
                .route(put().to(moderation::hide))
                .route(delete().to(moderation::unhide)),
        )
        .service(
            resource("/v1/users/{id}/suspension")
                .route(put().to(moderation::suspend))
                .route(delete().to(moderation::restore)),
        )
        .service(resource("/.well-known/jwks.json").route(get().to(keys::jwks)));
}

/// The routes that have a rate limit of their own.
pub(crate) fn classes() -> Vec<(Method, &'static str, Class)> {
    vec![
        (Method::POST, "/v1/users", Class::Register),
        (Method::POST, "/v1/users/password-resets", Class::Login),
        (Method::POST, "/v1/sessions", Class::Login),
        (Method::POST, "/v1/sessions/refresh", Class::RefreshAddress),
    ]
}

/// What the routes work with. Clones share the same state.
#[derive(Debug, Clone)]
pub(crate) struct State {
    commands: Data<Commands>,
    keys: Data<keys::Keys>,
}

impl State {
    pub(crate) fn new(commands: Commands, verifier: &Verifier) -> Self {
        Self {
            commands: Data::new(commands),
            keys: Data::new(keys::Keys::of(verifier)),
        }
    }
}
