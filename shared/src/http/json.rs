//! Bodies: JSON, strictly.

use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use actix_web::web::{Bytes, BytesMut};
use actix_web::{FromRequest, HttpRequest};
use futures_util::future::LocalBoxFuture;
use futures_util::{FutureExt, StreamExt};
use serde::de::{DeserializeOwned, IgnoredAny};

use super::edge::EdgeState;
use super::problem::Problem;
use crate::crypto::sha256;

/// The most bytes that a body may have.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// Where nothing is configured, as in a test of one handler.
const DEFAULT_BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// A JSON body. What can't be read is 400, 408, 413 or 415; unknown fields (where the type denies them), missing ones
/// and wrong types are 422 and named.
#[derive(Debug, Clone)]
pub struct Json<T>(pub T);

/// A JSON body, and the hash of its bytes, by which a replay under the same idempotency key is compared.
#[derive(Debug, Clone)]
pub struct HashedJson<T> {
    pub value: T,
    pub sha256: [u8; 32],
}

impl<T: DeserializeOwned + 'static> FromRequest for Json<T> {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let body = read_body(request, payload);
        async move { Ok(Self(parse(&body.await?)?)) }.boxed_local()
    }
}

impl<T: DeserializeOwned + 'static> FromRequest for HashedJson<T> {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let body = read_body(request, payload);
        async move {
            let body = body.await?;
            Ok(Self {
                value: parse(&body)?,
                sha256: sha256(&body),
            })
        }
        .boxed_local()
    }
}

fn read_body(request: &HttpRequest, payload: &mut Payload) -> impl Future<Output = Result<Bytes, Problem>> + use<> {
    let checked = check_head(request);
    let timeout = EdgeState::of(request).map_or(DEFAULT_BODY_TIMEOUT, |edge| edge.body_timeout);
    let mut payload = payload.take();
    async move {
        checked?;
        let read = async {
            let mut body = BytesMut::new();
            while let Some(chunk) = payload.next().await {
                let chunk =
                    chunk.map_err(|error| Problem::malformed(format!("The body could not be read: {error}.")))?;
                if body.len() + chunk.len() > MAX_BODY_BYTES {
                    return Err(Problem::payload_too_large(MAX_BODY_BYTES));
                }
                body.extend_from_slice(&chunk);
            }
            Ok(body.freeze())
        };
        match tokio::time::timeout(timeout, read).await {
            Ok(read) => read,
            Err(_) => Err(Problem::request_timeout()),
        }
    }
}

fn check_head(request: &HttpRequest) -> Result<(), Problem> {
    let content_type = request
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if !is_json(content_type) {
        return Err(Problem::unsupported_media_type(
            "Send JSON, with `Content-Type: application/json`.",
        ));
    }
    let length = request
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok());
    match length.map(str::parse::<usize>) {
        Some(Ok(length)) if length > MAX_BODY_BYTES => Err(Problem::payload_too_large(MAX_BODY_BYTES)),
        _ => Ok(()),
    }
}

fn is_json(content_type: &str) -> bool {
    let mut parts = content_type.split(';').map(|part| part.trim().to_ascii_lowercase());
    let essence = parts.next().unwrap_or_default();
    let charset_fits = parts
        .filter_map(|parameter| {
            parameter
                .strip_prefix("charset=")
                .map(|charset| charset.trim_matches('"').to_owned())
        })
        .all(|charset| charset == "utf-8");
    charset_fits
        && (essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json")))
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let text = std::str::from_utf8(body).map_err(|_| Problem::malformed("The body is not valid UTF-8."))?;
    if !text.trim_ascii_start().starts_with('{') {
        // Serde would also fill a structure from a list, by position.
        serde_json::from_str::<IgnoredAny>(text).map_err(|error| refusal("", &error))?;
        return Err(Problem::invalid_field("body", "must be a JSON object"));
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        refusal(&path, error.inner())
    })?;
    deserializer.end().map_err(|error| refusal("", &error))?;
    Ok(value)
}

