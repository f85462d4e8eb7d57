//! The two services as a client sees them: addresses, connections, one request and its answer.

use std::collections::HashMap;
use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use reqwest::{Client, Method, StatusCode};
use serde_json::Value;

/// An answer that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(5);
/// A pod that is there accepts a connection at once; two seconds forgive a packet that was lost.
const TO_CONNECT: Duration = Duration::from_secs(2);
/// Connections to each service that are kept and used over and over.
const KEPT: usize = 8;
const CONSISTENCY_TOKEN: &str = "consistency-token";
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(250);

/// Which of the two services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Side {
    Command,
    Query,
}

/// On which connection: the two show different mistakes. A service that ends badly cuts kept connections in the middle of a request,
/// and one that leaves its Service too late refuses fresh ones.
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
}

/// A success.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) body: Value,
    /// For a query that has to see what this command did.
    pub(crate) consistency: Option<String>,
}

impl Answer {
    pub(crate) fn text(&self, field: &str) -> Result<String> {
        let text = self.body[field].as_str();
        text.map(str::to_owned)
            .with_context(|| format!("an answer without {field}: {}", self.body))
    }
}

/// Where the services answer, on every node that is to be asked.
#[derive(Debug)]
pub(crate) struct Front {
    bases: HashMap<Side, Vec<String>>,
    /// One client for each connection, because a client that has several takes any of them.
    kept: Vec<Client>,
    fresh: Client,
    turn: AtomicUsize,
}

impl Front {
    pub(crate) fn new(command: Vec<String>, query: Vec<String>) -> Result<Self> {
        let client = |idle: usize| {
            Client::builder()
                .no_proxy()
                .timeout(PATIENCE)
                .connect_timeout(TO_CONNECT)
                .pool_max_idle_per_host(idle)
                .tcp_nodelay(true)
                .retry(reqwest::retry::never())
                .build()
        };
        Ok(Self {
            bases: HashMap::from([(Side::Command, command), (Side::Query, query)]),
            kept: (0..KEPT).map(|_| client(1)).collect::<Result<_, _>>()?,
            fresh: client(0)?,
            turn: AtomicUsize::new(0),
        })
    }

    /// Sends it once. What is not a success is described.
    pub(crate) async fn send(&self, lane: Lane, call: &Call) -> Result<Answer, String> {
        let (client, base) = self.way(lane, call.side);
        let mut request = client.request(call.method.clone(), format!("{base}{}", call.path));
        if let Some(token) = &call.bearer {
            request = request.bearer_auth(token);
        }
        if let Some(token) = &call.consistency {
            request = request.header(CONSISTENCY_TOKEN, token);
        }
        if let Some(body) = &call.body {
            request = request.json(body);
        }
        let named = |cause: String| format!("{} {} on {lane:?} to {base}: {cause}", call.method, call.path);
        let response = request.send().await.map_err(|error| named(chain(&error)))?;
        let status = response.status();
        let consistency = response
            .headers()
            .get(CONSISTENCY_TOKEN)
            .and_then(|token| token.to_str().ok())
            .map(str::to_owned);
        let text = response.text().await.map_err(|error| named(chain(&error)))?;
        if !status.is_success() {
            return Err(named(format!(
                "{status} {}",
                text.chars().take(300).collect::<String>()
            )));
        }
        let body = match status {
            StatusCode::NO_CONTENT => Value::Null,
            _ => serde_json::from_str(&text).map_err(|error| named(format!("{error} in {text}")))?,
        };
        Ok(Answer { body, consistency })
    }

    /// Sends it until it succeeds: for what a scenario needs and does not measure.
    pub(crate) async fn insist(&self, call: &Call, within: Duration) -> Result<Answer> {
        let begun = Instant::now();
        loop {
            let cause = match self.send(Lane::Fresh, call).await {
                Ok(answer) => return Ok(answer),
                Err(cause) => cause,
            };
            if begun.elapsed() >= within {
                bail!("no success within {within:?}; at the end: {cause}");
            }
            tokio::time::sleep(BETWEEN_ATTEMPTS).await;
        }
    }

    /// A kept connection stays with its node; fresh ones go to all of them in turn.
    fn way(&self, lane: Lane, side: Side) -> (&Client, &str) {
        let bases = &self.bases[&side];
        match lane {
            Lane::Kept(number) => {
                let number = number % KEPT;
                (&self.kept[number], &bases[number % bases.len()])
            }
            Lane::Fresh => (
                &self.fresh,
                &bases[self.turn.fetch_add(1, Ordering::Relaxed) % bases.len()],
            ),
        }
    }
}

/// With the causes, which reqwest's own message leaves out.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
