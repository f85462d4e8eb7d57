//! `/.well-known/jwks.json`: the keys with which others verify our access tokens.

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::web::{Bytes, Data};
use service::auth::Verifier;

/// The JWK Set, as it is sent.
#[derive(Debug)]
pub(super) struct Keys(Bytes);

impl Keys {
    pub(super) fn of(verifier: &Verifier) -> Self {
        Self(Bytes::from(verifier.jwks().to_string()))
    }
}

/// The public keys of access tokens
///
/// The current key and, during a rotation, the former one.
#[utoipa::path(
    get, path = "/.well-known/jwks.json", tag = "sessions", operation_id = "jwks",
    responses((status = 200, description = "A JWK Set (RFC 7517)", content_type = "application/jwk-set+json", body = serde_json::Value)),
)]
pub(super) async fn jwks(keys: Data<Keys>) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "application/jwk-set+json"))
        .insert_header((CACHE_CONTROL, "public, max-age=300"))
        .body(keys.0.clone())
}
