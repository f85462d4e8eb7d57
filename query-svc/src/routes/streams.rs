//! `/v1/streams`: what happens, as it happens, as Server-Sent Events. Or several streams over one [`websocket`].
//!
//! An event is `id`, `event` and `data`. The id is a cursor: a client that comes back with it (`Last-Event-ID`, or `after`) misses nothing.

mod commands;
mod frames;
pub(super) mod websocket;

pub(crate) use self::commands::Said;

use std::convert::Infallible;
use std::fmt::Write as _;
use std::pin::Pin;
use std::time::Duration;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue};
use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::Stream;
use futures_util::stream::unfold;
use model::ids::{ListId, PostId};
use model::tags::Tag;
use serde::Deserialize;
use service::auth::Claims;
use service::http::{MaybeAuthenticated, OpenStream, Path, Problem, Query, Streaming, TokenHeader};
use utoipa::IntoParams;

use super::documentation::{Failures, NotFound, Seen};
use super::notifications::{Kinds, WhichKinds};
use super::tags::{OtherTags, TagPath};
use super::timelines::WhichReplies;
use super::{Service, no_such_post, take};
use crate::live::{Connection, Ended, Event, LiveStream, Next, NotOpened, Topic};
use crate::metrics::Transport;
use crate::shown::Replies;
use crate::since::Since;
use crate::timelines::TagFilter;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// After an ordinary end, a browser waits for so long before it comes back. Each connection is told another time, so that they don't all come
/// back at once.
const COME_BACK_WITHIN: Duration = Duration::from_secs(3);

/// Where a stream begins, and who reads it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Begin {
    #[serde(default)]
    after: Option<Since>,
    #[serde(default)]
    ticket: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HomeBegin {
    #[serde(default)]
    after: Option<Since>,
    #[serde(default)]
    ticket: Option<String>,
    #[serde(default)]
    replies: Replies,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NotificationsBegin {
    #[serde(default)]
    after: Option<Since>,
    #[serde(default)]
    ticket: Option<String>,
    #[serde(default)]
    kinds: Option<Kinds>,
    #[serde(default)]
    exclude: Kinds,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TagBegin {
    #[serde(default)]
    after: Option<Since>,
    #[serde(default)]
    ticket: Option<String>,
    #[serde(default)]
    any: Vec<Tag>,
    #[serde(default)]
    all: Vec<Tag>,
    #[serde(default)]
    none: Vec<Tag>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only for the description: `Begin` reads it")]
pub(super) struct From {
    /// The id of the last event that the client has received, or the `prev` of a page. Without it, the stream begins with what happens
    /// from now on
    after: Option<String>,
    /// A ticket from `POST /v1/streams/tickets`, for a browser, which can't send a header here
    ticket: Option<String>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "only for the description: `Caller` reads it")]
pub(super) struct LastEvent {
    /// The same as `after`, and stronger, because a browser that comes back repeats its address
    #[param(rename = "Last-Event-ID")]
    last: Option<String>,
}

/// Everything that a request for a stream has.
#[derive(Debug)]
pub(super) struct Caller {
    caller: MaybeAuthenticated,
    token: TokenHeader,
    streaming: Streaming,
    last: Result<Option<Since>, Problem>,
}

impl actix_web::FromRequest for Caller {
    type Error = Problem;
    type Future = std::future::Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut actix_web::dev::Payload) -> Self::Future {
        let extracted = (|| {
            Ok(Self {
                caller: now(MaybeAuthenticated::from_request(request, payload))?,
                token: now(TokenHeader::from_request(request, payload))?,
                streaming: now(Streaming::from_request(request, payload))?,
                last: last_event(request),
            })
        })();
        std::future::ready(extracted)
    }
}

fn now<T>(ready: std::future::Ready<T>) -> T {
    ready.into_inner()
}

fn last_event(request: &HttpRequest) -> Result<Option<Since>, Problem> {
    let Some(value) = request.headers().get(LAST_EVENT_ID) else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default();
    // A browser that has received no event yet may send it empty.
    if text.is_empty() {
        return Ok(None);
    }
    let since = text.parse();
    since
        .map(Some)
        .map_err(|_| Problem::malformed_field("Last-Event-ID", "is not the id of an event"))
}

/// The caller's home timeline, live
///
/// Events are `post`, `edit`, `delete` (an id; ignore one that is not shown), `counts` (of a post, at most once a second), `resumed` and `reset`. Each has a cursor as its id. First
/// come the posts that the client has missed since `after`, then `resumed`: reload what is shown, because what was edited or deleted meanwhile
/// is not told. From then on, posts come as they are committed. A post whose id is shown already replaces it. `reset` says that the
/// client has missed too much: it begins anew with a page. At least every 25 seconds there is a line. The stream ends with the access token.
#[utoipa::path(
    get, path = "/v1/streams/home", operation_id = "homeStream", tag = "streams", security(("bearer" = [])),
    params(WhichReplies, From, LastEvent, Seen),
    responses((status = 200, content_type = "text/event-stream", body = String), Failures),
)]
pub(super) async fn home(
    service: Data<Service>,
    caller: Caller,
    Query(begin): Query<HomeBegin>,
) -> Result<HttpResponse, Problem> {
    answer(service, caller, Topic::Home(begin.replies), begin.after, begin.ticket).await
}

