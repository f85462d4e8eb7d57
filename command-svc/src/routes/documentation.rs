//! The description of the API (OpenAPI), made from the routes.

use service::http::{Problem, RequestHeaders};
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::Type;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ObjectBuilder, RefOr, Required};
use utoipa::{IntoParams, IntoResponses, Modify, OpenApi};

use super::{
    blocks, bookmarks, filters, follows, keys, lists, me, moderation, mutes, notifications, password_resets, pins,
    posts, quotes, reactions, reports, sessions, streams, tags, users,
};

/// What every command may be answered, besides what its own description says.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "described, never made: problems answer themselves")]
pub(super) enum Failures {
    /// The body is not JSON, or a part of the path or a header can't be read.
    #[response(status = 400, content_type = "application/problem+json")]
    Malformed(Problem),
    /// The body has more than 64 KiB.
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(Problem),
    /// The body is of another type than `application/json`.
    #[response(status = 415, content_type = "application/problem+json")]
    NotJson(Problem),
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

/// What every query may be answered.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "described, never made: problems answer themselves")]
pub(super) enum Reads {
    /// A header can't be read.
    #[response(status = 400, content_type = "application/problem+json")]
    Malformed(Problem),
    /// Too many requests; `Retry-After` says when to come back.
    #[response(status = 429, content_type = "application/problem+json")]
    TooMany(Problem),
    /// Not at the moment; `Retry-After` says when to come back.
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(Problem),
}

/// What every command of a logged-in user may be answered.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "described, never made: problems answer themselves")]
pub(super) enum NoGoodToken {
    /// There is no access token, or it is not valid.
    #[response(status = 401, content_type = "application/problem+json")]
    NotValid(Problem),
    /// The caller's account is suspended.
    #[response(status = 403, content_type = "application/problem+json")]
    Suspended(Problem),
}

/// There is no access token, or it is not valid.
#[derive(IntoResponses)]
#[response(status = 401, content_type = "application/problem+json")]
#[expect(dead_code, reason = "described, never made: problems answer themselves")]
pub(super) struct NotLoggedIn(Problem);

/// The access token is not valid, its session is over, or its user is deleted.
#[derive(IntoResponses)]
#[response(status = 401, content_type = "application/problem+json")]
#[expect(dead_code, reason = "described, never made: problems answer themselves")]
pub(super) struct SessionEnded(Problem);

/// It is not there, or the caller may not see it.
#[derive(IntoResponses)]
#[response(status = 404, content_type = "application/problem+json")]
#[expect(dead_code, reason = "described, never made: problems answer themselves")]
pub(super) struct NotThere(Problem);

/// The version does not match `If-Match`.
#[derive(IntoResponses)]
#[response(status = 412, content_type = "application/problem+json")]
#[expect(dead_code, reason = "described, never made: problems answer themselves")]
pub(super) struct OtherVersion(Problem);

/// It belongs to another user, or the caller's account is suspended.
#[derive(IntoResponses)]
#[response(status = 403, content_type = "application/problem+json")]
#[expect(dead_code, reason = "described, never made: problems answer themselves")]
pub(super) struct NotTheAuthor(Problem);

/// There is no such user, or the user is deleted.
#[derive(IntoResponses)]
#[response(status = 404, content_type = "application/problem+json")]
#[expect(dead_code, reason = "described, never made: problems answer themselves")]
pub(super) struct NoSuchUser(Problem);

/// The user has not asked to follow, or no longer does.
#[derive(IntoResponses)]
#[response(status = 404, content_type = "application/problem+json")]
#[expect(dead_code, reason = "described, never made: problems answer themselves")]
pub(super) struct NoSuchRequest(Problem);

/// You block the user, or the user blocks you, or your account is suspended.
#[derive(IntoResponses)]
#[response(status = 403, content_type = "application/problem+json")]
#[expect(dead_code, reason = "described, never made: problems answer themselves")]
pub(super) struct Blocked(Problem);

/// The current password is wrong, or the account is suspended and these changes are not about the password or the e-mail address.
#[derive(IntoResponses)]
#[response(status = 403, content_type = "application/problem+json")]
#[expect(dead_code, reason = "described, never made: problems answer themselves")]
pub(super) struct WrongPassword(Problem);

/// The caller is no moderator, or only an admin can do this to the user, or the caller's account is suspended.
#[derive(IntoResponses)]
#[response(status = 403, content_type = "application/problem+json")]
#[expect(dead_code, reason = "described, never made: problems answer themselves")]
pub(super) struct ModeratorsOnly(Problem);

#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "described; `IfMatch` reads it")]
pub(super) struct Versions {
    /// The `ETag` of the version to change or delete
    #[param(rename = "If-Match")]
    if_match: Option<String>,
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Microblog commands",
        description = "The write side. Commands that change users, posts or follows answer with a `Consistency-Token`. A query with this token shows the change. Errors are problem+json (RFC 9457). Later versions add fields to answers, and values to enumerations such as `visibility`: clients ignore those that they don't know.",
    ),
    paths(
        users::register, password_resets::reset,
        me::show, me::change, me::delete,
        follows::follow, follows::unfollow, follows::accept, follows::reject, follows::remove,
        blocks::block, blocks::unblock,
        mutes::mute, mutes::unmute,
        sessions::log_in, sessions::list, sessions::refresh, sessions::log_out, sessions::end,
        streams::issue_ticket,
        posts::create, posts::edit, posts::delete,
        reactions::like, reactions::unlike, reactions::repost, reactions::unrepost,
        bookmarks::bookmark, bookmarks::unbookmark,
        pins::pin, pins::unpin,
        quotes::detach,
        tags::follow, tags::unfollow,
        lists::create, lists::change, lists::delete,
        lists::add_member, lists::remove_member, lists::add_tag, lists::remove_tag,
        keys::jwks,
        filters::create, filters::change, filters::delete,
        notifications::mark_read, notifications::dismiss,
        reports::report, reports::resolve,
        moderation::hide, moderation::unhide, moderation::suspend, moderation::restore,
    ),
    modifiers(&Bearer, &Seen, &RequestHeaders),
)]
struct Description;

struct Bearer;

/// Every operation that writes accepts the token of what its caller has seen, so that the token of the answer includes it.
struct Seen;

impl Modify for Seen {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        for item in openapi.paths.paths.values_mut() {
            let operations = [&mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
            for operation in operations
                .into_iter()
                .flatten()
                .filter(|operation| answers_with_token(operation))
            {
                let seen = ParameterBuilder::new()
                    .name("Consistency-Token")
                    .parameter_in(ParameterIn::Header)
                    .required(Required::False)
                    .description(Some("What the caller has seen. The token of the answer includes it"))
                    .schema(Some(ObjectBuilder::new().schema_type(Type::String)));
                operation
                    .parameters
                    .get_or_insert_default()
                    .push(RefOr::T(seen.build()));
            }
        }
    }
}

fn answers_with_token(operation: &Operation) -> bool {
    operation
        .responses
        .responses
        .values()
        .any(|response| matches!(response, RefOr::T(response) if response.headers.contains_key("Consistency-Token")))
}

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

/// The description behind `/openapi.json`.
pub fn openapi() -> utoipa::openapi::OpenApi {
    Description::openapi()
}
