//! `GET /v1/streams`: several streams over one WebSocket.
//!
//! One task does everything for a connection, one thing after the other. It asks a stream for more only after the socket has taken what
//! there was. So a reader who does not read holds one batch of events, and no more.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use actix_http::Response;
use actix_http::ws::{CloseCode, HandshakeError, OpCode, verify_handshake};
use actix_web::http::header::ORIGIN;
use actix_web::web::{BytesMut, Data, Payload};
use actix_web::{HttpRequest, HttpResponse, rt};
use serde::{Deserialize, Serialize};
use service::http::{Class, Key, Limits, MaybeAuthenticated, OpenStream, Problem, Query, Streaming, TokenHeader};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, timeout};
use utoipa::IntoParams;

use super::super::documentation::{Failures, Seen};
use super::super::{CountedConnection, RETRY_AFTER, Service, take};
use super::commands::{Command, Subscribe};
use super::frames::{self, Ending, Incoming, Message, Outgoing};
use super::{needs_login, open_stream};
use crate::live::{Connection, Ended, Event, LiveStream, Next, Topic};
use crate::metrics::Transport;
use crate::since::Since;

/// The longest message of a client, in bytes.
const LONGEST_MESSAGE: usize = 4 * 1024;
/// The most streams of a connection.
const STREAMS: usize = 50;
/// The most commands in a row that are refused.
const ERRORS_IN_A_ROW: u32 = 20;
/// So many bytes are handed over together.
const CHUNK: usize = 8 * 1024;
/// Who does not answer for so many heartbeats is gone.
const SILENT_BEATS: u32 = 2;
/// Who takes nothing for so many heartbeats, while there is something to take, is too slow.
const PATIENT_BEATS: u32 = 3;

/// Who reads.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::routes) struct Opening {
    #[serde(default)]
    ticket: Option<String>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only for the description: `Opening` reads it")]
pub(in crate::routes) struct ByTicket {
    /// A ticket from `POST /v1/streams/tickets`, for a browser, which can't send a header here
    ticket: Option<String>,
}

/// Several streams over one WebSocket
///
/// The client sends `{"subscribe": "home"}`, or `public`, `notifications`, `tags/{tag}`, `lists/{id}`, `posts/{id}`, with `after` and the
/// parameters of the stream of that name, and `{"unsubscribe": "home"}`. It gets the events of that stream as
/// `{"stream": "home", "event": "post", "id": "…", "data": {…}}`. Without event and data, only the cursor has moved. A command that is
/// refused is answered with `{"error": {…}, "stream": "home"}`, where the error is a problem. A stream that ends alone says `ended`, and the
/// others go on. A message of a client may have 4 KiB, and a connection 50 streams. `/asyncapi.json` describes all messages.
#[utoipa::path(
    get, path = "/v1/streams", operation_id = "streams", tag = "streams", security((), ("bearer" = [])),
    params(ByTicket, Seen),
    responses(
        (status = 101, description = "The connection is a WebSocket from now on"),
        (status = 403, content_type = "application/problem+json", body = Problem, description = "A page of this origin may not send an access token"),
        (status = 426, content_type = "application/problem+json", body = Problem, description = "Only version 13 of the protocol is spoken here"),
        Failures,
    ),
)]
#[expect(clippy::too_many_arguments, reason = "each is a part of the request")]
pub(in crate::routes) async fn streams(
    service: Data<Service>,
    MaybeAuthenticated(caller): MaybeAuthenticated,
    token: TokenHeader,
    streaming: Streaming,
    limits: Limits,
    Query(opening): Query<Opening>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    match verify_handshake(request.head()) {
        Ok(()) => {}
        // The answer names the version.
        Err(HandshakeError::UnsupportedVersion) => return Ok(Response::from(HandshakeError::UnsupportedVersion).into()),
        Err(error) => return Err(Problem::malformed(format!("This address speaks WebSocket: {error}."))),
    }
    if service.end_of_streams.has_begun() {
        return Err(Problem::unavailable(Ended::Draining.as_str(), RETRY_AFTER));
    }
    let claims = match opening.ticket {
        Some(ticket) => Some(service.redeem(&ticket).await?),
        None => {
            if caller.is_some() {
                check_origin(&service, &request)?;
            }
            caller.as_deref().cloned()
        }
    };
    let connection = service.live.hub.connections.open(claims.as_ref());
    let open = streaming.open(connection.viewer())?;
    // Waits until the views show what the client has seen.
    drop(take(&service.read_models, &token).await?);
    let (response, incoming, outgoing) = frames::open(&request, payload, LONGEST_MESSAGE);
    let talk = Talk {
        _counted: service.count_connection(Transport::WEBSOCKET),
        _open: open,
        service,
        connection,
        limits,
        incoming,
        outgoing,
        subscriptions: Vec::new(),
        errors: 0,
        heard: Instant::now(),
    };
    rt::spawn(talk.run());
    Ok(response)
}