/// The public timeline, live
///
/// As the home stream.
#[utoipa::path(
    get, path = "/v1/streams/public", operation_id = "publicStream", tag = "streams", security((), ("bearer" = [])),
    params(From, LastEvent, Seen),
    responses((status = 200, content_type = "text/event-stream", body = String), Failures),
)]
pub(super) async fn public(
    service: Data<Service>,
    caller: Caller,
    Query(begin): Query<Begin>,
) -> Result<HttpResponse, Problem> {
    answer(service, caller, Topic::Public, begin.after, begin.ticket).await
}

/// What the caller is told of, live
///
/// Events are `notification`, `resumed` and `reset`. What was taken back is not told.
#[utoipa::path(
    get, path = "/v1/streams/notifications", operation_id = "notificationStream", tag = "streams", security(("bearer" = [])),
    params(WhichKinds, From, LastEvent, Seen),
    responses((status = 200, content_type = "text/event-stream", body = String), Failures),
)]
pub(super) async fn notifications(
    service: Data<Service>,
    caller: Caller,
    Query(begin): Query<NotificationsBegin>,
) -> Result<HttpResponse, Problem> {
    let kinds = Kinds::without(begin.kinds.as_ref(), &begin.exclude);
    answer(service, caller, Topic::Notifications(kinds), begin.after, begin.ticket).await
}

/// The timeline of a tag, live
///
/// As the home stream. A post that loses the tag is told as `delete`.
#[utoipa::path(
    get, path = "/v1/streams/tags/{tag}", operation_id = "tagStream", tag = "streams", security((), ("bearer" = [])),
    params(TagPath, OtherTags, From, LastEvent, Seen),
    responses((status = 200, content_type = "text/event-stream", body = String), Failures),
)]
pub(super) async fn tag(
    service: Data<Service>,
    caller: Caller,
    Path(tag): Path<Tag>,
    Query(begin): Query<TagBegin>,
) -> Result<HttpResponse, Problem> {
    let filter = TagFilter::checked(&tag, &begin.any, &begin.all, &begin.none)?;
    answer(service, caller, Topic::Tag(filter), begin.after, begin.ticket).await
}

/// The timeline of a list of the caller, live
///
/// As the home stream. It ends when the list is deleted.
#[utoipa::path(
    get, path = "/v1/streams/lists/{id}", operation_id = "listStream", tag = "streams", security(("bearer" = [])),
    params(("id" = ListId, Path), From, LastEvent, Seen),
    responses((status = 200, content_type = "text/event-stream", body = String), NotFound, Failures),
)]
pub(super) async fn list(
    service: Data<Service>,
    caller: Caller,
    Path(id): Path<ListId>,
    Query(begin): Query<Begin>,
) -> Result<HttpResponse, Problem> {
    answer(service, caller, Topic::List(id), begin.after, begin.ticket).await
}

/// A post and the direct replies to it, live
///
/// As the home stream: `post` is a new reply; `edit`, `delete` and `counts` are of the post or of a reply. For a repost: of its original.
#[utoipa::path(
    get, path = "/v1/streams/posts/{id}", operation_id = "postStream", tag = "streams", security((), ("bearer" = [])),
    params(("id" = PostId, Path), From, LastEvent, Seen),
    responses((status = 200, content_type = "text/event-stream", body = String), NotFound, Failures),
)]
pub(super) async fn thread(
    service: Data<Service>,
    caller: Caller,
    Path(id): Path<PostId>,
    Query(begin): Query<Begin>,
) -> Result<HttpResponse, Problem> {
    answer(service, caller, Topic::Thread(id), begin.after, begin.ticket).await
}

