//! What the requests and answers of all commands have in common.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::USER_AGENT;
use actix_web::{FromRequest, HttpRequest, HttpResponse, HttpResponseBuilder};
use chrono::{DateTime, Utc};
use event_log::trace::current_traceparent;
use model::api;
use model::ids::UserId;
use service::auth::Claims;
use service::http::{Authenticated, CorrelationId, Problem, TokenHeader};

use commands::{Cause, Commands, Done};

/// What a request belongs to, and what its sender has seen.
#[derive(Debug)]
pub(super) struct Sent {
    correlation_id: CorrelationId,
    token: TokenHeader,
}

impl Sent {
    pub(super) fn cause(&self, actor: UserId) -> Cause {
        Cause {
            actor,
            correlation_id: self.correlation_id.0.to_string(),
            causation_id: None,
            traceparent: current_traceparent(),
        }
    }

    /// An answer with the token of the position at which the change is visible.
    pub(super) fn answer<A>(&self, status: StatusCode, commands: &Commands, done: &Done<A>) -> HttpResponseBuilder {
        let mut response = HttpResponse::build(status);
        response.insert_header(TokenHeader::header(&commands.token(done, self.token.token.as_ref())));
        response
    }
}

impl FromRequest for Sent {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        ready((|| {
            let correlation_id = now(CorrelationId::from_request(request, payload))?;
            let token = now(TokenHeader::from_request(request, payload))?;
            Ok(Self { correlation_id, token })
        })())
    }
}

/// A request of a logged-in user.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) claims: Authenticated,
    pub(super) sent: Sent,
}

impl Caller {
    pub(super) fn cause(&self) -> Cause {
        self.sent.cause(self.claims.sub)
    }

    /// The author of what the caller writes. It reads no profile.
    pub(super) fn author(&self) -> api::Author {
        let claims: &Claims = &self.claims;
        api::Author {
            id: claims.sub,
            handle: claims.handle.as_str().to_owned(),
            display_name: None,
        }
    }
}

impl FromRequest for Caller {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        ready((|| {
            let claims = now(Authenticated::from_request(request, payload))?;
            let sent = now(Sent::from_request(request, payload))?;
            Ok(Self { claims, sent })
        })())
    }
}

/// A time in a field of a request.
pub(super) fn time(raw: &str) -> Result<DateTime<Utc>, &'static str> {
    DateTime::parse_from_rfc3339(raw)
        .map(|time| time.with_timezone(&Utc))
        .map_err(|_| "must be a time in RFC 3339, such as 2030-01-31T12:00:00Z")
}

/// Header extractors are ready at once.
fn now<T>(extracted: Ready<Result<T, Problem>>) -> Result<T, Problem> {
    extracted.into_inner()
}

/// The name that the sender's device gives: `User-Agent`, shortened to what a person wants to read.
#[derive(Debug)]
pub(super) struct Device(pub(super) Option<String>);

impl Device {
    const MAX_LEN: usize = 120;
}

impl FromRequest for Device {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let agent = request.headers().get(USER_AGENT).and_then(|agent| agent.to_str().ok());
        // Only visible ASCII and spaces. Other values were dropped above.
        let label: String = agent.unwrap_or_default().trim().chars().take(Self::MAX_LEN).collect();
        ready(Ok(Self(
            Some(label.trim_end().to_owned()).filter(|label| !label.is_empty()),
        )))
    }
}
