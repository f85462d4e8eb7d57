//! The headers with a meaning for the API: versions, idempotency, consistency, correlation.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::{ETAG, HeaderMap, HeaderName, HeaderValue, IF_MATCH};
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use uuid::Uuid;

use super::client;
use super::edge::EdgeState;
use super::place::Waiter;
use super::problem::Problem;
use super::rate_limit::Key;
use event_log::consistency::{self, ConsistencyToken};
use model::values::IdempotencyKey;

pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The `ETag` of a version, for a response: `insert_header(etag(3))`.
pub fn etag(version: i64) -> (HeaderName, HeaderValue) {
    let value = HeaderValue::from_str(&format!("\"{version}\"")).expect("digits and quotes are visible ASCII");
    (ETAG, value)
}

/// `If-Match`: the versions that the client wants to change. `None` means any version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IfMatch(pub Option<Vec<i64>>);

impl IfMatch {
    fn parse(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut versions = Vec::new();
        let mut given = false;
        for value in headers.get_all(IF_MATCH) {
            given = true;
            let value = value.to_str().map_err(|_| malformed_if_match())?;
            if value.trim() == "*" {
                return Ok(Self(None));
            }
            for tag in entity_tags(value)? {
                // RFC 9110: a weak tag never matches, and a strong one that is not ours matches no version.
                if let EntityTag::Strong(text) = tag
                    && let Ok(version) = text.parse()
                {
                    versions.push(version);
                }
            }
        }
        Ok(Self(given.then_some(versions)))
    }
}

/// An `entity-tag` of RFC 9110, without the quotes.
#[derive(Debug, PartialEq, Eq)]
enum EntityTag<'a> {
    Strong(&'a str),
    Weak,
}

/// A list such as `"3", W/"4"`. It has at least one tag, and may have empty elements between commas (RFC 9110, 5.6.1.2). A tag may have
/// commas between its quotes.
fn entity_tags(list: &str) -> Result<Vec<EntityTag<'_>>, Problem> {
    let mut tags = Vec::new();
    let mut rest = list;
    loop {
        rest = rest.trim_start_matches([',', ' ', '\t']);
        if rest.is_empty() {
            break;
        }
        let (is_weak, quoted) = match rest.strip_prefix("W/") {
            Some(quoted) => (true, quoted),
            None => (false, rest),
        };
        let (tag, after) = quoted
            .strip_prefix('"')
            .and_then(|text| text.split_once('"'))
            .ok_or_else(malformed_if_match)?;
        tags.push(if is_weak {
            EntityTag::Weak
        } else {
            EntityTag::Strong(tag)
        });
        rest = after.trim_start();
        if !rest.is_empty() && !rest.starts_with(',') {
            return Err(malformed_if_match());
        }
    }
    if tags.is_empty() {
        return Err(malformed_if_match());
    }
    Ok(tags)
}

fn malformed_if_match() -> Problem {
    Problem::malformed_field("If-Match", "must be an ETag in quotes, as in an answer")
}

impl FromRequest for IfMatch {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Self::parse(request.headers()))
    }
}

/// `Idempotency-Key`, if the client sent one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyHeader(pub Option<IdempotencyKey>);

impl FromRequest for KeyHeader {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(
            single(request.headers(), &IDEMPOTENCY_KEY, "Idempotency-Key").and_then(|text| {
                let key = text.map(IdempotencyKey::parse).transpose();
                key.map(Self)
                    .map_err(|error| Problem::malformed_field("Idempotency-Key", error))
            }),
        )
    }
}

/// `Consistency-Token`, if the client sent one.
#[derive(Debug, Clone)]
pub struct TokenHeader {
    pub token: Option<ConsistencyToken>,
    /// `None` if there is no token, and in a test of a bare handler.
    waiter: Option<Waiter<Key>>,
}

