//! Limits that a handler checks itself, because only the body says who or what is counted.

use std::future::{Ready, ready};
use std::net::IpAddr;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::web::Data;
use actix_web::{FromRequest, HttpRequest};

use super::client;
use super::edge::EdgeState;
use super::problem::Problem;
use super::rate_limit::{Class, Decision, Key, counted_as};

/// The limits of this process, for one request.
#[derive(Debug)]
pub struct Limits {
    edge: Option<Data<EdgeState>>,
    address: IpAddr,
}

impl Limits {
    /// The address of the client as it is counted: an IPv6 address stands for its /64.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Takes one request from an allowance. If none is left, it returns how long to wait.
    pub fn take(&self, class: Class, key: Key) -> Result<(), Duration> {
        let Some(edge) = &self.edge else { return Ok(()) };
        let Some(limiter) = &edge.limiter else { return Ok(()) };
        match limiter.check(class, key) {
            Decision::Allowed(_) => Ok(()),
            Decision::Refused { retry_after, .. } => Err(retry_after),
        }
    }

    /// Does the same, but returns the answer for the client.
    pub fn check(&self, class: Class, key: Key) -> Result<(), Problem> {
        self.take(class, key).map_err(|wait| self.refuse(class, wait))
    }

    /// Returns a 429, and counts it.
    pub fn refuse(&self, class: Class, wait: Duration) -> Problem {
        if let Some(edge) = &self.edge {
            edge.metrics.rate_limited(class);
        }
        Problem::too_many_requests(wait)
    }
}

impl FromRequest for Limits {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let edge = request.app_data::<Data<EdgeState>>().cloned();
        let address = match &edge {
            Some(edge) => client::address(edge, request),
            None => request.peer_addr().map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.ip()),
        };
        ready(Ok(Self {
            edge,
            address: counted_as(address),
        }))
    }
}
