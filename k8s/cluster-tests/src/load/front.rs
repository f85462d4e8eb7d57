//! The two services as a client sees them, past the gateway and through it: addresses, connections, a request and its response.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use serde_json::Value;
use tokio::time::timeout;

use super::connection::{Connection, Ports, Response};

/// A request without a response by then has failed.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How many lanes to each service keep their connection and use it again.
const KEPT: usize = 8;
const CONSISTENCY_TOKEN: &str = "consistency-token";
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(250);

/// Which of the two services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Side {
    Command,
    Query,
}

/// The kind of connection. The two kinds show different mistakes. A service that shuts down badly cuts kept connections in the middle of a
/// request. A service that leaves its Kubernetes Service too late refuses fresh connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    Kept(usize),
    Fresh,
}

/// A request.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    side: Side,
    method: Method,
    path: String,
    bearer: Option<String>,
    consistency: Option<String>,
    body: Option<Value>,
}

impl Call {
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new(Side::Query, Method::GET, path.into())
    }

    pub(crate) fn post(path: impl Into<String>, body: Value) -> Self {
        Self {
            body: Some(body),
            ..Self::new(Side::Command, Method::POST, path.into())
        }
    }

    pub(crate) fn put(path: impl Into<String>) -> Self {
        Self::new(Side::Command, Method::PUT, path.into())
    }

    pub(crate) fn delete(path: impl Into<String>) -> Self {
        Self::new(Side::Command, Method::DELETE, path.into())
    }

    fn new(side: Side, method: Method, path: String) -> Self {
        Self {
            side,
            method,
            path,
            bearer: None,
            consistency: None,
            body: None,
        }
    }

    pub(crate) fn bearer(mut self, token: &str) -> Self {
        self.bearer = Some(token.to_owned());
        self
    }

    pub(crate) fn consistency(mut self, token: &str) -> Self {
        self.consistency = Some(token.to_owned());
        self
    }

    fn request(&self, host: &str) -> Result<Request<Full<Bytes>>> {
        let mut request = Request::builder()
            .method(&self.method)
            .uri(&self.path)
            .header(HOST, host);
        if let Some(token) = &self.bearer {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        if let Some(token) = &self.consistency {
            request = request.header(CONSISTENCY_TOKEN, token);
        }
        let body = match &self.body {
            Some(body) => {
                request = request.header(CONTENT_TYPE, "application/json");
                serde_json::to_vec(body)?.into()
            }
            None => Bytes::new(),
        };
        Ok(request.body(Full::new(body))?)
    }
}

/// A success.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) body: Value,
    /// The token for a query that must see what this command did.
    pub(crate) consistency: Option<String>,
}

impl Answer {
    pub(crate) fn text(&self, field: &str) -> Result<String> {
        let text = self.body[field].as_str();
        text.map(str::to_owned)
            .with_context(|| format!("an answer without {field}: {}", self.body))
    }
}

/// The addresses (host and port) at which each service is asked, and the connections to them.
#[derive(Debug)]
pub(crate) struct Front {
    at: HashMap<Side, Vec<String>>,
    kept: HashMap<Side, [Slot; KEPT]>,
    ports: Ports,
    turn: AtomicUsize,
}

/// A kept connection that no request uses at the moment.
type Slot = Mutex<Option<Connection>>;

impl Front {
    pub(crate) fn new(command: Vec<String>, query: Vec<String>) -> Self {
        let slots = || std::array::from_fn(|_| Slot::default());
        Self {
            at: HashMap::from([(Side::Command, command), (Side::Query, query)]),
            kept: HashMap::from([(Side::Command, slots()), (Side::Query, slots())]),
            ports: Ports::new(),
            turn: AtomicUsize::new(0),
        }
    }

    /// Sends the request once. An error describes why it was no success.
    pub(crate) async fn send(&self, lane: Lane, call: &Call) -> Result<Answer, String> {
        let to = self.to(lane, call.side);
        let answered = match timeout(TIMEOUT, self.exchange(lane, call, to)).await {
            Ok(Ok(response)) => answer(&response),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(anyhow!("no response in time")),
        };
        answered.map_err(|error| format!("{} {} on {lane:?} to {to}: {error:#}", call.method, call.path))
    }

    async fn exchange(&self, lane: Lane, call: &Call, to: &str) -> Result<Response> {
        let mut request = call.request(to)?;
        let slot = match lane {
            Lane::Kept(number) => Some(&self.kept[&call.side][number % KEPT]),
            Lane::Fresh => None,
        };
        let kept = slot.and_then(|slot| lock(slot).take());
        if let Some(mut connection) = kept {
            match connection.send(request).await {
                Ok(answered) => {
                    keep(slot, connection);
                    return answered;
                }
                Err(unsent) => request = unsent,
            }
        }
        let mut connection = Connection::to(to, &self.ports).await?;
        let answered = connection.send(request).await;
        keep(slot, connection);
        answered.unwrap_or_else(|_| Err(anyhow!("the connection was closed before the request was sent")))
    }

    /// Sends the request until it succeeds, for what a scenario needs but does not measure.
    pub(crate) async fn insist(&self, call: &Call, within: Duration) -> Result<Answer> {
        let begun = Instant::now();
        loop {
            let cause = match self.send(Lane::Fresh, call).await {
                Ok(answer) => return Ok(answer),
                Err(cause) => cause,
            };
            if begun.elapsed() >= within {
                bail!("no success within {within:?}; the last error: {cause}");
            }
            tokio::time::sleep(BETWEEN_ATTEMPTS).await;
        }
    }

    /// One of the addresses.
    pub(super) fn address(&self, side: Side, number: usize) -> &str {
        let at = &self.at[&side];
        &at[number % at.len()]
    }

    /// A kept connection stays with its address. Fresh ones go to all addresses in turn.
    fn to(&self, lane: Lane, side: Side) -> &str {
        let number = match lane {
            Lane::Kept(number) => number % KEPT,
            Lane::Fresh => self.turn.fetch_add(1, Ordering::Relaxed),
        };
        self.address(side, number)
    }
}

fn lock(slot: &Slot) -> MutexGuard<'_, Option<Connection>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps the connection for the next request. If two requests ran at the same time, one of their connections is enough.
fn keep(slot: Option<&Slot>, connection: Connection) {
    if let Some(slot) = slot
        && connection.is_open()
    {
        *lock(slot) = Some(connection);
    }
}

fn answer(response: &Response) -> Result<Answer> {
    let text = String::from_utf8_lossy(&response.body);
    ensure!(
        response.status.is_success(),
        "{} {}",
        response.status,
        text.chars().take(300).collect::<String>()
    );
    let body = match response.status {
        StatusCode::NO_CONTENT => Value::Null,
        _ => serde_json::from_str(&text).with_context(|| format!("the answer is {text}"))?,
    };
    let consistency = response.headers.get(CONSISTENCY_TOKEN);
    let consistency = consistency.and_then(|token| token.to_str().ok()).map(str::to_owned);
    Ok(Answer { body, consistency })
}
