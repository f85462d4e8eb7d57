//! The table of routes: the whole API of query-svc.

mod bookmarks;
mod documentation;
mod filters;
mod instance;
mod lists;
mod notifications;
mod own_people;
mod posts;
mod relationships;
mod reports;
mod streams;
mod tags;
mod timelines;
mod users;

pub(crate) use self::streams::Said;

use std::sync::Arc;
use std::time::Duration;

use actix_web::body::MessageBody;
use actix_web::dev::{HttpServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::http::header::ContentType;
use actix_web::middleware::{Next, from_fn};
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{FromRequest, Handler, HttpRequest, HttpResponse, Responder};
use event_log::mongo::is_transient;
use model::api;
use model::ids::UserId;
use prometheus_client::metrics::gauge::Gauge;
use serde::Serialize;
use service::auth::{Claims, Tickets};
use service::http::{EndOfStreams, PageQuery, Problem, RequestHeaders, TokenHeader, links};
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

use crate::cursor::Cursor;
use crate::live::{Connection, Ended, Live};
use crate::metrics::Transport;
use crate::paging::{Page, PageRequest, Start};
use crate::queries::Queries;
use crate::read_model::{InUse, ReadError, ReadModels};
use crate::since::Since;

/// The routes. One resource for each pattern, so that another method is answered 405.
pub(crate) fn configure(routes: &mut ServiceConfig, service: &Arc<Service>) {
    routes
        .app_data(Data::from(service.clone()))
        .service(get("/v1/timelines/home", timelines::home))
        .service(get("/v1/timelines/public", timelines::public))
        .service(get("/v1/timelines/tags/{tag}", tags::timeline))
        .service(get("/v1/tags/followed", tags::followed))
        .service(get("/v1/tags/{tag}", tags::tag))
        .service(get("/v1/users/{id}", users::user))
        .service(get("/v1/users/{id}/posts", users::posts))
        .service(get("/v1/users/{id}/followers", users::followers))
        .service(get("/v1/users/{id}/following", users::following))
        .service(get("/v1/bookmarks", bookmarks::bookmarks))
        .service(get("/v1/relationships", relationships::relationships))
        .service(get("/v1/follow-requests", own_people::requests))
        .service(get("/v1/follow-requests/sent", own_people::requests_sent))
        .service(get("/v1/blocks", own_people::blocks))
        .service(get("/v1/mutes", own_people::mutes))
        .service(get("/v1/posts/{id}", posts::post))
        .service(get("/v1/posts/{id}/thread", posts::thread))
        .service(get("/v1/posts/{id}/likes", posts::likes))
        .service(get("/v1/posts/{id}/reposts", posts::reposts))
        .service(get("/v1/posts/{id}/quotes", posts::quotes))
        .service(get("/v1/posts/{id}/history", posts::history))
        .service(get("/v1/lists", lists::lists))
        .service(get("/v1/lists/{id}", lists::list))
        .service(get("/v1/lists/{id}/members", lists::members))
        .service(get("/v1/lists/{id}/tags", lists::tags))
        .service(get("/v1/timelines/lists/{id}", lists::timeline))
        .service(get("/v1/filters", filters::filters))
        .service(get("/v1/filters/{id}", filters::filter))
        .service(get("/v1/reports", reports::reports))
        .service(get("/v1/reports/{id}", reports::report))
        .service(get("/v1/instance", instance::instance))
        .service(get("/v1/notifications", notifications::notifications))
        .service(get("/v1/notifications/groups", notifications::groups))
        .service(get("/v1/notifications/unread", notifications::unread))
        .service(get("/v1/streams", streams::websocket::streams))
        .service(get("/v1/streams/home", streams::home))
        .service(get("/v1/streams/public", streams::public))
        .service(get("/v1/streams/notifications", streams::notifications))
        .service(get("/v1/streams/tags/{tag}", streams::tag))
        .service(get("/v1/streams/lists/{id}", streams::list))
        .service(get("/v1/streams/posts/{id}", streams::thread));
}

/// The description of the same routes.
#[derive(Debug, OpenApi)]
#[openapi(
    info(
        title = "Microblog: queries",
        description = "Timelines, users and posts. Another service answers commands.\n\n\
            Lists are `{items, next, prev}`, newest first. Send `next` as `before` to get older items. `next` is null at the end, and \
            only there: a page may have fewer items than `limit`, or none, if the caller may not see many of the items in between. \
            Send `prev` as `after` to poll: the answer has the items that are new since then, or that arrive late. No item is missed. \
            An item is repeated only after an edit, or if it was not certain that all processes already showed it. An empty page \
            has a `prev` to poll with, too. The `Link` header has both as addresses. \
            Send the `Consistency-Token` of a command's answer, and the query waits until it shows what the command did.\n\n\
            Later versions add fields to answers, and values to enumerations such as `visibility`: clients ignore those that they \
            don't know.",
    ),
    paths(
        timelines::home,
        timelines::public,
        tags::timeline,
        tags::tag,
        tags::followed,
        users::user,
        users::posts,
        users::followers,
        users::following,
        relationships::relationships,
        own_people::requests,
        own_people::requests_sent,
        own_people::blocks,
        own_people::mutes,
        posts::post,
        posts::thread,
        posts::likes,
        posts::reposts,
        posts::quotes,
        posts::history,
        bookmarks::bookmarks,
        lists::lists,
        lists::list,
        lists::members,
        lists::tags,
        lists::timeline,
        filters::filters,
        filters::filter,
        reports::reports,
        reports::report,
        instance::instance,
        notifications::notifications,
        notifications::groups,
        notifications::unread,
        streams::websocket::streams,
        streams::home,
        streams::public,
        streams::notifications,
        streams::tag,
        streams::list,
        streams::thread,
    ),
    modifiers(&Bearer, &RequestHeaders),
)]
pub(crate) struct Api;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(
            Http::builder()
                .scheme(HttpAuthScheme::Bearer)
                .bearer_format("JWT")
                .build(),
        );
        openapi
            .components
            .get_or_insert_default()
            .add_security_scheme("bearer", scheme);
    }
}

