//! The probes of Kubernetes, and the metrics for Prometheus.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use actix_web::guard::{GuardContext, fn_guard};
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{HttpResponse, Resource, Responder};
use futures_util::future::BoxFuture;
use serde_json::json;

use super::client::FORWARDED_FOR;
use super::edge::EdgeState;
use super::problem::Problem;
use crate::telemetry::OPEN_METRICS;

type Check = Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// What a program depends on, and whether it is about to end. Clones share the same state.
///
/// The checks run in the server's threads. A check that needs its own runtime should only read the result of a task there.
#[derive(Clone, Default)]
pub struct Readiness(Arc<Inner>);

#[derive(Default)]
struct Inner {
    checks: RwLock<Vec<(&'static str, Check)>>,
    draining: AtomicBool,
}

impl Readiness {
    /// Adds a check. `/readyz` shows its error as the reason.
    pub fn check<F, R>(&self, name: &'static str, check: F)
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), String>> + Send + 'static,
    {
        let check: Check = Arc::new(move || Box::pin(check()));
        self.0
            .checks
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push((name, check));
    }

    /// From now on `/readyz` is 503, because the program is about to end.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Release);
    }

    pub fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Acquire)
    }

    /// The result of every check, each within `timeout`, in the order in which they were added. A check that waits for the database reports
    /// the state at its end. The checks after it must not report an older state, so they start only then.
    pub async fn outcomes(&self, timeout: Duration) -> Vec<(&'static str, Result<(), String>)> {
        let checks = self.0.checks.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut outcomes = Vec::with_capacity(checks.len());
        for (name, check) in checks {
            let outcome = tokio::time::timeout(timeout, check()).await;
            let outcome = outcome.unwrap_or_else(|_| Err(format!("did not answer within {timeout:?}")));
            outcomes.push((name, outcome));
        }
        outcomes
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readiness")
            .field("draining", &self.is_draining())
            .finish_non_exhaustive()
    }
}

/// `/livez`: the process runs. `/healthz`: what it depends on works. `/readyz`: the same, and the process is not about to end. `/metrics`:
/// OpenMetrics.
pub(super) fn configure(service: &mut ServiceConfig) {
    service
        .service(for_operators("/livez").route(web::get().to(livez)))
        .service(for_operators("/readyz").route(web::get().to(readyz)))
        .service(for_operators("/healthz").route(web::get().to(healthz)))
        .service(for_operators("/metrics").route(web::get().to(metrics)));
}

/// Kubernetes and Prometheus come directly. What names another client comes through a proxy, which may pass on everything to the public.
fn for_operators(path: &'static str) -> Resource {
    let comes_directly = |context: &GuardContext<'_>| !context.head().headers().contains_key(FORWARDED_FOR);
    web::resource(path).guard(fn_guard(comes_directly))
}

/// The routes without limits. An operator needs them most under overload.
pub(super) fn is_exempt(pattern: &str) -> bool {
    matches!(
        pattern,
        "/livez" | "/readyz" | "/healthz" | "/metrics" | "/openapi.json" | "/asyncapi.json"
    ) || pattern.starts_with("/docs")
}

async fn livez() -> impl Responder {
    HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(json!({ "status": "ok" }))
}

async fn healthz(edge: Data<EdgeState>) -> impl Responder {
    health(&edge, false).await
}

async fn readyz(edge: Data<EdgeState>) -> impl Responder {
    health(&edge, edge.readiness.is_draining()).await
}

async fn health(edge: &EdgeState, draining: bool) -> HttpResponse {
    let outcomes = edge.readiness.outcomes(edge.check_timeout).await;
    let healthy = outcomes.iter().all(|(_, outcome)| outcome.is_ok());
    let checks: Vec<_> = outcomes
        .iter()
        .map(|(name, outcome)| match outcome {
            Ok(()) => json!({ "name": name, "ok": true }),
            Err(reason) => json!({ "name": name, "ok": false, "reason": reason }),
        })
        .collect();
    let (mut response, status) = match (healthy, draining) {
        (true, false) => (HttpResponse::Ok(), "ok"),
        (_, true) => (HttpResponse::ServiceUnavailable(), "draining"),
        (false, false) => (HttpResponse::ServiceUnavailable(), "unavailable"),
    };
    response
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(json!({ "status": status, "checks": checks }))
}

async fn metrics(edge: Data<EdgeState>) -> Result<HttpResponse, Problem> {
    let text = edge.registry.encode().map_err(|error| Problem::internal(&error))?;
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, OPEN_METRICS))
        .body(text))
}
