//! The description of the API (OpenAPI), made from the routes.

use shared::http::Problem;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{IntoResponses, Modify, OpenApi};

use super::{follows, keys, posts, reactions, sessions, users};

/// What every command may be answered, beside what its own description says.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "described, never made: problems answer themselves")]
pub(super) enum Failures {
    /// The body is not JSON, or a part of the path or a header can't be read.
    #[response(status = 400, content_type = "application/problem+json")]
    Malformed(Problem),
    /// The body has more than 64 KiB.
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(Problem),
    /// A field is unknown, missing, of a wrong type or of a wrong value.
    #[response(status = 422, content_type = "application/problem+json")]
    Invalid(Problem),
    /// Too many requests; `Retry-After` says when to come back.
    #[response(status = 429, content_type = "application/problem+json")]
    TooMany(Problem),
    /// Not at the moment; `Retry-After` says when to come back.
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(Problem),
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Microblog commands",
        description = "The write side. Every success answers with a `Consistency-Token`; a query that is sent it shows what was written. Errors are problem+json (RFC 9457).",
    ),
    paths(
        users::register, users::change, users::delete,
        follows::follow, follows::unfollow,
        sessions::log_in, sessions::refresh, sessions::log_out,
        posts::create, posts::edit, posts::delete,
        reactions::like, reactions::unlike, reactions::repost, reactions::unrepost,
        keys::jwks,
    ),
    modifiers(&Bearer),
)]
struct Description;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT")
            .build();
        openapi
            .components
            .get_or_insert_with(Default::default)
            .add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

/// The description that `/openapi.json` answers with.
pub fn openapi() -> utoipa::openapi::OpenApi {
    Description::openapi()
}
