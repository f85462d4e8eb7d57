//! Who sends a request.

use std::future::{Ready, ready};
use std::ops::Deref;
use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::http::header::AUTHORIZATION;
use actix_web::{FromRequest, HttpMessage, HttpRequest};

use super::edge::EdgeState;
use super::problem::Problem;
use crate::auth::{Claims, Verifier};

/// Which tokens a service accepts: those that its verifier accepts, with one of these scopes.
#[derive(Debug, Clone)]
pub struct Access {
    pub verifier: Arc<Verifier>,
    pub scopes: &'static [&'static str],
}

/// The caller, on routes that need one. Without a token, or with a token that is not valid, the answer is 401. With a scope that is not
/// allowed here, it is 403.
#[derive(Debug, Clone)]
pub struct Authenticated(pub Arc<Claims>);

/// The caller, if there is one, on public routes. A token that is not valid is 401 here, too. Otherwise its sender would wonder why their
/// own data is missing.
#[derive(Debug, Clone)]
pub struct MaybeAuthenticated(pub Option<Arc<Claims>>);

impl Deref for Authenticated {
    type Target = Claims;

    fn deref(&self) -> &Claims {
        &self.0
    }
}

impl FromRequest for Authenticated {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(caller(request).and_then(|claims| {
            claims
                .map(Self)
                .ok_or_else(|| Problem::unauthorized("This needs an access token: `Authorization: Bearer …`."))
        }))
    }
}

impl FromRequest for MaybeAuthenticated {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(caller(request).map(Self))
    }
}

/// The result of the check of a request's token. It is kept with the request, so that a signature is verified once.
#[derive(Debug, Clone)]
struct Verdict(Result<Option<Arc<Claims>>, Problem>);

pub(super) fn caller(request: &HttpRequest) -> Result<Option<Arc<Claims>>, Problem> {
    if let Some(Verdict(known)) = request.extensions().get::<Verdict>() {
        return known.clone();
    }
    let verdict = judge(request);
    request.extensions_mut().insert(Verdict(verdict.clone()));
    verdict
}

fn judge(request: &HttpRequest) -> Result<Option<Arc<Claims>>, Problem> {
    let mut headers = request.headers().get_all(AUTHORIZATION);
    let Some(header) = headers.next() else { return Ok(None) };
    if headers.next().is_some() {
        return Err(Problem::invalid_token("there are two Authorization headers"));
    }
    let token = header
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .ok_or_else(|| Problem::invalid_token("the Authorization header is not `Bearer` and a token"))?;
    let Some(access) = EdgeState::of(request).and_then(|edge| edge.access.as_ref()) else {
        return Err(Problem::invalid_token("this service accepts no token"));
    };
    let claims = access.verifier.verify(token).map_err(Problem::invalid_token)?;
    if !access.scopes.iter().any(|scope| claims.has_scope(scope)) {
        return Err(Problem::insufficient_scope(&access.scopes.join(" ")));
    }
    Ok(Some(claims))
}