fn refusal(path: &str, error: &serde_json::Error) -> Problem {
    if !error.is_data() {
        return Problem::malformed(format!("The body is not valid JSON: {error}."));
    }
    // The place is no use to whoever reads the name of the field.
    let message = error.to_string();
    let message = message
        .rsplit_once(" at line ")
        .map_or(message.as_str(), |(message, _)| message);
    let path = path.trim_matches('.');
    let named = |start: &str| message.strip_prefix(start).and_then(|rest| rest.split('`').next());
    let below = |name: &str| match path.rsplit_once('.') {
        _ if path.is_empty() || path == name => name.to_owned(),
        Some((_, last)) if last == name => path.to_owned(),
        _ => format!("{path}.{name}"),
    };
    let (field, message) = if let Some(name) = named("missing field `") {
        (below(name), "is missing".to_owned())
    } else if let Some(name) = named("unknown field `") {
        (below(name), "is not known here".to_owned())
    } else if let Some(name) = named("duplicate field `") {
        (below(name), "is given twice".to_owned())
    } else if path.is_empty() {
        ("body".to_owned(), message.to_owned())
    } else {
        (path.to_owned(), message.to_owned())
    };
    Problem::invalid_field(field, message)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only whether it can be read matters")]
    struct Request {
        text: String,
        inner: Option<Inner>,
        id: Option<crate::ids::PostId>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only whether it can be read matters")]
    struct Inner {
        count: u8,
    }

    fn field_of(body: &str) -> (u16, String, String) {
        let problem = parse::<Request>(body.as_bytes()).unwrap_err();
        let (field, message) = problem
            .errors
            .into_iter()
            .next()
            .map_or_else(Default::default, |error| (error.field, error.message));
        (problem.status, field, message)
    }

    #[test]
    fn every_slip_is_named() {
        let expected = |status: u16, field: &str, message: &str| (status, field.to_owned(), message.to_owned());
        assert_eq!(field_of("{}"), expected(422, "text", "is missing"));
        assert_eq!(
            field_of(r#"{"text":"a","txet":1}"#),
            expected(422, "txet", "is not known here")
        );
        assert_eq!(
            field_of(r#"{"text":"a","text":"b"}"#),
            expected(422, "text", "is given twice")
        );
        assert_eq!(
            field_of(r#"{"text":5}"#),
            expected(422, "text", "invalid type: integer `5`, expected a string")
        );
        assert_eq!(
            field_of(r#"{"text":null}"#),
            expected(422, "text", "invalid type: null, expected a string")
        );
        assert_eq!(
            field_of(r#"{"text":"a","inner":{}}"#),
            expected(422, "inner.count", "is missing")
        );
        assert_eq!(
            field_of(r#"{"text":"a","inner":{"x":1}}"#),
            expected(422, "inner.x", "is not known here")
        );
        assert_eq!(
            field_of(r#"{"text":"a","inner":{"count":256}}"#),
            expected(422, "inner.count", "invalid value: integer `256`, expected u8")
        );
        assert_eq!(field_of(r#"{"text":"a","id":"x"}"#).1, "id");
        for other in ["[]", "[\"a\"]", "\"text\"", "null", " 1 "] {
            assert_eq!(field_of(other), expected(422, "body", "must be a JSON object"));
        }
    }

    #[test]
    fn what_is_not_json_is_malformed() {
        for body in [
            "",
            "{",
            "{'text':1}",
            r#"{"text":"a"} x"#,
            r#"{"text":"\ud800"}"#,
            &"[".repeat(10_000),
        ] {
            assert_eq!(field_of(body), (400, String::new(), String::new()), "{body:.40}");
        }
        assert_eq!(parse::<Request>(b"{\"text\":\"\xff\"}").unwrap_err().status, 400);
    }

    #[test]
    fn json_by_its_names() {
        for good in [
            "application/json",
            "Application/JSON; charset=UTF-8",
            "application/merge-patch+json",
        ] {
            assert!(is_json(good), "{good}");
        }
        for bad in [
            "",
            "text/json",
            "text/plain",
            "application/json; charset=latin1",
            "application/x-www-form-urlencoded",
        ] {
            assert!(!is_json(bad), "{bad}");
        }
    }
}
