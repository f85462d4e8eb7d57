//! Everything between the socket and the handlers of a service, in one value.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::http::Method;
use actix_web::web::Data;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::authenticated::Access;
use super::observe::HttpMetrics;
use super::place::Room;
use super::probes::Readiness;
use super::rate_limit::{Class, Key, Limiter};
use crate::config::{self, Networks};
use crate::telemetry::MetricsRegistry;

/// What a service gives to its server.
pub struct Edge {
    pub http: config::Http,
    pub consistency: config::Consistency,
    pub cors: config::Cors,
    pub rate_limit: config::RateLimit,
    pub shutdown: config::Shutdown,
    pub metrics: MetricsRegistry,
    pub readiness: Readiness,
    /// Which callers are accepted. `None` if the service has no logins.
    pub access: Option<Access>,
    /// Served as `/openapi.json`, with a reader under `/docs`.
    pub openapi: Option<Value>,
    /// Served as `/asyncapi.json`, beside the other one.
    pub asyncapi: Option<Value>,
    /// How many answers may go on at the same time, and how many of one caller.
    pub streams: [NonZeroU32; 2],
    /// The routes (method and pattern) whose class differs from what their method suggests.
    pub classes: Vec<(Method, &'static str, Class)>,
}

impl Edge {
    /// An edge with the defaults. It has no callers and no documentation.
    pub fn new(metrics: MetricsRegistry, readiness: Readiness) -> Self {
        Self {
            http: config::Http::default(),
            consistency: config::Consistency::default(),
            cors: config::Cors::default(),
            rate_limit: config::RateLimit::default(),
            shutdown: config::Shutdown::default(),
            metrics,
            readiness,
            access: None,
            openapi: None,
            asyncapi: None,
            streams: [const { NonZeroU32::new(1).expect("not zero") }; 2],
            classes: Vec::new(),
        }
    }
}

impl fmt::Debug for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Edge")
            .field("http", &self.http)
            .field("access", &self.access)
            .finish_non_exhaustive()
    }
}

/// The state that the middlewares and extractors of all workers share.
pub(super) struct EdgeState {
    pub(super) access: Option<Access>,
    pub(super) body_timeout: Duration,
    pub(super) check_timeout: Duration,
    pub(super) trusted_proxies: Networks,
    pub(super) classes: Vec<(Method, &'static str, Class)>,
    pub(super) limiter: Option<Limiter>,
    pub(super) in_flight: Arc<Semaphore>,
    /// Where requests wait for their bodies. Shares are by network.
    pub(super) arriving: Arc<Room<IpAddr>>,
    /// Where queries wait for the views. Shares are by caller.
    pub(super) catching_up: Arc<Room<Key>>,
    /// Where answers are that go on. Shares are by caller.
    pub(super) streams: Arc<Room<Key>>,
    pub(super) metrics: HttpMetrics,
    pub(super) registry: MetricsRegistry,
    pub(super) readiness: Readiness,
}

impl EdgeState {
    pub(super) fn new(edge: &Edge) -> Self {
        let in_flight = usize::try_from(edge.http.max_in_flight.get()).unwrap_or(Semaphore::MAX_PERMITS);
        let metrics = HttpMetrics::register(&edge.metrics);
        let (http, views) = (&edge.http, &edge.consistency);
        let arriving = Room::new(http.max_bodies, http.max_bodies_per_address, metrics.waiting("body"));
        let catching_up = Room::new(
            views.max_waiting,
            views.max_waiting_per_caller,
            metrics.waiting("views"),
        );
        let streams = Room::new(edge.streams[0], edge.streams[1], metrics.streams());
        Self {
            streams: Arc::new(streams),
            access: edge.access.clone(),
            body_timeout: edge.http.body_timeout,
            check_timeout: edge.http.check_timeout,
            trusted_proxies: edge.http.trusted_proxies.clone(),
            classes: edge.classes.clone(),
            limiter: edge.rate_limit.enabled.then(|| Limiter::new(&edge.rate_limit)),
            in_flight: Arc::new(Semaphore::new(in_flight)),
            arriving: Arc::new(arriving),
            catching_up: Arc::new(catching_up),
            metrics,
            registry: edge.metrics.clone(),
            readiness: edge.readiness.clone(),
        }
    }

    /// The edge of a request. `None` in a test of a bare handler.
    pub(super) fn of(request: &HttpRequest) -> Option<&EdgeState> {
        request.app_data::<Data<EdgeState>>().map(|data| data.get_ref())
    }
}

impl fmt::Debug for EdgeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EdgeState").finish_non_exhaustive()
    }
}
