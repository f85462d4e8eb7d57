//! RFC 9457 problem details: the answer to every request that fails.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{
    ACCEPT_ENCODING, ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use actix_web::{HttpResponse, HttpResponseBuilder, ResponseError};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub(super) const PROBLEM_JSON: &str = "application/problem+json";

/// What is wrong with one field, parameter or header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldError {
    /// The name of the field. Dots separate the levels of a nested field.
    #[schema(example = "text")]
    pub field: String,
    /// Completes the sentence that the field's name begins.
    #[schema(example = "must not be empty")]
    pub message: String,
}

/// Why a request was not fulfilled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// A name for programs, which never changes.
    #[schema(example = "urn:microblog:problem:validation-failed")]
    pub r#type: Cow<'static, str>,
    /// The same for every problem of this type.
    #[schema(example = "The request has invalid values")]
    pub title: Cow<'static, str>,
    #[schema(example = 422)]
    pub status: u16,
    /// What happened this time, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The fields with errors.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    // A slice, so that a problem is small enough to be returned by value.
    #[serde(skip)]
    headers: Box<[(Header, String)]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Header {
    RetryAfter,
    WwwAuthenticate,
    Allow,
    AcceptEncoding,
}

impl Header {
    const fn name(self) -> HeaderName {
        match self {
            Self::RetryAfter => RETRY_AFTER,
            Self::WwwAuthenticate => WWW_AUTHENTICATE,
            Self::Allow => ALLOW,
            Self::AcceptEncoding => ACCEPT_ENCODING,
        }
    }
}

impl Problem {
    fn new(status: StatusCode, slug: &str, title: &'static str) -> Self {
        Self {
            r#type: format!("urn:microblog:problem:{slug}").into(),
            title: title.into(),
            status: status.as_u16(),
            detail: None,
            errors: Vec::new(),
            headers: Box::default(),
        }
    }

