//! The HTTP layer of every service, through a real socket.

mod admission;
mod bodies;
mod callers;
mod lifecycle;
mod operation;

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::{Next, from_fn};
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use chrono::Utc;
use model::clock::SystemClock;
use model::ids::{PostId, SessionId, UserId};
use model::values::{Email, Handle};
use reqwest::{Client, Response, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use service::auth::{SCOPE_USER, Signer, Subject, Verifier, generate_signing_key_pem};
use service::config;
use service::http::{
    Access, Authenticated, CorrelationId, Edge, Fields, IfMatch, Json, KeyHeader, MaybeAuthenticated, PageQuery, Path,
    Problem, Query, Readiness, Server, TokenHeader, etag, links,
};
use service::telemetry::MetricsRegistry;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const DEADLINE: Duration = Duration::from_secs(20);

/// A running server, until it is stopped or the test ends.
struct Running {
    url: String,
    client: Client,
    shutdown: CancellationToken,
    server: JoinHandle<std::io::Result<()>>,
    /// Each permit lets one request to `/slow` end.
    gate: Arc<Semaphore>,
    readiness: Readiness,
    signer: Signer,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl Running {
    fn start(adjust: impl FnOnce(&mut Edge)) -> Self {
        event_log::crypto::install_provider();
        let auth = config::Auth {
            signing_key: Some(config::Pem::parse(&generate_signing_key_pem()).unwrap()),
            ..config::Auth::default()
        };
        let readiness = Readiness::default();
        let mut edge = Edge::new(MetricsRegistry::default(), readiness.clone());
        edge.http.workers = std::num::NonZeroU32::new(2);
        edge.shutdown.drain_delay = Duration::ZERO;
        edge.rate_limit.enabled = false;
        let verifier = Arc::new(Verifier::from_config(&auth, SystemClock::shared()).unwrap());
        edge.access = Some(Access {
            verifier,
            scopes: &[SCOPE_USER],
        });
        adjust(&mut edge);
        let server = Server::bind("127.0.0.1:0".parse().unwrap(), edge).unwrap();
        let url = format!("http://{}", server.local_addr());
        let shutdown = CancellationToken::new();
        let gate = Arc::new(Semaphore::new(0));
        let running = server.run(routes(gate.clone()), shutdown.clone());
        Self {
            url,
            client: Client::builder().timeout(DEADLINE).no_proxy().build().unwrap(),
            shutdown,
            server: tokio::spawn(running),
            gate,
            readiness,
            signer: Signer::from_config(&auth, SystemClock::shared()).unwrap(),
        }
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    async fn get(&self, path: &str) -> Response {
        self.client.get(self.at(path)).send().await.unwrap()
    }

    async fn post(&self, path: &str, json: &str) -> Response {
        let request = self
            .client
            .post(self.at(path))
            .header("content-type", "application/json");
        request.body(json.to_owned()).send().await.unwrap()
    }

    fn token(&self, user: UserId, scope: &'static str) -> String {
        let handle = Handle::parse("ada").unwrap();
        let session = SessionId::new(Utc::now());
        self.signer
            .issue(&Subject {
                user,
                handle,
                session,
                scope,
            })
            .unwrap()
            .token
    }
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Register {
    handle: String,
    email: String,
    #[serde(default)]
    invited_by: Option<UserId>,
}

async fn register(Json(request): Json<Register>) -> Result<HttpResponse, Problem> {
    let mut fields = Fields::default();
    let handle = fields.parse("handle", request.handle.as_str(), Handle::parse);
    let email = fields.parse("email", request.email.as_str(), Email::parse);
    fields.finish()?;
    let (handle, _) = (Fields::take(handle)?, Fields::take(email)?);
    Ok(HttpResponse::Created().json(handle))
}

async fn read(Path(id): Path<PostId>, caller: MaybeAuthenticated) -> HttpResponse {
    let caller = caller.0.map(|claims| claims.sub);
    HttpResponse::Ok()
        .insert_header(etag(3))
        .json(serde_json::json!({ "id": id, "caller": caller }))
}

async fn change(_: Path<PostId>, caller: Authenticated, if_match: IfMatch) -> HttpResponse {
    HttpResponse::Ok().json((caller.sub, if_match.0))
}

async fn list(request: HttpRequest, Query(page): Query<PageQuery<PostId>>) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    if let Some(link) = links(&request, Some("n"), None) {
        response.insert_header(link);
    }
    response.json(page.limit)
}

async fn headers(key: KeyHeader, _: TokenHeader, correlation: CorrelationId) -> HttpResponse {
    HttpResponse::Ok().json((key.0, correlation.0))
}

async fn trace() -> HttpResponse {
    HttpResponse::Ok().json(event_log::trace::current_trace_id())
}

async fn fail() -> Result<HttpResponse, Problem> {
    Err(Problem::internal(&std::io::Error::other("the password is hunter2")))
}

/// Fails like a time-out: it returns an error instead of an answer.
async fn give_up(
    _: ServiceRequest,
    _: Next<impl MessageBody>,
) -> Result<ServiceResponse<actix_web::body::BoxBody>, actix_web::Error> {
    Err(Problem::unavailable("This took too long.", Duration::from_secs(1)).into())
}

async fn slow(gate: web::Data<Semaphore>) -> HttpResponse {
    gate.acquire().await.unwrap().forget();
    HttpResponse::Ok().body("done")
}

fn routes(gate: Arc<Semaphore>) -> impl Fn(&mut ServiceConfig) + Clone + Send + 'static {
    move |service| {
        service
            .app_data(web::Data::from(gate.clone()))
            .service(web::resource("/v1/users").route(web::post().to(register)))
            .service(web::resource("/v1/posts").route(web::get().to(list)))
            .service(
                web::resource("/v1/posts/{id}")
                    .route(web::get().to(read))
                    .route(web::patch().to(change)),
            )
            .service(web::resource("/v1/headers").route(web::get().to(headers)))
            .service(web::resource("/v1/trace").route(web::get().to(trace)))
            .service(web::resource("/v1/fail").route(web::get().to(fail)))
            .service(
                web::resource("/v1/late")
                    .route(web::get().to(fail))
                    .wrap(from_fn(give_up)),
            )
            .service(web::resource("/slow").route(web::get().to(slow)));
    }
}

/// Checks that an answer is a problem, and returns it.
async fn problem(response: Response, status: u16) -> Value {
    let path = response.url().path().to_owned();
    assert_eq!(response.status().as_u16(), status, "{path}");
    assert_eq!(response.headers()["content-type"], "application/problem+json", "{path}");
    let problem: Value = response.json().await.unwrap();
    assert_eq!(problem["status"], status, "{path}");
    assert!(
        problem["type"].as_str().unwrap().starts_with("urn:microblog:problem:"),
        "{problem}"
    );
    assert!(problem["title"].is_string());
    problem
}

/// The field that a problem names.
async fn blamed(response: Response, status: u16) -> String {
    let problem = problem(response, status).await;
    problem["errors"][0]["field"].as_str().unwrap_or_default().to_owned()
}

/// Repeats a request until the answer has the expected status.
async fn eventually(running: &Running, path: &str, expected: StatusCode) -> Response {
    let began = Instant::now();
    loop {
        let response = running.get(path).await;
        if response.status() == expected {
            return response;
        }
        assert!(began.elapsed() < DEADLINE, "{path} never became {expected}");
        tokio::task::yield_now().await;
    }
}

/// Waits until one request is in flight, besides the one that asks.
async fn eventually_busy(running: &Running) {
    eventually_measured(running, "http_requests_in_flight 2").await;
}

/// Waits until the metrics contain a line.
async fn eventually_measured(running: &Running, line: &str) {
    let began = Instant::now();
    while !running
        .get("/metrics")
        .await
        .text()
        .await
        .unwrap()
        .lines()
        .any(|one| one == line)
    {
        assert!(began.elapsed() < DEADLINE, "never came: {line}");
    }
}
