//! Verifies access tokens.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use quick_cache::sync::Cache;
use serde_json::json;

use super::claims::Claims;
use super::keys::{PublicKey, signing_key_from_pem};
use crate::config::{self, ConfigError};
use event_log::crypto::sha256;
use model::clock::SharedClock;

/// Our tokens are far below this length.
const MAX_TOKEN_BYTES: usize = 4 * 1024;

/// How many tokens with a valid signature are remembered. Each takes about half a KiB.
const REMEMBERED: usize = 16 * 1024;

/// Why a token is refused. The answer is always 401. The message is for the log, and for somebody who debugs a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidToken {
    #[error("the token can't be read")]
    Malformed,
    #[error("the token is not signed with EdDSA")]
    Algorithm,
    #[error("the token's key is not known")]
    UnknownKey,
    #[error("the token's signature is wrong")]
    Signature,
    #[error("the token is from another issuer")]
    Issuer,
    #[error("the token is for another audience")]
    Audience,
    #[error("the token lacks a claim, or a claim has a wrong value")]
    Claims,
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    NotYetValid,
}

/// Verifies access tokens offline, with any of several keys. So keys can be changed while tokens are valid.
pub struct Verifier {
    keys: HashMap<String, DecodingKey>,
    public_keys: Vec<PublicKey>,
    validation: Validation,
    leeway: i64,
    clock: SharedClock,
    /// The claims of tokens whose signature and issuer are valid, by the hash of the token. They depend on these keys, so they are kept
    /// with them.
    known: Cache<[u8; 32], Arc<Claims>>,
}

impl Verifier {
    /// Takes the public keys, and the public half of the signing key if there is one.
    ///
    /// # Errors
    ///
    /// If there is no key at all, or if one is not an Ed25519 key.
    pub fn from_config(auth: &config::Auth, clock: SharedClock) -> Result<Self, ConfigError> {
        let mut public_keys = Vec::new();
        if let Some(pem) = &auth.signing_key {
            let (_, key) = signing_key_from_pem(pem.expose())
                .map_err(|error| ConfigError::invalid("auth.signing_key", error.to_string()))?;
            public_keys.push(key);
        }
        for pem in &auth.public_keys.0 {
            let keys = PublicKey::all_from_pem(pem.expose())
                .map_err(|error| ConfigError::invalid("auth.public_keys", error.to_string()))?;
            for key in keys {
                if !public_keys.contains(&key) {
                    public_keys.push(key);
                }
            }
        }
        if public_keys.is_empty() {
            return Err(ConfigError::invalid(
                "auth.public_keys",
                "is missing: Ed25519 public keys (PEM) or paths of files that hold them",
            ));
        }
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[&auth.issuer]);
        validation.set_audience(&[&auth.audience]);
        validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
        // The library would use the system's clock. `check_times` uses ours.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        Ok(Self {
            keys: public_keys
                .iter()
                .map(|key| (key.id().to_owned(), DecodingKey::from_ed_der(key.as_bytes())))
                .collect(),
            public_keys,
            validation,
            leeway: i64::try_from(auth.leeway.as_secs()).unwrap_or(i64::MAX),
            clock,
            known: Cache::new(REMEMBERED),
        })
    }

    /// The claims of a token that is valid now. A signature is checked only once, the times always.
    pub fn verify(&self, token: &str) -> Result<Arc<Claims>, InvalidToken> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(InvalidToken::Malformed);
        }
        let hash = sha256(token.as_bytes());
        let claims = match self.known.get(&hash) {
            Some(claims) => claims,
            None => {
                let claims = Arc::new(self.check_signature(token)?);
                // Only tokens that we signed are remembered, so nobody else can push them out.
                self.known.insert(hash, claims.clone());
                claims
            }
        };
        self.check_times(&claims)?;
        Ok(claims)
    }

    /// Checks everything except the times.
    fn check_signature(&self, token: &str) -> Result<Claims, InvalidToken> {
        let header = decode_header(token).map_err(|error| invalid_because(error.kind()))?;
        if header.alg != Algorithm::EdDSA {
            return Err(InvalidToken::Algorithm);
        }
        // RFC 7515: a critical header that is not understood makes the token invalid. We understand no extensions.
        if header.crit.is_some() {
            return Err(InvalidToken::Malformed);
        }
        let key = header
            .kid
            .as_deref()
            .and_then(|kid| self.keys.get(kid))
            .ok_or(InvalidToken::UnknownKey)?;
        let claims = decode::<Claims>(token, key, &self.validation)
            .map_err(|error| invalid_because(error.kind()))?
            .claims;
        Ok(claims)
    }

    fn check_times(&self, claims: &Claims) -> Result<(), InvalidToken> {
        let now = self.clock.now().timestamp();
        if now >= claims.exp.saturating_add(self.leeway) {
            return Err(InvalidToken::Expired);
        }
        if now < claims.nbf.saturating_sub(self.leeway) {
            return Err(InvalidToken::NotYetValid);
        }
        Ok(())
    }

    /// The JWK Set (RFC 7517) of all keys whose signatures are accepted.
    pub fn jwks(&self) -> serde_json::Value {
        json!({ "keys": self.public_keys.iter().map(PublicKey::to_jwk).collect::<Vec<_>>() })
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("public_keys", &self.public_keys)
            .finish_non_exhaustive()
    }
}

fn invalid_because(error: &ErrorKind) -> InvalidToken {
    match error {
        ErrorKind::InvalidSignature => InvalidToken::Signature,
        ErrorKind::InvalidIssuer => InvalidToken::Issuer,
        ErrorKind::InvalidAudience => InvalidToken::Audience,
        ErrorKind::InvalidAlgorithm | ErrorKind::MissingAlgorithm => InvalidToken::Algorithm,
        ErrorKind::MissingRequiredClaim(_) | ErrorKind::InvalidClaimFormat(_) => InvalidToken::Claims,
        _ => InvalidToken::Malformed,
    }
}

#[cfg(test)]
mod tests;
