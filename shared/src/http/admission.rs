//! Who is let through to a handler: not too many at once, and nobody too often.

use std::net::IpAddr;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, HttpMessage, ResponseError};

use super::authenticated::caller;
use super::edge::EdgeState;
use super::limits::ClientAddress;
use super::probes;
use super::problem::{Problem, whole_seconds};
use super::rate_limit::{Allowance, Class, Decision, Key};

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Lets a request through, or answers 503 (too many at once) or 429 (too often). Probes and documentation always pass.
/// The headers say how many requests the caller has left, and in how many seconds all of them are back.
pub(super) async fn admit(
    edge: Data<EdgeState>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let pattern = request.match_pattern();
    if pattern.as_deref().is_some_and(probes::is_exempt) {
        return Ok(next.call(request).await?.map_into_boxed_body());
    }
    let Ok(_permit) = edge.in_flight.clone().try_acquire_owned() else {
        let detail = "Too many requests are being answered. Please try again in a moment.";
        return Ok(refuse(
            request,
            &Problem::unavailable(detail, std::time::Duration::from_secs(1)),
        ));
    };
    let address = client_address(&edge, &request);
    request.extensions_mut().insert(ClientAddress(address));
    let class = class(&edge, request.method(), pattern.as_deref());
    let Some(limiter) = edge.limiter.as_ref().filter(|_| !counted_by_handler(class)) else {
        return Ok(next.call(request).await?.map_into_boxed_body());
    };
    let (mut response, allowance) = match limiter.check(class, key(&request, class, address)) {
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

/// Who is counted stands in the body, which is not there yet.
fn counted_by_handler(class: Class) -> bool {
    matches!(class, Class::Account | Class::Refresh)
}

fn key(request: &ServiceRequest, class: Class, address: IpAddr) -> Key {
    let user = match class {
        Class::Read | Class::Write => caller(request.request()).ok().flatten().map(|claims| claims.sub),
        Class::Login | Class::Register | Class::Account | Class::Refresh => None,
    };
    match user {
        Some(user) => Key::User(user),
        None => Key::address(address),
    }
}

/// The address of the client, as the outermost proxy that is trusted saw it.
fn client_address(edge: &EdgeState, request: &ServiceRequest) -> IpAddr {
    let peer = request.peer_addr().map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.ip());
    let Some(hops) = edge.trusted_proxies.checked_sub(1) else {
        return peer;
    };
    let forwarded: Vec<&str> = request
        .headers()
        .get_all(FORWARDED_FOR)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .collect();
    // Each proxy appends whom it heard from: counted from the right, the entries are as honest as the proxies.
    forwarded
        .iter()
        .rev()
        .nth(hops)
        .and_then(|text| text.parse().ok())
        .unwrap_or(peer)
}