fn get<F, Arguments>(pattern: &'static str, handler: F) -> impl HttpServiceFactory + 'static
where
    F: Handler<Arguments>,
    Arguments: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    web::resource(pattern)
        .route(web::get().to(handler))
        .wrap(from_fn(in_time))
}

/// Answers 503 when the time is up. A client that still waits by then has given up. And a switch to another generation of
/// views waits for requests, so each request must end.
async fn in_time(
    service: Data<Service>,
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    match tokio::time::timeout(service.request_timeout, next.call(request)).await {
        Ok(answer) => answer,
        Err(_) => Err(Problem::unavailable("This took too long. Please try again.", RETRY_AFTER).into()),
    }
}

const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What the routes share.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) queries: Arc<Queries>,
    pub(crate) read_models: Arc<ReadModels>,
    pub(crate) request_timeout: Duration,
    pub(crate) instance: api::Instance,
    pub(crate) live: Arc<Live>,
    pub(crate) tickets: Tickets,
    /// Whose pages may send access tokens.
    pub(crate) allowed_origins: Vec<String>,
    pub(crate) end_of_streams: EndOfStreams,
    /// The runtime that the client of the database belongs to.
    pub(crate) runtime: Handle,
}

impl Service {
    /// Ends when a connection must end.
    async fn over(self: Arc<Self>, connection: Connection) -> Ended {
        tokio::select! {
            () = self.end_of_streams.due() => Ended::Draining,
            why = connection.ended(self.queries.clock.now()) => why,
        }
    }

    /// Counts a connection until the value is dropped.
    fn count_connection(&self, transport: Transport) -> CountedConnection {
        let gauge = self.live.hub.metrics.connections.get_or_create(&transport).clone();
        gauge.inc();
        CountedConnection(gauge)
    }

    /// Asks a query, as soon as the views show what the client has seen.
    ///
    /// Runs on the runtime of the database client. From a thread of the server, each question to the database would wake
    /// threads of that runtime and be woken by them, once for a connection and once for the answer.
    async fn ask<T, R>(
        &self,
        token: TokenHeader,
        query: impl FnOnce(Arc<Queries>, InUse) -> R + Send + 'static,
    ) -> Result<T, Problem>
    where
        T: Send + 'static,
        R: Future<Output = Result<T, ReadError>> + Send + 'static,
    {
        let (queries, read_models) = (self.queries.clone(), self.read_models.clone());
        let answer = async move {
            let read_model = take(&read_models, &token).await?;
            Ok(query(queries, read_model).await?)
        };
        run_on(&self.runtime, answer).await
    }
}

#[derive(Debug)]
struct CountedConnection(Gauge);

