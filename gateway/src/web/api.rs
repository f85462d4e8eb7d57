//! The public API, as one visitor calls it.

use std::cell::{Cell, Ref, RefCell};
use std::future::{Ready, ready};
use std::pin::Pin;

use actix_web::body::to_bytes_limited;
use actix_web::dev::{Payload, RequestHead};
use actix_web::error::PayloadError;
use actix_web::http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode, Uri};
use actix_web::web::{Bytes, Data};
use actix_web::{FromRequest, HttpRequest};
use chrono::Utc;
use event_log::consistency::HEADER;
use futures_util::{Stream, stream};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use service::http::received_head;

use super::cookies::{Jar, Session, seen};
use super::failure::{Failure, Refusal};
use crate::backends::Services;

/// The longest answer is a page of a hundred posts.
const LONGEST_ANSWER: usize = 8 * 1024 * 1024;
/// An access token that is over so soon is not sent any more, in seconds.
const NEARLY_OVER: i64 = 10;

/// One visit: a request, and what the API is told of the visitor.
#[derive(Debug)]
pub(super) struct Api {
    services: Data<Services>,
    pub(super) jar: Data<Jar>,
    /// The request's method, address and headers are its own. The rest is that of the visitor.
    head: RequestHead,
    pub(super) path: String,
    /// The page is asked for over TLS, as far as the proxy in front says.
    pub(super) secure: bool,
    session: RefCell<Option<Session>>,
    /// The session has changed, so the browser has to be told.
    pub(super) changed: Cell<bool>,
    /// What a command has answered, for the next page.
    pub(super) seen: RefCell<Option<String>>,
}

impl FromRequest for Api {
    type Error = actix_web::Error;
    type Future = Ready<Result<Self, Self::Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let data = |what| actix_web::error::ErrorInternalServerError(format!("the routes have no {what}"));
        let services = request.app_data::<Data<Services>>().ok_or_else(|| data("services"));
        let jar = request.app_data::<Data<Jar>>().ok_or_else(|| data("jar"));
        ready(services.and_then(|services| {
            let jar = jar?;
            let received = received_head(request);
            let mut head = RequestHead::default();
            head.peer_addr = received.peer_addr;
            for name in ["x-request-id", "x-forwarded-for", "traceparent", "user-agent"] {
                let name = HeaderName::from_static(name);
                for value in received.headers.get_all(&name) {
                    head.headers.append(name.clone(), value.clone());
                }
            }
            if let Some(seen) = seen(request).and_then(|seen| HeaderValue::from_str(&seen.to_string()).ok()) {
                head.headers.insert(HeaderName::from_static(HEADER), seen);
            }
            Ok(Self {
                session: RefCell::new(jar.session(request)),
                services: services.clone(),
                jar: jar.clone(),
                head,
                path: request.uri().to_string(),
                secure: request.connection_info().scheme() == "https",
                changed: Cell::default(),
                seen: RefCell::default(),
            })
        }))
    }
}

impl Api {
    pub(super) fn session(&self) -> Ref<'_, Option<Session>> {
        self.session.borrow()
    }

    /// The handle of the visitor.
    pub(super) fn viewer(&self) -> Option<String> {
        self.session().as_ref().map(|session| session.handle.clone())
    }

    /// Begins a session in this browser, or ends it.
    pub(super) fn set_session(&self, session: Option<Session>) {
        self.session.replace(session);
        self.changed.set(true);
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let answer = self.call(Method::GET, path, None).await?;
        serde_json::from_value(answer).map_err(|error| {
            tracing::error!(%error, path, "an answer of the API can't be read");
            Failure::of_status(StatusCode::BAD_GATEWAY)
        })
    }

    /// Sends a command. The next page shows what it did.
    pub(super) async fn command(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value, Failure> {
        self.call(method, path, body).await
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value, Failure> {
        self.keep_session_alive().await?;
        let token = self.session().as_ref().map(|session| session.access_token.clone());
        let answer = self.send(method, path, token.as_deref(), body).await;
        if let Err(Failure::Refused(refusal)) = &answer
            && refusal.status == 401
            && token.is_some()
        {
            // The session was ended elsewhere.
            self.set_session(None);
            return Err(Failure::LoggedOut);
        }
        answer
    }

    /// Asks for an access token in time.
    async fn keep_session_alive(&self) -> Result<(), Failure> {
        let now = Utc::now().timestamp();
        let over = self
            .session()
            .clone()
            .filter(|session| session.expires_at - NEARLY_OVER <= now);
        let Some(session) = over else { return Ok(()) };
        let body = self.jar.prove(json!({ "refresh_token": session.refresh_token }));
        match self.send(Method::POST, "/v1/sessions/refresh", None, Some(body)).await {
            Ok(tokens) => {
                self.set_session(Some(session_of(session.handle, session.form_token, &tokens)?));
                Ok(())
            }
            Err(Failure::Refused(refusal)) if refusal.status == 401 => {
                self.set_session(None);
                Ok(())
            }
            Err(failure) => Err(failure),
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<Value>,
    ) -> Result<Value, Failure> {
        let mut head = self.head.clone();
        head.method = method;
        head.uri = path
            .parse::<Uri>()
            .map_err(|_| Failure::of_status(StatusCode::NOT_FOUND))?;
        let body = body.map(|body| body.to_string());
        set_headers(&mut head.headers, token, body.as_deref());
        let body = body.map(|body| Ok::<_, PayloadError>(Bytes::from(body)));
        let chunks: Pin<Box<dyn Stream<Item = _>>> = Box::pin(stream::iter(body));
        let payload = Payload::from(chunks);
        let answer = self.services.answer(head, payload).await;
        let status = answer.status();
        if let Some(seen) = answer.headers().get(HEADER).and_then(|seen| seen.to_str().ok()) {
            self.seen.replace(Some(seen.to_owned()));
        }
        let body = match to_bytes_limited(answer.into_body(), LONGEST_ANSWER).await {
            Ok(Ok(body)) => body,
            _ => return Err(Failure::of_status(StatusCode::BAD_GATEWAY)),
        };
        if status.is_success() {
            // A deletion answers nothing.
            return Ok(serde_json::from_slice(&body).unwrap_or_default());
        }
        let refusal: Refusal = serde_json::from_slice(&body).unwrap_or_default();
        let status = status.as_u16();
        Err(Failure::Refused(Refusal { status, ..refusal }))
    }
}

fn set_headers(headers: &mut HeaderMap, token: Option<&str>, body: Option<&str>) {
    if let Some(bearer) = token.and_then(|token| HeaderValue::from_str(&format!("Bearer {token}")).ok()) {
        headers.insert(AUTHORIZATION, bearer);
    }
    if let Some(body) = body {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
}

/// What a login or a refresh has answered.
pub(super) fn session_of(handle: String, form_token: String, tokens: &Value) -> Result<Session, Failure> {
    let text = |name: &str| tokens[name].as_str().map(str::to_owned);
    let session = || {
        Some(Session {
            handle,
            access_token: text("access_token")?,
            refresh_token: text("refresh_token")?,
            expires_at: Utc::now().timestamp() + tokens["expires_in"].as_i64()?,
            form_token,
        })
    };
    session().ok_or_else(|| Failure::of_status(StatusCode::BAD_GATEWAY))
}