async fn answer(
    service: Data<Service>,
    caller: Caller,
    topic: Topic,
    after: Option<Since>,
    ticket: Option<String>,
) -> Result<HttpResponse, Problem> {
    let after = caller.last?.or(after);
    let claims = match ticket {
        Some(ticket) => Some(service.redeem(&ticket).await?),
        None => caller.caller.0.as_deref().cloned(),
    };
    if topic.is_own() && claims.is_none() {
        return Err(needs_login());
    }
    let connection = service.live.hub.connections.open(claims.as_ref());
    let open = caller.streaming.open(connection.viewer())?;
    // Waits until the views show what the client has seen.
    drop(take(&service.read_models, &caller.token).await?);
    let stream = open_stream(&service, topic, &connection, after).await?;
    let mut answer = HttpResponse::Ok();
    answer
        .insert_header((CONTENT_TYPE, "text/event-stream"))
        .insert_header((CACHE_CONTROL, "no-store"))
        // A compressor would hold events back, and so would a proxy that collects answers.
        .insert_header((CONTENT_ENCODING, "identity"))
        .insert_header((
            HeaderName::from_static("x-accel-buffering"),
            HeaderValue::from_static("no"),
        ));
    if caller.streaming.head_only {
        return Ok(answer.finish());
    }
    let body = Body {
        over: Box::pin(service.clone().into_inner().over(connection)),
        stream,
        begun: false,
        _counted: service.count_connection(Transport::SSE),
        _open: open,
    };
    Ok(answer.streaming(body.chunks()))
}

fn needs_login() -> Problem {
    Problem::unauthorized("This needs an access token: `Authorization: Bearer …`, or `ticket`.")
}

async fn open_stream(
    service: &Service,
    topic: Topic,
    connection: &Connection,
    after: Option<Since>,
) -> Result<LiveStream, Problem> {
    let not_found = match topic {
        Topic::Thread(_) => no_such_post(),
        _ => Problem::not_found("You have no such list."),
    };
    let opened = LiveStream::open(service.live.clone(), topic, connection.viewer(), after).await;
    opened.map_err(|why| match why {
        NotOpened::Gone => not_found,
        NotOpened::Read(error) => error.into(),
    })
}

/// The rest of an answer.
struct Body {
    stream: LiveStream,
    over: Pin<Box<dyn Future<Output = Ended>>>,
    begun: bool,
    _counted: super::CountedConnection,
    _open: OpenStream,
}

impl Body {
    fn chunks(self) -> impl Stream<Item = Result<Bytes, Infallible>> {
        unfold(Some(self), |body| async move {
            let mut body = body?;
            if !body.begun {
                body.begun = true;
                return Some((Ok(Bytes::from(retry())), Some(body)));
            }
            let next = tokio::select! {
                biased;
                why = &mut body.over => Err(why),
                next = body.stream.next() => next,
            };
            let (chunk, rest) = match next {
                Ok(Next::Events(events)) => (text_of(&events), Some(body)),
                Ok(Next::Idle(Some(cursor))) => (format!("id: {}\n\n", cursor.text()), Some(body)),
                Ok(Next::Idle(None)) => (":\n\n".to_owned(), Some(body)),
                Err(why) => (format!(": {}\n{}", why.as_str(), retry()), None),
            };
            Some((Ok(Bytes::from(chunk)), rest))
        })
    }
}

fn text_of(events: &[Event]) -> String {
    let bytes = events
        .iter()
        .map(|event| event.data.len() + event.cursor.text().len() + 64)
        .sum();
    let mut text = String::with_capacity(bytes);
    for event in events {
        // Writing to a string can't fail.
        let _ = write!(
            text,
            "id: {}\nevent: {}\ndata: {}\n\n",
            event.cursor.text(),
            event.what.as_str(),
            event.data
        );
    }
    text
}

/// When a browser comes back after the end.
fn retry() -> String {
    let within = COME_BACK_WITHIN.as_millis();
    format!("retry: {}\n\n", 500 + uuid::Uuid::new_v4().as_u128() % within)
}

impl Service {
    /// The caller for whom a ticket stands.
    ///
    /// # Errors
    ///
    /// 401, whatever is wrong with it.
    async fn redeem(&self, ticket: &str) -> Result<Claims, Problem> {
        let redeemed = self
            .tickets
            .redeem(ticket)
            .await
            .map_err(crate::read_model::ReadError::from)?;
        redeemed.ok_or_else(|| {
            Problem::unauthorized("The ticket is not valid, or was used. Each connection needs a new one.")
        })
    }
}
