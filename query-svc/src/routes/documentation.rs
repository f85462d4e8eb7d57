//! What the descriptions of several routes have in common.

use service::http::Problem;
use utoipa::{IntoParams, IntoResponses};

/// The errors that any query may be answered with.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "only for the description: a `Problem` is its own response")]
pub(super) enum Failures {
    /// A part of the path, a parameter or a header can't be read.
    #[response(status = 400, content_type = "application/problem+json")]
    Malformed(Problem),
    /// There is no access token where one is needed, or it is not valid.
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthorized(Problem),
    /// Too many requests; `Retry-After` says when to come back.
    #[response(status = 429, content_type = "application/problem+json")]
    TooMany(Problem),
    /// Not at the moment; `Retry-After` says when to come back.
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(Problem),
}

/// It is not there, or the caller may not see it.
#[derive(IntoResponses)]
#[response(status = 404, content_type = "application/problem+json")]
#[expect(dead_code, reason = "only for the description: a `Problem` is its own response")]
pub(super) struct NotFound(Problem);

/// The caller is no moderator.
#[derive(IntoResponses)]
#[response(status = 403, content_type = "application/problem+json")]
#[expect(dead_code, reason = "only for the description: a `Problem` is its own response")]
pub(super) struct ModeratorsOnly(Problem);

#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "only for the description: `TokenHeader` reads it")]
pub(super) struct Seen {
    /// The token from a command's answer
    #[param(rename = "Consistency-Token")]
    token: Option<String>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "only for the description: `UserName` reads it")]
pub(super) struct UserPath {
    /// The user's id, or the handle with an @ in front
    #[param(
        example = "@ada",
        pattern = "^(@[A-Za-z0-9_]{1,30}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$"
    )]
    id: String,
}