/// A page in a browser sends its origin, and only allowed ones may act for who is logged in. A ticket says enough: no page can guess it.
fn check_origin(service: &Service, request: &HttpRequest) -> Result<(), Problem> {
    let Some(origin) = request.headers().get(ORIGIN) else {
        return Ok(());
    };
    let mut allowed = service.allowed_origins.iter();
    match allowed.any(|allowed| allowed == "*" || allowed.as_bytes() == origin.as_bytes()) {
        true => Ok(()),
        false => Err(
            Problem::forbidden("Use a ticket, or let `cors.allowed_origins` have the origin.").with_type(
                "origin-not-allowed",
                "Pages of this origin may not send an access token",
            ),
        ),
    }
}

/// One connection.
struct Talk {
    service: Data<Service>,
    connection: Connection,
    limits: Limits,
    incoming: Incoming,
    outgoing: Outgoing,
    subscriptions: Vec<Subscription>,
    /// How many commands in a row were refused.
    errors: u32,
    /// When the peer has last said something. The time in which nobody listened is added.
    heard: Instant,
    _counted: CountedConnection,
    _open: OpenStream,
}

/// A stream, and what it is about to tell.
struct Subscription {
    name: String,
    told: Pin<Box<dyn Future<Output = Told>>>,
}

enum Told {
    Next(Box<LiveStream>, Next),
    Refused(Problem),
    Ended(Ended),
}

async fn begin(service: Data<Service>, topic: Topic, connection: Connection, after: Option<Since>) -> Told {
    let opened = timeout(
        service.request_timeout,
        open_stream(&service, topic, &connection, after),
    );
    match opened.await {
        Ok(Ok(stream)) => go_on(Box::new(stream)).await,
        Ok(Err(problem)) => Told::Refused(problem),
        Err(_) => Told::Refused(Problem::unavailable(
            "This took too long. Please try again.",
            RETRY_AFTER,
        )),
    }
}

async fn go_on(mut stream: Box<LiveStream>) -> Told {
    match stream.next().await {
        Ok(next) => Told::Next(stream, next),
        Err(why) => Told::Ended(why),
    }
}

enum Happens {
    Said(Message),
    Told(String, Told),
    Beat,
}

/// A message to the client.
#[derive(Default, Serialize)]
struct Tell<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a Problem>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Reason>,
}

/// The data of `ended`.
#[derive(Serialize)]
struct Reason {
    reason: &'static str,
}

impl Talk {
    async fn run(mut self) {
        let ending = match self.talk().await {
            Ok(never) => match never {},
            Err(ending) => ending,
        };
        self.outgoing.close(ending);
    }

