//! Requests that are repeated until a replica answers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use event_log::consistency::HEADER;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::Value;

use crate::world::{DEADLINE, Program, World};

const TIMEOUT: Duration = Duration::from_secs(5);
/// The pause keeps the processors free while all requests are refused.
pub(crate) const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(25);

#[derive(Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    command: Vec<String>,
    query: Vec<String>,
    turn: AtomicUsize,
}

/// What to send.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) bearer: Option<String>,
    pub(crate) body: Option<Value>,
    pub(crate) idempotency_key: Option<String>,
    /// The answer must include everything up to this token.
    pub(crate) token: Option<String>,
}

impl Call {
    pub(crate) fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            bearer: None,
            body: None,
            idempotency_key: None,
            token: None,
        }
    }

    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    pub(crate) fn by(mut self, bearer: &str) -> Self {
        self.bearer = Some(bearer.to_owned());
        self
    }

    pub(crate) fn body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    pub(crate) fn key(mut self, key: &str) -> Self {
        self.idempotency_key = Some(key.to_owned());
        self
    }

    pub(crate) fn after(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }
}

/// The first final answer: a success or a refusal.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Value,
    pub(crate) token: Option<String>,
    /// How many requests were sent before. Each may or may not have been carried out.
    pub(crate) repeated: usize,
}

impl Client {
    pub(crate) fn new(world: &World) -> Self {
        let http = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build();
        Self {
            http: http.expect("a client"),
            command: world.urls(Program::Command),
            query: world.urls(Program::Query),
            turn: AtomicUsize::new(0),
        }
    }

    /// Sends the same request to one replica after the other until it is answered.
    pub(crate) async fn send(&self, call: &Call) -> Answer {
        let replicas = if call.method == Method::GET {
            &self.query
        } else {
            &self.command
        };
        let deadline = Instant::now() + DEADLINE;
        let mut repeated = 0;
        loop {
            let replica = &replicas[self.turn.fetch_add(1, Ordering::Relaxed) % replicas.len()];
            let unanswered = match self.attempt(call, replica).await {
                Ok((status, ..)) if is_unanswered(status) => status.to_string(),
                Ok((status, token, body)) => {
                    assert!(
                        !status.is_server_error(),
                        "{} {} was answered {status}: {body}",
                        call.method,
                        call.path
                    );
                    let body = serde_json::from_str(&body).unwrap_or(Value::Null);
                    return Answer {
                        status,
                        body,
                        token,
                        repeated,
                    };
                }
                Err(error) => error.to_string(),
            };
            assert!(
                Instant::now() < deadline,
                "{} {} is not answered: {unanswered}",
                call.method,
                call.path
            );
            repeated += 1;
            tokio::time::sleep(BETWEEN_ATTEMPTS).await;
        }
    }

    async fn attempt(&self, call: &Call, replica: &str) -> reqwest::Result<(StatusCode, Option<String>, String)> {
        let request = self
            .http
            .request(call.method.clone(), format!("{replica}{}", call.path));
        let with = |request: RequestBuilder, name: &str, value: &Option<String>| match value {
            Some(value) => request.header(name, value),
            None => request,
        };
        let request = with(request, "idempotency-key", &call.idempotency_key);
        let mut request = with(request, HEADER, &call.token);
        if let Some(bearer) = &call.bearer {
            request = request.bearer_auth(bearer);
        }
        if let Some(body) = &call.body {
            request = request.json(body);
        }
        let answer = request.send().await?;
        let token = answer.headers().get(HEADER).and_then(|token| token.to_str().ok());
        let token = token.map(str::to_owned);
        Ok((answer.status(), token, answer.text().await?))
    }
}

/// Says that the request was not carried out. 408 also comes from a replica that was stopped while a connection was idle: the time for a
/// request has run out when it goes on, and the request that has just arrived is not read.
fn is_unanswered(status: StatusCode) -> bool {
    matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::REQUEST_TIMEOUT)
}