impl TokenHeader {
    /// Waits for what the token requires. Meanwhile the request does not count as in flight.
    ///
    /// # Errors
    ///
    /// 429 if too many requests of this caller wait already. 503 if too many requests wait, or if too many are in flight afterwards.
    pub async fn wait<T>(&self, wait: impl Future<Output = T>) -> Result<T, Problem> {
        match &self.waiter {
            Some(waiter) => waiter.wait(wait).await,
            None => Ok(wait.await),
        }
    }

    /// The header of an answer with this token.
    pub fn header(token: &ConsistencyToken) -> (HeaderName, HeaderValue) {
        let value = HeaderValue::from_str(&token.to_string()).expect("base64url is visible ASCII");
        (HeaderName::from_static(consistency::HEADER), value)
    }
}

impl FromRequest for TokenHeader {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let name = HeaderName::from_static(consistency::HEADER);
        ready(single(request.headers(), &name, "Consistency-Token").and_then(|text| {
            let token = text.map(str::parse).transpose();
            let token = token.map_err(|error| Problem::malformed_field("Consistency-Token", error))?;
            let waiter = EdgeState::of(request)
                .filter(|_| token.is_some())
                .map(|edge| Waiter::new(request, &edge.catching_up, client::waiting_key(edge, request)));
            Ok(Self { token, waiter })
        }))
    }
}

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName, shown: &str) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name);
    let (first, second) = (values.next(), values.next());
    if second.is_some() {
        return Err(Problem::malformed_field(shown, "is given more than once"));
    }
    first
        .map(HeaderValue::to_str)
        .transpose()
        .map_err(|_| Problem::malformed_field(shown, "must be visible ASCII"))
}

/// The id that a request shares with all that it causes: the client's `X-Request-Id` if it is a UUID, otherwise a new one. The answer has
/// it, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CorrelationId(pub Uuid);

impl CorrelationId {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let given = headers.get(X_REQUEST_ID).and_then(|value| value.to_str().ok());
        Self(
            given
                .and_then(|text| Uuid::try_parse(text).ok())
                .unwrap_or_else(Uuid::now_v7),
        )
    }
}

/// The id of a request: the one that the client has sent, or a new one.
pub(super) fn correlation_id(request: &HttpRequest) -> Uuid {
    let known = request.extensions().get::<CorrelationId>().copied();
    known.unwrap_or_else(|| CorrelationId::of(request.headers())).0
}

impl FromRequest for CorrelationId {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self(correlation_id(request))))
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn if_match(value: &str) -> Result<IfMatch, Problem> {
        IfMatch::parse(
            TestRequest::default()
                .insert_header((IF_MATCH, value))
                .to_http_request()
                .headers(),
        )
    }

    #[test]
    fn if_match_names_versions() {
        assert_eq!(if_match("\"3\"").unwrap(), IfMatch(Some(vec![3])));
        assert_eq!(if_match("\"3\", \"4\"").unwrap(), IfMatch(Some(vec![3, 4])));
        assert_eq!(if_match("*").unwrap(), IfMatch(None));
        assert_eq!(IfMatch::parse(&HeaderMap::new()).unwrap(), IfMatch(None));
        assert_eq!(if_match("W/\"3\" ,\"a, b\",\"4\"").unwrap(), IfMatch(Some(vec![4])));
        for empty in ["\"3\",", ",\"3\"", " , \"3\" ,\t, ", "\"3\" ,,"] {
            assert_eq!(if_match(empty).unwrap(), IfMatch(Some(vec![3])), "{empty}");
        }
        for nothing in ["W/\"3\"", "\"elsewhere\"", "\"3,4\"", "\"\""] {
            assert_eq!(if_match(nothing).unwrap(), IfMatch(Some(vec![])));
        }
        for malformed in ["3", "", "\"3", "\"a\"b\"", ",", "\"3\" \"4\"", "*, \"3\"", "w/\"3\""] {
            assert_eq!(if_match(malformed).unwrap_err().status, 400, "{malformed}");
        }
    }
}
