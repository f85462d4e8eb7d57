//! Which requests reach a handler: not too many at the same time, and not too many from one caller.

use std::sync::Arc;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, HttpMessage, ResponseError};

use super::client;
use super::edge::EdgeState;
use super::place::Place;
use super::probes;
use super::problem::{Problem, whole_seconds};
use super::rate_limit::{Allowance, Class, Decision, Key};

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// Lets a request through, or answers 503 (too many at the same time) or 429 (too many from one caller). Probes and documentation always
/// pass. The headers say how many requests the caller has left, and in how many seconds all of them are available again.
pub(super) async fn admit(
    edge: Data<EdgeState>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let pattern = request.match_pattern();
    if pattern.as_deref().is_some_and(probes::is_exempt) {
        return Ok(next.call(request).await?.map_into_boxed_body());
    }
    // The place is taken until the request is dropped. A request that waits for something else gives it back meanwhile.
    match Place::take(&edge.in_flight) {
        Ok(place) => request.extensions_mut().insert(Arc::new(place)),
        Err(problem) => return Ok(refuse(request, &problem)),
    };
    let class = class(&edge, request.method(), pattern.as_deref());
    let Some(limiter) = edge.limiter.as_ref() else {
        return Ok(next.call(request).await?.map_into_boxed_body());
    };
    let (mut response, allowance) = match limiter.check(class, key(&edge, &request, class)) {
        Decision::Allowed(allowance) => (next.call(request).await?.map_into_boxed_body(), allowance),
        Decision::Refused { allowance, retry_after } => {
            edge.metrics.rate_limited(class);
            (refuse(request, &Problem::too_many_requests(retry_after)), allowance)
        }
    };
    describe(&mut response, allowance);
    Ok(response)
}

fn refuse(request: ServiceRequest, problem: &Problem) -> ServiceResponse<BoxBody> {
    request.into_response(problem.error_response())
}

fn describe(response: &mut ServiceResponse<BoxBody>, allowance: Allowance) {
    let headers = response.headers_mut();
    headers.insert(LIMIT, HeaderValue::from(allowance.limit));
    headers.insert(REMAINING, HeaderValue::from(allowance.remaining));
    headers.insert(RESET, HeaderValue::from(whole_seconds(allowance.reset)));
}

fn class(edge: &EdgeState, method: &Method, pattern: Option<&str>) -> Class {
    let special = edge
        .classes
        .iter()
        .find(|(of, route, _)| of == method && Some(*route) == pattern);
    match special {
        Some((_, _, class)) => *class,
        None if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) => Class::Read,
        None => Class::Write,
    }
}

fn key(edge: &EdgeState, request: &ServiceRequest, class: Class) -> Key {
    match class {
        Class::Read | Class::Write => client::key(edge, request.request()),
        // The class of a route never counts by account or session. These are in the body, which has not arrived yet.
        Class::Login | Class::Register | Class::RefreshAddress | Class::Account | Class::Refresh => {
            Key::address(client::address(edge, request.request()))
        }
    }
}
