//! What is recorded of every request: its span, its metrics, its id. Also makes every error a problem.

use std::time::Instant;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{RequestHead, ServiceRequest, ServiceResponse};
use actix_web::error::InternalError;
use actix_web::http::header::{ALLOW, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, HttpMessage, HttpRequest};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use tracing::field::Empty;
use tracing::{Span, info_span};
use tracing_actix_web::RootSpanBuilder;

use super::edge::EdgeState;
use super::headers::{CorrelationId, X_REQUEST_ID, correlation_id};
use super::place::Gauges;
use super::problem::{PROBLEM_JSON, Problem};
use super::rate_limit::Class;
use crate::telemetry::MetricsRegistry;
use event_log::trace::set_parent;

/// The label of requests without a matching route.
const UNMATCHED: &str = "unmatched";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Routed {
    method: &'static str,
    route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Limited {
    class: Class,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WaitingFor {
    what: &'static str,
}

/// Counts requests by route pattern, never by path, because clients can make up any path.
#[derive(Debug, Clone)]
pub(super) struct HttpMetrics {
    requests: Family<Answered, Counter>,
    duration: Family<Routed, Histogram>,
    in_flight: Gauge,
    waiting: Family<WaitingFor, Gauge>,
    streams: Gauge,
    limited: Family<Limited, Counter>,
}

impl HttpMetrics {
    pub(super) fn register(registry: &MetricsRegistry) -> Self {
        // From a millisecond to eight seconds.
        let duration = || Histogram::new(exponential_buckets(0.001, 2.0, 14));
        Self {
            requests: registry.register("http_requests", "Requests answered", Family::default()),
            duration: registry.register(
                "http_request_duration_seconds",
                "From the head of a request to the head of its answer",
                Family::new_with_constructor(duration as fn() -> Histogram),
            ),
            in_flight: registry.register("http_requests_in_flight", "Requests being answered", Gauge::default()),
            waiting: registry.register(
                "http_requests_waiting",
                "Requests that wait for their body or for the views, and are not in flight meanwhile",
                Family::default(),
            ),
            streams: registry.register(
                "http_streams",
                "Answers that go on until the client leaves",
                Gauge::default(),
            ),
            limited: registry.register("http_requests_rate_limited", "Requests answered 429", Family::default()),
        }
    }

    pub(super) fn waiting(&self, what: &'static str) -> Gauges {
        Gauges {
            waiting: self.waiting.get_or_create(&WaitingFor { what }).clone(),
            in_flight: self.in_flight.clone(),
        }
    }

    /// A stream is not in flight from the moment on when its head is answered, so nothing is taken off for it.
    pub(super) fn streams(&self) -> Gauges {
        Gauges {
            waiting: self.streams.clone(),
            in_flight: Gauge::default(),
        }
    }

    pub(super) fn rate_limited(&self, class: Class) {
        self.limited.get_or_create(&Limited { class }).inc();
    }
}

/// The client asks for the head of an answer alone. A handler must know it if its answer goes on: nothing would ever be written, so nobody
/// would notice that the client has left.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeadOnly;

/// The head of a request, to pass it on: with the method that the client has sent, and with an id.
pub fn received_head(request: &HttpRequest) -> RequestHead {
    let mut head = request.head().clone();
    if let Some(HeadOnly) = request.extensions().get::<HeadOnly>() {
        head.method = Method::HEAD;
    }
    if let Ok(id) = HeaderValue::from_str(&correlation_id(request).to_string()) {
        head.headers.insert(X_REQUEST_ID, id);
    }
    head
}

struct InFlight(Gauge);

impl InFlight {
    fn begin(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Counts and times a request, adds the id to its answer, and adds problem details if the framework has answered only with a status. A HEAD
/// request is handled as a GET, and the server leaves out the body.
pub(super) async fn observe(
    edge: Data<EdgeState>,
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let began = Instant::now();
    let _in_flight = InFlight::begin(&edge.metrics.in_flight);
    let method = method_label(request.method());
    let route = request.match_pattern().unwrap_or_else(|| UNMATCHED.to_owned());
    let correlation = request.extensions().get::<CorrelationId>().copied();
    if *request.method() == Method::HEAD {
        request.head_mut().method = Method::GET;
        request.extensions_mut().insert(HeadOnly);
    }
    let answer = next.call(request).await;
    let status = match &answer {
        Ok(response) => response.status(),
        Err(error) => error.as_response_error().status_code(),
    };
    edge.metrics
        .requests
        .get_or_create(&Answered {
            method,
            route: route.clone(),
            status: status.as_u16(),
        })
        .inc();
    edge.metrics
        .duration
        .get_or_create(&Routed { method, route })
        .observe(began.elapsed().as_secs_f64());
    let mark = |headers: &mut HeaderMap| {
        if let Some(CorrelationId(id)) = correlation
            && let Ok(value) = HeaderValue::from_str(&id.to_string())
        {
            headers.insert(X_REQUEST_ID, value);
        }
    };
    match answer {
        Ok(response) => {
            let mut response = explained(response.map_into_boxed_body());
            mark(response.headers_mut());
            Ok(response)
        }
        // A middleware has failed. Its answer gets the id like all others.
        Err(error) => {
            let mut response = error.error_response();
            mark(response.headers_mut());
            Err(InternalError::from_response(error, response).into())
        }
    }
}

/// Turns an error of the framework into a problem.
fn explained(response: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    let content_type = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let has_words = (content_type.contains("json") || content_type.starts_with("text/html"))
        && response.response().body().size() != BodySize::None;
    if !is_error || has_words {
        return response;
    }
    let problem = Problem::of_status(status);
    let body = problem.to_json();
    let mut response = response.map_body(|_, _| BoxBody::new(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    headers.remove(CONTENT_ENCODING);
    for (name, value) in problem.header_values() {
        headers.insert(name, value);
    }
    if status == StatusCode::METHOD_NOT_ALLOWED
        && let Some(allow) = headers.get(ALLOW).and_then(|value| value.to_str().ok())
        && allow.split(", ").any(|method| method == "GET")
        && let Ok(value) = HeaderValue::from_str(&format!("{allow}, HEAD"))
    {
        headers.insert(ALLOW, value);
    }
    response
}

fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        // Clients can send any text as a method.
        _ => "other",
    }
}

/// The span of a request, which continues the caller's trace.
#[derive(Debug)]
pub(super) struct RequestSpan;

impl RootSpanBuilder for RequestSpan {
    fn on_request_start(request: &ServiceRequest) -> Span {
        let correlation = CorrelationId::of(request.headers());
        request.extensions_mut().insert(correlation);
        let method = method_label(request.method());
        let route = request.match_pattern().unwrap_or_else(|| UNMATCHED.to_owned());
        let span = info_span!(
            "request",
            otel.name = format!("{method} {route}"),
            otel.kind = "server",
            otel.status_code = Empty,
            http.request.method = method,
            http.route = route,
            http.response.status_code = Empty,
            correlation_id = %correlation.0,
        );
        set_parent(
            &span,
            request
                .headers()
                .get("traceparent")
                .and_then(|value| value.to_str().ok()),
        );
        span
    }

    fn on_request_end<B: MessageBody>(span: Span, outcome: &Result<ServiceResponse<B>, Error>) {
        let status = match outcome {
            Ok(response) => response.status(),
            Err(error) => error.as_response_error().status_code(),
        };
        span.record("http.response.status_code", status.as_u16());
        // OpenTelemetry: an error of the client is not an error of the server.
        if status.is_server_error() {
            span.record("otel.status_code", "ERROR");
        }
        tracing::debug!(parent: &span, status = status.as_u16(), "answered");
    }
}