impl Drop for CountedConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Takes the current read model. While a request waits for it, the request gives up its place among those that are being
/// answered.
async fn take(read_models: &ReadModels, header: &TokenHeader) -> Result<InUse, Problem> {
    let required = match &header.token {
        Some(token) => read_models.requirements(token).await?,
        None => Vec::new(),
    };
    if let Some(read_model) = read_models.take_at_once(&required).await? {
        return Ok(read_model);
    }
    Ok(header.wait(read_models.take_when_reached(&required)).await??)
}

/// Runs work on another runtime, but only as long as somebody waits for it. Claims of a generation rely on that.
async fn run_on<T: Send + 'static>(
    runtime: &Handle,
    work: impl Future<Output = Result<T, Problem>> + Send + 'static,
) -> Result<T, Problem> {
    AbortOnDropHandle::new(runtime.spawn(work.in_current_span()))
        .await
        .unwrap_or_else(|error| Err(Problem::internal(&error)))
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        match &error {
            ReadError::Database(cause) if !is_transient(cause) => Problem::internal(&error),
            ReadError::Database(_) | ReadError::Slow(_) => {
                tracing::warn!(%error, "a query could not be answered");
                Problem::unavailable(
                    "The database does not answer. Please try again in a moment.",
                    RETRY_AFTER,
                )
            }
            ReadError::TooFarAhead(ahead) => Problem::malformed_field("Consistency-Token", ahead),
            ReadError::NotReady(_) => Problem::unavailable(error.to_string(), RETRY_AFTER),
            ReadError::NotCaughtUp(_) => Problem::unavailable(error.to_string(), RETRY_AFTER)
                .with_type("not-caught-up", "The views have not caught up yet"),
        }
    }
}

fn requested(query: PageQuery<Cursor, Since>) -> Result<PageRequest, Problem> {
    let start = match (query.before, query.after) {
        (None, None) => Start::Newest,
        (Some(cursor), None) => Start::Before(cursor),
        (None, Some(cursor)) => Start::After(cursor),
        (Some(_), Some(_)) => return Err(Problem::malformed_field("after", "can't be given together with before")),
    };
    Ok(PageRequest {
        limit: query.limit.get(),
        start,
    })
}

fn no_such_post() -> Problem {
    Problem::not_found("There is no such post, or you may not see it.")
}

fn no_such_user() -> Problem {
    Problem::not_found("There is no such user.")
}

fn viewer(caller: Option<&Arc<Claims>>) -> Option<UserId> {
    caller.map(|claims| claims.sub)
}

/// About how many bytes an item of a list takes as JSON.
const ITEM_BYTES: usize = 768;

fn json<T: Serialize>(value: &T, items: usize) -> Result<Vec<u8>, Problem> {
    let mut json = Vec::with_capacity(256 + items * ITEM_BYTES);
    serde_json::to_writer(&mut json, value).map_err(|error| Problem::internal(&error))?;
    Ok(json)
}

fn page_of<T: Serialize>(request: &HttpRequest, page: &Page<T>) -> Result<HttpResponse, Problem> {
    let json = json(page, page.items.len())?;
    Ok(linked(request, page.next, page.prev.as_ref()).body(json))
}

/// An answer with the links to the pages around it.
fn linked(request: &HttpRequest, next: Option<Cursor>, prev: Option<&Since>) -> actix_web::HttpResponseBuilder {
    let (next, prev) = (next.map(|cursor| cursor.to_string()), prev.map(ToString::to_string));
    let mut response = HttpResponse::Ok();
    response.content_type(ContentType::json());
    if let Some(link) = links(request, next.as_deref(), prev.as_deref()) {
        response.insert_header(link);
    }
    response
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn what_is_given_up_ends() {
        let (held, dropped) = oneshot::channel::<()>();
        let runtime = Handle::current();
        let mut work = Box::pin(run_on(&runtime, async move {
            std::future::pending::<()>().await;
            drop(held);
            Ok(())
        }));
        assert!((&mut work).now_or_never().is_none());
        drop(work);
        let ended = tokio::time::timeout(Duration::from_secs(10), dropped).await;
        assert!(matches!(ended, Ok(Err(_))), "what it held is dropped: {ended:?}");
    }

    #[tokio::test]
    async fn a_panic_is_an_answer_of_500() {
        let work = async { panic!("a defect") };
        let problem = run_on::<()>(&Handle::current(), work).await.unwrap_err();
        assert_eq!(problem.status, 500);
    }
}