    /// 400: a body that is not JSON.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "malformed-request",
            "The request can't be read",
        )
        .with_detail(detail)
    }

    /// 414: the query string is longer than any client needs.
    pub fn uri_too_long(limit: usize) -> Self {
        Self::new(StatusCode::URI_TOO_LONG, "uri-too-long", "The address is too long")
            .with_detail(format!("A query string may have at most {limit} bytes."))
    }

    /// 400: a path segment, a query parameter or a header that can't be read.
    pub fn malformed_field(field: impl Into<String>, message: impl fmt::Display) -> Self {
        let mut problem = Self::new(
            StatusCode::BAD_REQUEST,
            "malformed-request",
            "The request can't be read",
        );
        problem.errors.push(FieldError {
            field: field.into(),
            message: message.to_string(),
        });
        problem
    }

    /// 422: fields with invalid values.
    pub fn validation(errors: Vec<FieldError>) -> Self {
        let title = "The request has invalid values";
        let mut problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "validation-failed", title);
        problem.errors = errors;
        problem
    }

    /// 422: one field with an invalid value.
    pub fn invalid_field(field: impl Into<String>, message: impl fmt::Display) -> Self {
        Self::validation(vec![FieldError {
            field: field.into(),
            message: message.to_string(),
        }])
    }

    /// 401: nobody is logged in, but the request needs it.
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "Please log in")
            .with_detail(detail)
            .with_header(Header::WwwAuthenticate, "Bearer realm=\"microblog\"")
    }

    /// 401: a token that is not valid (RFC 6750).
    pub fn invalid_token(reason: impl fmt::Display) -> Self {
        let challenge = format!("Bearer realm=\"microblog\", error=\"invalid_token\", error_description=\"{reason}\"");
        Self::new(
            StatusCode::UNAUTHORIZED,
            "invalid-token",
            "The access token is not valid",
        )
        .with_detail(reason.to_string())
        .with_header(Header::WwwAuthenticate, challenge)
    }

    /// 403: a valid token whose scope does not allow this.
    pub fn insufficient_scope(scope: &str) -> Self {
        let challenge = format!("Bearer realm=\"microblog\", error=\"insufficient_scope\", scope=\"{scope}\"");
        Self::new(
            StatusCode::FORBIDDEN,
            "insufficient-scope",
            "The access token does not allow this",
        )
        .with_header(Header::WwwAuthenticate, challenge)
    }

    /// 403: it belongs to somebody else.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "This is not yours").with_detail(detail)
    }

    /// 404: it is deleted, never existed, or the caller may not see it.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "Not found").with_detail(detail)
    }

    /// 405, with the allowed methods.
    pub fn method_not_allowed(allow: Option<&str>) -> Self {
        let title = "This method is not allowed here";
        let problem = Self::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", title);
        match allow {
            Some(methods) => problem.with_header(Header::Allow, methods),
            None => problem,
        }
    }

    /// 408: a body that took too long to arrive.
    pub fn request_timeout() -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "request-timeout",
            "The request did not arrive in time",
        )
    }

    /// 409: the current state does not allow it.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", "Conflict with the current state").with_detail(detail)
    }

    /// 412: `If-Match` names another version.
    pub fn precondition_failed(detail: impl Into<String>) -> Self {
        let title = "The version does not match";
        Self::new(StatusCode::PRECONDITION_FAILED, "precondition-failed", title).with_detail(detail)
    }

    /// 413: a body over the limit, in bytes.
    pub fn payload_too_large(limit: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "payload-too-large",
            "The body is too large",
        )
        .with_detail(format!("A body may have at most {limit} bytes."))
    }

    /// 415: the content type of the body is not JSON.
    pub fn unsupported_media_type(detail: impl Into<String>) -> Self {
        let title = "The type of the body is not supported";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", title).with_detail(detail)
    }

    /// 415: the encoding of the body is not supported. The answer names the supported ones.
    pub fn unsupported_coding() -> Self {
        Self::unsupported_media_type("A body may be compressed once, with gzip or zstd.")
            .with_header(Header::AcceptEncoding, "gzip, zstd")
    }

    /// 429: too many requests.
    pub fn too_many_requests(retry_after: Duration) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", "Too many requests").with_retry_after(retry_after)
    }

    /// 503: not possible now, but soon.
    pub fn unavailable(detail: impl Into<String>, retry_after: Duration) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "This is not possible at the moment",
        )
        .with_detail(detail)
        .with_retry_after(retry_after)
    }

    /// 500: our error. It goes to the log, and the client learns no details.
    pub fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error, "a request failed");
        Self::of_status(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The problem for a status that the framework answered without a body.
    pub(super) fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::BAD_REQUEST => Self::new(status, "malformed-request", "The request can't be read"),
            StatusCode::NOT_FOUND => Self::not_found("There is nothing at this address."),
            StatusCode::METHOD_NOT_ALLOWED => Self::method_not_allowed(None),
            StatusCode::NOT_ACCEPTABLE => {
                Self::new(status, "not-acceptable", "No encoding of the answer is acceptable")
                    .with_detail("Answers are written plainly (identity), or with gzip, deflate or zstd.")
            }
            StatusCode::REQUEST_TIMEOUT => Self::request_timeout(),
            StatusCode::PAYLOAD_TOO_LARGE => Self::new(status, "payload-too-large", "The body is too large"),
            StatusCode::INTERNAL_SERVER_ERROR => Self::new(status, "internal", "Something went wrong here"),
            StatusCode::SERVICE_UNAVAILABLE => {
                Self::unavailable("Please try again in a moment.", Duration::from_secs(1))
            }
            // RFC 9457: only the status is known.
            other => Self {
                r#type: "about:blank".into(),
                title: other.canonical_reason().unwrap_or("Unknown").into(),
                status: other.as_u16(),
                detail: None,
                errors: Vec::new(),
                headers: Box::default(),
            },
        }
    }

    /// A more specific type, so that programs can tell problems apart: `handle-taken`.
    #[must_use]
    pub fn with_type(mut self, slug: &str, title: impl Into<Cow<'static, str>>) -> Self {
        self.r#type = format!("urn:microblog:problem:{slug}").into();
        self.title = title.into();
        self
    }

    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds a field with an error.
    #[must_use]
    pub fn with_field(mut self, field: impl Into<String>, message: impl fmt::Display) -> Self {
        self.errors.push(FieldError {
            field: field.into(),
            message: message.to_string(),
        });
        self
    }

    /// Rounded up to whole seconds, and never 0, because clients would then retry at once.
    #[must_use]
    pub fn with_retry_after(self, after: Duration) -> Self {
        let seconds = whole_seconds(after).max(1);
        self.with_header(Header::RetryAfter, seconds.to_string())
    }

    fn with_header(mut self, header: Header, value: impl Into<String>) -> Self {
        let mut headers = std::mem::take(&mut self.headers).into_vec();
        headers.retain(|(other, _)| *other != header);
        headers.push((header, value.into()));
        self.headers = headers.into_boxed_slice();
        self
    }

    /// The status as a type.
    pub fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a problem has only texts and numbers")
    }

    pub(super) fn header_values(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> + '_ {
        self.headers
            .iter()
            .filter_map(|(header, value)| HeaderValue::from_str(value).ok().map(|value| (header.name(), value)))
    }
}

pub(super) fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status, self.title)?;
        if let Some(detail) = &self.detail {
            write!(f, ": {detail}")?;
        }
        self.errors
            .iter()
            .try_for_each(|error| write!(f, "; {} {}", error.field, error.message))
    }
}

impl std::error::Error for Problem {}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        Problem::status_code(self)
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponseBuilder::new(Problem::status_code(self));
        response.insert_header((CONTENT_TYPE, PROBLEM_JSON));
        for header in self.header_values() {
            response.insert_header(header);
        }
        response.body(self.to_json())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_what_the_rfc_says() {
        let problem = Problem::invalid_field("text", "must not be empty").with_field("visibility", "is unknown");
        let json: serde_json::Value = serde_json::from_slice(&problem.to_json()).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "type": "urn:microblog:problem:validation-failed",
                "title": "The request has invalid values",
                "status": 422,
                "errors": [
                    {"field": "text", "message": "must not be empty"},
                    {"field": "visibility", "message": "is unknown"},
                ],
            })
        );
    }

    #[test]
    fn retry_after_is_rounded_up_and_never_zero() {
        let header = |duration| {
            let problem = Problem::too_many_requests(duration);
            problem.header_values().next().unwrap().1.to_str().unwrap().to_owned()
        };
        assert_eq!(header(Duration::from_millis(1)), "1");
        assert_eq!(header(Duration::ZERO), "1");
        assert_eq!(header(Duration::from_millis(2_001)), "3");
    }

    #[test]
    fn an_internal_error_tells_the_client_nothing() {
        let problem = Problem::internal(&std::io::Error::other("the password is hunter2"));
        assert!(!String::from_utf8(problem.to_json()).unwrap().contains("hunter2"));
        assert_eq!(problem.status, 500);
    }
}
