//! Calls the public API. Waits when the API says so, tries again after failures, and gives up in the end.
//!
//! Every call through this client is safe to send twice: it is a read, an idempotent PUT or DELETE, it carries an `Idempotency-Key`, or (a
//! registration) its repetition is answered 409.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};
use reqwest::header::{AUTHORIZATION, HeaderMap, RETRY_AFTER};
use reqwest::{ClientBuilder, Method, StatusCode, Url};
use serde::de::DeserializeOwned;

/// The limits of the API itself are shorter. This limit ends a connection that hangs.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const DELAYS: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(100))
    .with_max_delay(Duration::from_secs(5))
    .without_max_times();
/// The pause after an answer that says "later" but does not say when.
const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(1);

/// One of the two services.
#[derive(Debug, Clone)]
pub struct ApiClient {
    http: reqwest::Client,
    base: String,
    give_up_after: Duration,
    throttled: Arc<AtomicU64>,
}

/// A request.
#[derive(Debug, Clone)]
pub struct Call<'a> {
    method: Method,
    path: String,
    bearer: Option<&'a str>,
    idempotency_key: Option<&'a str>,
    consistency_token: Option<&'a str>,
    body: Option<serde_json::Value>,
}

impl<'a> Call<'a> {
    pub fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    pub fn put(path: impl Into<String>) -> Self {
        Self::new(Method::PUT, path)
    }

    pub fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path)
    }

    pub fn post(path: impl Into<String>, body: serde_json::Value) -> Self {
        Self {
            body: Some(body),
            ..Self::new(Method::POST, path)
        }
    }

    pub fn patch(path: impl Into<String>, body: serde_json::Value) -> Self {
        Self {
            body: Some(body),
            ..Self::new(Method::PATCH, path)
        }
    }

    fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            bearer: None,
            idempotency_key: None,
            consistency_token: None,
            body: None,
        }
    }

    pub fn bearer(mut self, access_token: &'a str) -> Self {
        self.bearer = Some(access_token);
        self
    }

    pub fn body(mut self, body: serde_json::Value) -> Self {
        self.body = Some(body);
        self
    }

    pub fn idempotency_key(mut self, key: &'a str) -> Self {
        self.idempotency_key = Some(key);
        self
    }

    pub fn consistency_token(mut self, token: &'a str) -> Self {
        self.consistency_token = Some(token);
        self
    }
}

/// Any answer, whatever its status. The client returns no 429, and repeats a call that is answered 408 (a server ends a connection that was
/// idle while the request was on its way) or 5xx.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    /// The next call sends it, so that it sees what this call did.
    pub consistency_token: Option<String>,
    request: String,
    body: Vec<u8>,
}

impl Answer {
    /// The body of a success as `T`. Any other answer is an error that quotes the answer.
    pub fn success<T: DeserializeOwned>(&self) -> Result<T, CallError> {
        if !self.status.is_success() {
            return Err(self.unexpected());
        }
        serde_json::from_slice(&self.body).map_err(|error| CallError::Unexpected {
            request: self.request.clone(),
            status: self.status,
            body: format!("{error} in {}", self.excerpt()),
        })
    }

    /// This answer as an error, for a caller that expected another one.
    pub fn unexpected(&self) -> CallError {
        CallError::Unexpected {
            request: self.request.clone(),
            status: self.status,
            body: self.excerpt(),
        }
    }

    /// What is wrong, in the words of the problem document.
    pub fn problem(&self) -> Problem {
        let mut problem: Problem = serde_json::from_slice(&self.body).unwrap_or_default();
        if problem.title.is_empty() {
            problem.title = self.status.to_string();
        }
        problem
    }

    fn excerpt(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        text.chars().take(300).collect()
    }
}

/// The parts of an RFC 9457 problem document that are worth showing.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub struct Problem {
    pub title: String,
    pub detail: String,
}

#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("{request} got no usable answer for {} s; the last attempt: {last}", .waited.as_secs())]
    GaveUp {
        request: String,
        waited: Duration,
        last: String,
    },
    #[error("{request} was answered {status}: {body}")]
    Unexpected {
        request: String,
        status: StatusCode,
        body: String,
    },
}

impl ApiClient {
    /// `give_up_after` limits how long a call is repeated while every attempt fails. An answer that says to slow down (429) is no failure:
    /// the client obeys it without a limit.
    pub fn new(base: &Url, give_up_after: Duration) -> Result<Self, reqwest::Error> {
        let http = connector(base).timeout(ANSWER_TIMEOUT).build()?;
        let base = base.as_str().trim_end_matches('/').to_owned();
        Ok(Self {
            http,
            base,
            give_up_after,
            throttled: Arc::default(),
        })
    }

