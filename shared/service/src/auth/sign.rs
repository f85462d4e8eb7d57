//! Issues access tokens.

use std::fmt;
use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use uuid::Uuid;

use super::claims::{Claims, Subject};
use super::keys::{PublicKey, signing_key_from_pem};
use crate::config::{self, ConfigError};
use model::clock::SharedClock;

/// Signing a token can fail only if the key is broken. Loading the key rules that out.
#[derive(Debug, thiserror::Error)]
#[error("an access token could not be signed")]
pub struct SignError(#[from] jsonwebtoken::errors::Error);

/// A signed token and its content.
#[derive(Debug, Clone)]
pub struct IssuedToken {
    pub token: String,
    pub claims: Claims,
    /// How long the token is valid, from now.
    pub expires_in: Duration,
}

/// Signs access tokens with one key.
pub struct Signer {
    key: EncodingKey,
    public_key: PublicKey,
    issuer: String,
    audience: String,
    ttl: Duration,
    clock: SharedClock,
}

impl Signer {
    /// # Errors
    /// If there is no signing key, or if it is not an Ed25519 key.
    pub fn from_config(auth: &config::Auth, clock: SharedClock) -> Result<Self, ConfigError> {
        let Some(pem) = &auth.signing_key else {
            return Err(ConfigError::invalid(
                "auth.signing_key",
                "is missing: an Ed25519 key (PKCS #8, PEM) or the path of a file that holds one, \
                 as `openssl genpkey -algorithm ed25519` makes it",
            ));
        };
        let (der, public_key) = signing_key_from_pem(pem.expose())
            .map_err(|error| ConfigError::invalid("auth.signing_key", error.to_string()))?;
        Ok(Self {
            key: EncodingKey::from_ed_der(&der),
            public_key,
            issuer: auth.issuer.clone(),
            audience: auth.audience.clone(),
            ttl: auth.access_token_ttl,
            clock,
        })
    }

    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// Issues a token that is valid from now on.
    pub fn issue(&self, subject: &Subject) -> Result<IssuedToken, SignError> {
        let now = self.clock.now().timestamp();
        let ttl = i64::try_from(self.ttl.as_secs()).unwrap_or(i64::MAX);
        let claims = Claims {
            iss: self.issuer.clone(),
            aud: self.audience.clone(),
            sub: subject.user,
            handle: subject.handle.clone(),
            scope: subject.scope.to_owned(),
            sid: subject.session,
            jti: Uuid::new_v4(),
            iat: now,
            nbf: now,
            exp: now.saturating_add(ttl),
        };
        let token = self.sign(&claims)?;
        Ok(IssuedToken {
            token,
            claims,
            expires_in: self.ttl,
        })
    }

    /// Signs any claims.
    pub fn sign(&self, claims: &Claims) -> Result<String, SignError> {
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(self.public_key.id().to_owned());
        Ok(encode(&header, claims, &self.key)?)
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("public_key", &self.public_key)
            .finish_non_exhaustive()
    }
}
