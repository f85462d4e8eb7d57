//! A connection to one of the services. It is leaner than a client with a pool, because it uses the processors that are measured.

use anyhow::{Context as _, Result, bail};
use event_log::consistency::HEADER as CONSISTENCY_TOKEN;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// One kept connection with one request at a time. It is opened again if it was closed.
#[derive(Debug)]
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: String,
}

/// A request that may be sent many times.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    method: Method,
    path: String,
    bearer: Option<String>,
    token: Option<String>,
    body: Option<Value>,
}

impl Call {
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::of(Method::GET, path.into())
    }

    pub(crate) fn post(path: impl Into<String>, body: Value) -> Self {
        Self {
            body: Some(body),
            ..Self::of(Method::POST, path.into())
        }
    }

    pub(crate) fn put(path: impl Into<String>) -> Self {
        Self::of(Method::PUT, path.into())
    }

    fn of(method: Method, path: String) -> Self {
        Self {
            method,
            path,
            bearer: None,
            token: None,
            body: None,
        }
    }

    pub(crate) fn by(self, bearer: &str) -> Self {
        Self {
            bearer: Some(bearer.to_owned()),
            ..self
        }
    }

    /// The answer comes only when the views have reached the token.
    pub(crate) fn after(self, token: &str) -> Self {
        Self {
            token: Some(token.to_owned()),
            ..self
        }
    }
}

/// A success.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) body: Bytes,
    pub(crate) token: Option<String>,
}

impl Answer {
    pub(crate) fn json(&self) -> Result<Value> {
        Ok(serde_json::from_slice(&self.body)?)
    }
}

impl Connection {
    /// `address`: host and port.
    pub(crate) async fn to(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("no connection to {address}"))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // The task ends with the sender. If the connection breaks, the sender returns the error.
        tokio::spawn(connection);
        Ok(Self {
            sender,
            host: address.to_owned(),
        })
    }

    /// Sends the request and reads the whole answer.
    ///
    /// # Errors
    /// If there is no answer, or if it is not a success.
    pub(crate) async fn send(&mut self, call: &Call) -> Result<Answer> {
        let mut request = Request::builder()
            .method(&call.method)
            .uri(&call.path)
            .header(HOST, &self.host);
        if let Some(bearer) = &call.bearer {
            request = request.header(AUTHORIZATION, format!("Bearer {bearer}"));
        }
        if let Some(token) = &call.token {
            request = request.header(CONSISTENCY_TOKEN, token);
        }
        let body = match &call.body {
            Some(body) => {
                request = request.header(CONTENT_TYPE, "application/json");
                Full::new(Bytes::from(serde_json::to_vec(body)?))
            }
            None => Full::default(),
        };
        // The service closes a connection that has not been used for long.
        if self.sender.is_closed() {
            *self = Self::to(&self.host).await?;
        }
        self.sender.ready().await?;
        let response = self.sender.send_request(request.body(body)?).await?;
        let status = response.status();
        let token = response.headers().get(CONSISTENCY_TOKEN);
        let token = token.and_then(|token| token.to_str().ok()).map(str::to_owned);
        let body = response.into_body().collect().await?.to_bytes();
        if !status.is_success() {
            bail!(
                "{} {} was answered {status}: {}",
                call.method,
                call.path,
                String::from_utf8_lossy(&body)
            );
        }
        Ok(Answer { body, token })
    }
}

/// Whether the service answers this path with 200.
pub(crate) async fn is_ok(address: &str, path: &str) -> bool {
    let asked = async {
        let mut connection = Connection::to(address).await?;
        let request = Request::get(path).header(HOST, address).body(Full::default())?;
        connection.sender.ready().await?;
        anyhow::Ok(connection.sender.send_request(request).await?.status())
    };
    matches!(asked.await, Ok(StatusCode::OK))
}