    /// How many answers said to slow down.
    pub fn throttled(&self) -> u64 {
        self.throttled.load(Ordering::Relaxed)
    }

    pub async fn call(&self, call: &Call<'_>) -> Result<Answer, CallError> {
        let mut failing_since: Option<Instant> = None;
        let mut delays = DELAYS.build();
        loop {
            let (last, told) = match self.send(call).await {
                Ok((StatusCode::TOO_MANY_REQUESTS, headers, _)) => {
                    self.throttled.fetch_add(1, Ordering::Relaxed);
                    failing_since = None;
                    tokio::time::sleep(spread(retry_after(&headers).unwrap_or(DEFAULT_RETRY_AFTER))).await;
                    continue;
                }
                Ok((status, headers, body)) if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT => {
                    let answer = Answer {
                        status,
                        consistency_token: None,
                        request: call.to_string(),
                        body,
                    };
                    (format!("{status} {}", answer.excerpt()), retry_after(&headers))
                }
                Ok((status, headers, body)) => {
                    let token = headers
                        .get(event_log::consistency::HEADER)
                        .and_then(|value| value.to_str().ok());
                    let consistency_token = token.map(str::to_owned);
                    return Ok(Answer {
                        status,
                        consistency_token,
                        request: call.to_string(),
                        body,
                    });
                }
                Err(error) => (chain(&error), None),
            };
            let waited = failing_since.get_or_insert_with(Instant::now).elapsed();
            if waited >= self.give_up_after {
                return Err(CallError::GaveUp {
                    request: call.to_string(),
                    waited,
                    last,
                });
            }
            tracing::debug!(%call, %last, "trying again");
            let delay = delays.next().unwrap_or_default();
            tokio::time::sleep(spread(told.map_or(delay, |told| told.max(delay)))).await;
        }
    }

    async fn send(&self, call: &Call<'_>) -> Result<(StatusCode, HeaderMap, Vec<u8>), reqwest::Error> {
        let mut request = self
            .http
            .request(call.method.clone(), format!("{}{}", self.base, call.path));
        if let Some(token) = call.bearer {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        if let Some(key) = call.idempotency_key {
            request = request.header("idempotency-key", key);
        }
        if let Some(token) = call.consistency_token {
            request = request.header(event_log::consistency::HEADER, token);
        }
        if let Some(body) = &call.body {
            request = request.json(body);
        }
        let response = request.send().await?;
        let (status, headers) = (response.status(), response.headers().clone());
        // An answer whose body breaks off is the same as no answer.
        let body = response.bytes().await?.to_vec();
        Ok((status, headers, body))
    }
}

impl fmt::Display for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

/// Connects to a service. An answer has no limit yet.
pub(crate) fn connector(base: &Url) -> ClientBuilder {
    let builder = reqwest::Client::builder()
        .user_agent(concat!("microblog/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT);
    match base.host_str() {
        // A proxy for the outside world can't reach the services of this machine.
        Some("localhost" | "127.0.0.1" | "[::1]") => builder.no_proxy(),
        _ => builder,
    }
}

pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers
        .get(RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()
        .map(Duration::from_secs)
}

/// Adds up to a quarter, so that clients that were told to wait at the same time do not come back at the same time.
fn spread(wait: Duration) -> Duration {
    let random = u32::from(uuid::Uuid::new_v4().as_bytes()[0]);
    wait + wait * random / (4 * 255)
}

/// reqwest's own message leaves out the cause.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_grows_by_a_quarter_at_most() {
        for _ in 0..100 {
            let wait = spread(Duration::from_secs(4));
            assert!(
                (Duration::from_secs(4)..=Duration::from_secs(5)).contains(&wait),
                "{wait:?}"
            );
        }
    }

    #[test]
    fn retry_after_is_read_in_seconds() {
        let mut headers = HeaderMap::new();
        assert_eq!(retry_after(&headers), None);
        headers.insert(RETRY_AFTER, "7".parse().unwrap());
        assert_eq!(retry_after(&headers), Some(Duration::from_secs(7)));
    }

    #[test]
    fn an_answer_that_is_no_problem_document_still_has_a_title() {
        let answer = Answer {
            status: StatusCode::BAD_REQUEST,
            consistency_token: None,
            request: String::new(),
            body: b"<html>".to_vec(),
        };
        assert_eq!(answer.problem().title, "400 Bad Request");
    }
}
