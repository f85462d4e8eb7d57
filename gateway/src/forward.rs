//! Passes a request on to a service at another address, and the answer back. Neither body is collected.

use std::io;
use std::time::Duration;

use actix_web::body::{BodyStream, BoxBody, MessageBody, SizedStream};
use actix_web::dev::{Payload, RequestHead};
use actix_web::http::Method;
use actix_web::http::header::{CONTENT_LENGTH, HeaderName, HeaderValue, TRANSFER_ENCODING};
use actix_web::web::Bytes;
use actix_web::{HttpResponse, rt};
use backon::{ConstantBuilder, Retryable as _};
use event_log::trace::current_traceparent;
use futures_util::{Stream, StreamExt as _};
use http_body_util::channel::{Channel, Sender};
use http_body_util::{BodyExt as _, Either, Empty};
use hyper::body::Incoming;
use hyper::header;
use hyper::http::uri::{Authority, Scheme};
use hyper::{HeaderMap, Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use service::http::{EndOfStreams, MAX_BODY_BYTES, Problem};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio_util::io::ReaderStream;

/// The services answer, or refuse, sooner.
const ANSWERED_WITHIN: Duration = Duration::from_secs(60);
/// A process accepts a connection at once, or is gone.
const CONNECTED_WITHIN: Duration = Duration::from_secs(2);
/// The services close a connection that is idle for 75 s. At that moment, it must not be used.
const IDLE_FOR: Duration = Duration::from_secs(30);
/// A read whose connection broke is sent twice more.
const READ_AGAIN: ConstantBuilder = ConstantBuilder::new()
    .with_delay(Duration::from_millis(100))
    .with_max_times(2);
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// These headers are about one connection, and not about the message (RFC 9110, 7.6.1). `Connection` may name more.
const OF_CONNECTION: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

type Body = Either<Empty<Bytes>, Channel<Bytes, io::Error>>;

/// A service at another address.
#[derive(Debug, Clone)]
pub struct Remote {
    name: &'static str,
    authority: Authority,
    client: Client<HttpConnector, Body>,
    end_of_streams: EndOfStreams,
}

impl Remote {
    pub(crate) fn new(name: &'static str, authority: Authority, end_of_streams: EndOfStreams) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECTED_WITHIN));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_FOR)
            .build(connector);
        Self {
            name,
            authority,
            client,
            end_of_streams,
        }
    }

    /// The same service, with connections of its own. A connection that another thread has made would be served by that thread.
    pub(crate) fn for_this_thread(&self) -> Self {
        Self::new(self.name, self.authority.clone(), self.end_of_streams.clone())
    }

    /// # Errors
    ///
    /// 413 if the body is longer than that of any command. 503 if the service is away, or does not answer.
    pub(crate) async fn forward(&self, received: &RequestHead, body: Payload) -> Result<HttpResponse, Problem> {
        let exchanged = tokio::time::timeout(ANSWERED_WITHIN, self.exchange(received, body));
        exchanged.await.unwrap_or_else(|_| {
            tracing::warn!(service = self.name, "no answer in time");
            Err(away())
        })
    }

    async fn exchange(&self, received: &RequestHead, body: Payload) -> Result<HttpResponse, Problem> {
        let nothing = || Either::Left(Empty::new());
        if received.upgrade() {
            let answer = self.send(received, nothing()).await;
            return match answer.map_err(|error| self.broken(&error))? {
                answer if answer.status() == StatusCode::SWITCHING_PROTOCOLS => self.tunnel(answer, body).await,
                answer => Ok(self.answer(answer)),
            };
        }
        let answered = if has_body(received)? {
            let (sender, channel) = Channel::new(1);
            rt::spawn(pump(body, sender));
            self.send(received, Either::Right(channel)).await
        } else if matches!(received.method, Method::GET | Method::HEAD) {
            (|| self.send(received, nothing())).retry(READ_AGAIN).await
        } else {
            self.send(received, nothing()).await
        };
        Ok(self.answer(answered.map_err(|error| self.broken(&error))?))
    }

    async fn send(&self, received: &RequestHead, body: Body) -> Result<Response<Incoming>, Error> {
        let mut request = Request::new(body);
        *request.method_mut() = hyper::Method::from_bytes(received.method.as_str().as_bytes()).unwrap_or_default();
        *request.uri_mut() = self.uri(&received.uri);
        let is_upgrade = received.upgrade();
        let named = received.headers.get_all("connection");
        let named: Vec<&str> = named.filter_map(|value| value.to_str().ok()).collect();
        let headers = request.headers_mut();
        for (name, value) in &received.headers {
            let of_this_message = !is_of_connection(name.as_str(), &named);
            let upgrades = is_upgrade && matches!(name.as_str(), "connection" | "upgrade");
            if (of_this_message || upgrades)
                && let Ok(name) = header::HeaderName::from_bytes(name.as_ref())
                && let Ok(value) = header::HeaderValue::from_bytes(value.as_bytes())
            {
                headers.append(name, value);
            }
        }
        if let Some(traceparent) = current_traceparent().and_then(|it| it.parse().ok()) {
            headers.insert("traceparent", traceparent);
        }
        let peer = received.peer_addr.map(|peer| peer.ip().to_string());
        if let Some(peer) = peer.and_then(|peer| peer.parse().ok()) {
            headers.append("x-forwarded-for", peer);
        }
        self.client.request(request).await
    }

    fn uri(&self, received: &actix_web::http::Uri) -> Uri {
        let path = received.path_and_query().map_or("/", |path| path.as_str());
        let uri = Uri::builder().scheme(Scheme::HTTP).authority(self.authority.clone());
        uri.path_and_query(path).build().unwrap_or_default()
    }

    fn answer(&self, answer: Response<Incoming>) -> HttpResponse {
        let (head, body) = answer.into_parts();
        let length = head.headers.get(header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        let is_stream = head
            .headers
            .get(header::CONTENT_TYPE)
            .is_some_and(|it| it.as_bytes().starts_with(b"text/event-stream"));
        let chunks = body.into_data_stream();
        let body = match length {
            Some(length) => SizedStream::new(length, chunks).boxed(),
            None if is_stream => self.stream(chunks),
            None => BodyStream::new(chunks).boxed(),
        };
        answer_of(head.status, &head.headers).body(body)
    }

    /// A body that goes on until this process has to end.
    fn stream<E>(&self, chunks: impl Stream<Item = Result<Bytes, E>> + 'static) -> BoxBody
    where
        E: Into<Box<dyn std::error::Error>> + 'static,
    {
        let end = self.end_of_streams.clone();
        BodyStream::new(chunks.take_until(async move { end.due().await }).boxed_local()).boxed()
    }

    /// Both sides speak another protocol from here on.
    async fn tunnel(&self, answer: Response<Incoming>, from_client: Payload) -> Result<HttpResponse, Problem> {
        let (status, headers) = (answer.status(), answer.headers().clone());
        let upgraded = hyper::upgrade::on(answer).await.map_err(|error| {
            tracing::warn!(
                service = self.name,
                error = &error as &dyn std::error::Error,
                "no tunnel"
            );
            away()
        })?;
        let (from_service, to_service) = tokio::io::split(TokioIo::new(upgraded));
        rt::spawn(copy(from_client, to_service));
        let mut response = answer_of(status, &headers);
        if let Some(protocol) = headers.get(header::UPGRADE)
            && let Ok(protocol) = HeaderValue::from_bytes(protocol.as_bytes())
        {
            response.upgrade(protocol);
        }
        Ok(response.body(self.stream(ReaderStream::new(from_service))))
    }

    fn broken(&self, error: &Error) -> Problem {
        tracing::warn!(
            service = self.name,
            error = error as &dyn std::error::Error,
            "no answer"
        );
        away()
    }
}

fn away() -> Problem {
    Problem::unavailable(
        "The service that answers this is away. Please try again in a moment.",
        RETRY_AFTER,
    )
}

/// # Errors
///
/// 413 if it is too long. The services say the same of a body whose length is not known before.
fn has_body(received: &RequestHead) -> Result<bool, Problem> {
    let length = received.headers.get(CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > MAX_BODY_BYTES) {
        return Err(Problem::payload_too_large(MAX_BODY_BYTES));
    }
    Ok(length.unwrap_or(0) > 0 || received.headers.contains_key(TRANSFER_ENCODING))
}

fn is_of_connection(name: &str, named: &[&str]) -> bool {
    let mut named = named.iter().flat_map(|value| value.split(','));
    OF_CONNECTION.contains(&name) || named.any(|named| named.trim().eq_ignore_ascii_case(name))
}

fn answer_of(status: StatusCode, headers: &HeaderMap) -> actix_web::HttpResponseBuilder {
    let status = actix_web::http::StatusCode::from_u16(status.as_u16());
    let mut answer = HttpResponse::build(status.unwrap_or(actix_web::http::StatusCode::BAD_GATEWAY));
    let named = headers.get_all(header::CONNECTION).iter();
    let named: Vec<&str> = named.filter_map(|value| value.to_str().ok()).collect();
    for (name, value) in headers {
        if *name != header::CONTENT_LENGTH
            && !is_of_connection(name.as_str(), &named)
            && let Ok(name) = HeaderName::from_bytes(name.as_str().as_bytes())
            && let Ok(value) = HeaderValue::from_bytes(value.as_bytes())
        {
            answer.append_header((name, value));
        }
    }
    answer
}

/// Ends without a word if the service wants no more.
async fn pump(mut body: Payload, mut to: Sender<Bytes, io::Error>) {
    while let Some(chunk) = body.next().await {
        match chunk {
            Ok(chunk) => {
                if to.send_data(chunk).await.is_err() {
                    return;
                }
            }
            // The service must not take it for the end.
            Err(error) => return to.abort(io::Error::other(error.to_string())),
        }
    }
}

/// The other side sees the end of either side.
async fn copy(mut from: Payload, mut to: impl AsyncWrite + Unpin) {
    while let Some(Ok(chunk)) = from.next().await {
        if to.write_all(&chunk).await.is_err() || to.flush().await.is_err() {
            return;
        }
    }
    if let Err(error) = to.shutdown().await {
        tracing::debug!(%error, "the service has closed a tunnel first");
    }
}