    async fn talk(&mut self) -> Result<Infallible, Ending> {
        let mut over = Box::pin(self.service.clone().into_inner().over(self.connection.clone()));
        let heartbeat = self.service.live.heartbeat;
        let mut beats = interval_at(Instant::now() + heartbeat, heartbeat);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let happens = tokio::select! {
                biased;
                why = &mut over => return Err(because_of(why)),
                happens = self.happens(&mut beats) => happens?,
            };
            match happens {
                Happens::Said(message) => {
                    self.heard = Instant::now();
                    self.hear(message).await?;
                }
                Happens::Told(name, told) => Box::pin(self.tell(name, told)).await?,
                Happens::Beat if self.heard.elapsed() >= heartbeat * SILENT_BEATS => {
                    return Err(Ending::because(CloseCode::Away, "no answer to a ping"));
                }
                Happens::Beat => self.send(OpCode::Ping, b"").await?,
            }
        }
    }

    async fn happens(&mut self, beats: &mut Interval) -> Result<Happens, Ending> {
        let subscriptions = &mut self.subscriptions;
        let told = std::future::poll_fn(|context| {
            for (at, subscription) in subscriptions.iter_mut().enumerate() {
                if let Poll::Ready(told) = subscription.told.as_mut().poll(context) {
                    return Poll::Ready((at, told));
                }
            }
            Poll::Pending
        });
        tokio::select! {
            message = self.incoming.next() => message.map(Happens::Said),
            // Whoever has told something goes to the end, so that each has its turn.
            (at, told) = told => Ok(Happens::Told(self.subscriptions.remove(at).name, told)),
            _ = beats.tick() => Ok(Happens::Beat),
        }
    }

    async fn hear(&mut self, message: Message) -> Result<(), Ending> {
        match message {
            Message::Text(text) => {
                let (stream, done) = Command::parse(&text);
                match done.and_then(|command| self.obey(command)) {
                    Ok(()) => {
                        self.errors = 0;
                        Ok(())
                    }
                    Err(problem) => self.refuse(stream.as_deref(), &problem).await,
                }
            }
            Message::Binary(bytes) => {
                tracing::debug!(bytes = bytes.len(), "a client has sent what is no text");
                Err(Ending::because(CloseCode::Unsupported, "only text is read here"))
            }
            Message::Ping(payload) => self.send(OpCode::Pong, &payload).await,
            Message::Pong => Ok(()),
        }
    }

    fn obey(&mut self, command: Command) -> Result<(), Problem> {
        let at = |name: &str| self.subscriptions.iter().position(|other| other.name == name);
        match command {
            Command::Unsubscribe(name) => match at(&name) {
                Some(at) => drop(self.subscriptions.remove(at)),
                None => return Err(Problem::invalid_field("unsubscribe", "is not subscribed")),
            },
            Command::Subscribe(Subscribe { name, topic, after }) => {
                if at(&name).is_some() {
                    return Err(Problem::invalid_field("subscribe", "is subscribed already"));
                }
                if self.subscriptions.len() >= STREAMS {
                    let message = format!("would be one more than the {STREAMS} streams of a connection");
                    return Err(Problem::invalid_field("subscribe", message));
                }
                if topic.is_own() && self.connection.reader.is_none() {
                    return Err(needs_login());
                }
                // It costs as much as a request.
                let viewer = self.connection.viewer();
                let key = viewer.map_or_else(|| Key::address(self.limits.address()), Key::User);
                self.limits.check(Class::Read, key)?;
                let (service, connection) = (self.service.clone(), self.connection.clone());
                let told = Box::pin(begin(service, topic, connection, after));
                self.subscriptions.push(Subscription { name, told });
            }
        }
        Ok(())
    }

    async fn tell(&mut self, name: String, told: Told) -> Result<(), Ending> {
        match told {
            Told::Next(stream, next) => {
                let told = Box::pin(go_on(stream));
                let tell = Tell {
                    stream: Some(&name),
                    ..Tell::default()
                };
                match next {
                    Next::Events(events) => self.send_events(&name, events).await?,
                    Next::Idle(Some(cursor)) => {
                        let id = Some(cursor.text());
                        self.send_json(&Tell { id, ..tell }).await?;
                    }
                    Next::Idle(None) => {}
                }
                self.subscriptions.push(Subscription { name, told });
                Ok(())
            }
            Told::Refused(problem) => self.refuse(Some(&name), &problem).await,
            Told::Ended(why) => {
                let tell = Tell {
                    stream: Some(&name),
                    event: Some("ended"),
                    data: Some(Reason { reason: why.as_str() }),
                    ..Tell::default()
                };
                self.send_json(&tell).await
            }
        }
    }

    async fn refuse(&mut self, stream: Option<&str>, problem: &Problem) -> Result<(), Ending> {
        self.errors += 1;
        if self.errors > ERRORS_IN_A_ROW {
            return Err(Ending::because(CloseCode::Policy, "too many errors"));
        }
        let tell = Tell {
            error: Some(problem),
            stream,
            ..Tell::default()
        };
        self.send_json(&tell).await
    }

    async fn send_events(&mut self, name: &str, events: Vec<Event>) -> Result<(), Ending> {
        let mut frames = BytesMut::new();
        for event in events {
            let tell = Tell {
                stream: Some(name),
                event: Some(event.what.as_str()),
                id: Some(event.cursor.text()),
                ..Tell::default()
            };
            let mut json = serde_json::to_string(&tell).map_err(failed)?;
            // The data are JSON already.
            json.pop();
            json.extend([",\"data\":", &event.data, "}"]);
            frames::write(&mut frames, OpCode::Text, json.as_bytes());
            if frames.len() >= CHUNK {
                self.hand_over(frames.split()).await?;
            }
        }
        match frames.is_empty() {
            true => Ok(()),
            false => self.hand_over(frames).await,
        }
    }

    async fn send_json(&mut self, tell: &Tell<'_>) -> Result<(), Ending> {
        let json = serde_json::to_vec(tell).map_err(failed)?;
        self.send(OpCode::Text, &json).await
    }

    async fn send(&mut self, code: OpCode, payload: &[u8]) -> Result<(), Ending> {
        let mut frame = BytesMut::new();
        frames::write(&mut frame, code, payload);
        self.hand_over(frame).await
    }

    async fn hand_over(&mut self, frames: BytesMut) -> Result<(), Ending> {
        let patience: Duration = self.service.live.heartbeat * PATIENT_BEATS;
        let before = Instant::now();
        timeout(patience, self.outgoing.send(frames.freeze()))
            .await
            .map_err(|_| Ending::because(CloseCode::Again, "this reader is too slow"))??;
        // Meanwhile nothing was read, so it is no silence of the peer.
        self.heard += before.elapsed();
        Ok(())
    }
}

fn because_of(why: Ended) -> Ending {
    let code = match why {
        Ended::TokenExpired | Ended::LoggedOut => CloseCode::Policy,
        Ended::Draining => CloseCode::Away,
        Ended::Gone | Ended::Failed => CloseCode::Error,
    };
    Ending::because(code, why.as_str())
}

/// What we serialize is always JSON.
fn failed(error: serde_json::Error) -> Ending {
    tracing::error!(%error, "a message can't be written");
    Ending::because(CloseCode::Error, "something went wrong here")
}
