//! Strict parsing of JSON bodies.

use std::io::Read;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use actix_web::web::{Bytes, BytesMut};
use actix_web::{FromRequest, HttpRequest};
use futures_util::future::LocalBoxFuture;
use futures_util::{FutureExt, StreamExt};
use serde::de::{DeserializeOwned, IgnoredAny};

use super::client;
use super::edge::EdgeState;
use super::place::Waiter;
use super::problem::Problem;

/// The most bytes of a body.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// Used if nothing is configured, as in a test of one handler.
const DEFAULT_BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// A JSON body, plain or compressed. A body that can't be read is 400, 408, 413 or 415, or 429 if too many bodies arrive from one network.
/// Unknown fields (if the type denies them), missing fields and wrong types are 422, and the problem names them.
#[derive(Debug, Clone)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned + 'static> FromRequest for Json<T> {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let body = read_body(request, payload);
        async move { Ok(Self(parse_json(&body.await?)?)) }.boxed_local()
    }
}

/// A body of another kind, not yet read. It arrives within the same limits.
#[derive(Debug, Clone)]
pub struct Body(pub Bytes);

impl FromRequest for Body {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let arrival = arrival(request, payload);
        async move { Ok(Self(arrival.await?)) }.boxed_local()
    }
}

/// A JSON body, for a request that needs none: without one, and without a `Content-Type`, it is the default. So is `null`.
#[derive(Debug, Clone)]
pub struct OptionalJson<T>(pub T);

impl<T: Default + DeserializeOwned + 'static> FromRequest for OptionalJson<T> {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        if request.headers().contains_key(CONTENT_TYPE) {
            let body = read_body(request, payload);
            return async move {
                let body = body.await?;
                match body.trim_ascii() {
                    b"null" => Ok(Self(T::default())),
                    _ => Ok(Self(parse_json(&body)?)),
                }
            }
            .boxed_local();
        }
        let arrival = arrival(request, payload);
        async move {
            match arrival.await?.is_empty() {
                true => Ok(Self(T::default())),
                false => Err(not_json()),
            }
        }
        .boxed_local()
    }
}

fn read_body(request: &HttpRequest, payload: &mut Payload) -> impl Future<Output = Result<Bytes, Problem>> + use<> {
    let checked = check_head(request);
    let arrival = arrival(request, payload);
    async move {
        let coding = checked?;
        coding.decode(arrival.await?)
    }
}

/// The body as it was sent.
fn arrival(request: &HttpRequest, payload: &mut Payload) -> impl Future<Output = Result<Bytes, Problem>> + use<> {
    let edge = EdgeState::of(request);
    let timeout = edge.map_or(DEFAULT_BODY_TIMEOUT, |edge| edge.body_timeout);
    let waiter = edge.map(|edge| {
        let network = client::network(client::address(edge, request));
        Waiter::new(request, &edge.arriving, network)
    });
    let payload = payload.take();
    async move {
        let arrival = tokio::time::timeout(timeout, collect(payload));
        let arrived = match &waiter {
            Some(waiter) => waiter.wait(arrival).await?,
            None => arrival.await,
        };
        arrived.unwrap_or_else(|_| Err(Problem::request_timeout()))
    }
}

fn not_json() -> Problem {
    Problem::unsupported_media_type("Send JSON, with `Content-Type: application/json`.")
}

async fn collect(mut payload: Payload) -> Result<Bytes, Problem> {
    let mut body = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| Problem::malformed(format!("The body could not be read: {error}.")))?;
        if body.len() + chunk.len() > MAX_BODY_BYTES {
            return Err(Problem::payload_too_large(MAX_BODY_BYTES));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// How a body is encoded (`Content-Encoding`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Identity,
    Gzip,
    Zstd,
}

/// The largest window that a client may make us keep for decoding (RFC 9659: 8 MB).
const ZSTD_WINDOW_LOG: u32 = 23;

impl Coding {
    fn of(request: &HttpRequest) -> Result<Self, Problem> {
        let mut codings = request.headers().get_all(CONTENT_ENCODING);
        let (first, second) = (codings.next(), codings.next());
        let name = first.map(|value| value.to_str().unwrap_or("?").trim().to_ascii_lowercase());
        match name.as_deref() {
            _ if second.is_some() => Err(Problem::unsupported_coding()),
            None | Some("" | "identity") => Ok(Self::Identity),
            Some("gzip" | "x-gzip") => Ok(Self::Gzip),
            Some("zstd") => Ok(Self::Zstd),
            Some(_) => Err(Problem::unsupported_coding()),
        }
    }

    /// The decoded body. It has the same size limit as the encoded one.
    fn decode(self, body: Bytes) -> Result<Bytes, Problem> {
        let decoded = match self {
            Self::Identity => return Ok(body),
            Self::Gzip => read_limited(flate2::read::MultiGzDecoder::new(&*body)),
            Self::Zstd => zstd::stream::read::Decoder::with_buffer(&*body).and_then(|mut decoder| {
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                read_limited(decoder)
            }),
        };
        let decoded = decoded.map_err(|error| Problem::malformed(format!("The body can't be decoded: {error}.")))?;
        if decoded.len() > MAX_BODY_BYTES {
            return Err(Problem::payload_too_large(MAX_BODY_BYTES));
        }
        Ok(decoded.into())
    }
}

/// Reads at most one byte more than a body may have. That byte shows that the body is too long.
fn read_limited(decoder: impl Read) -> std::io::Result<Vec<u8>> {
    let mut decoded = Vec::new();
    decoder.take(MAX_BODY_BYTES as u64 + 1).read_to_end(&mut decoded)?;
    Ok(decoded)
}

/// The checks that are possible before the body arrives.
fn check_head(request: &HttpRequest) -> Result<Coding, Problem> {
    let content_type = request
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if !is_json(content_type) {
        return Err(not_json());
    }
    let coding = Coding::of(request)?;
    let length = request
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok());
    match length.map(str::parse::<usize>) {
        Some(Ok(length)) if length > MAX_BODY_BYTES => Err(Problem::payload_too_large(MAX_BODY_BYTES)),
        _ => Ok(coding),
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
        .all(|charset| charset == "utf-8" || charset == "utf8");
    charset_fits
        && (essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json")))
}

/// What a [`Json`] does with its body.
///
/// # Errors
///
/// 400 if this is not JSON. 422 if it has not the form of a `T`.
pub fn parse_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
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
    // The field's name is enough. The line and the column would not help.
    let message = error.to_string();
    let message = message
        .rsplit_once(" at line ")
        .map_or(message.as_str(), |(message, _)| message);
    let (field, message) = super::fields::named(path, message, "body");
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
        id: Option<model::ids::PostId>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only whether it can be read matters")]
    struct Inner {
        count: u8,
    }

    fn field_of(body: &str) -> (u16, String, String) {
        let problem = parse_json::<Request>(body.as_bytes()).unwrap_err();
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
            expected(422, "txet", "is not known here; expected one of `text`, `inner`, `id`")
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
            expected(422, "inner.x", "is not known here; expected `count`")
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
        assert_eq!(parse_json::<Request>(b"{\"text\":\"\xff\"}").unwrap_err().status, 400);
    }

    #[test]
    fn json_by_its_names() {
        for good in [
            "application/json",
            "Application/JSON; charset=UTF-8",
            "application/json;charset=utf8",
            "application/json; charset=\"utf-8\"",
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
