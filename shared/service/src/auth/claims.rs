//! The content of an access token.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use model::ids::{SessionId, UserId};
use model::values::Handle;

/// The scope of an ordinary session.
pub const SCOPE_USER: &str = "user";
/// The scope of the tokens that `microblog verify` signs for itself. It can read timelines without waking idle owners.
pub const SCOPE_VERIFY: &str = "verify";

/// The user and the session for whom a token is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    pub user: UserId,
    pub handle: Handle,
    pub session: SessionId,
    pub scope: &'static str,
}

/// The claims of an access token. Claims that come from [`super::Verifier::verify`] can be trusted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    pub iss: String,
    pub aud: String,
    pub sub: UserId,
    pub handle: Handle,
    /// Scopes, separated by spaces.
    pub scope: String,
    /// The session, which is the family of refresh tokens.
    pub sid: SessionId,
    pub jti: Uuid,
    /// Seconds since 1970, like the next two.
    pub iat: i64,
    pub nbf: i64,
    pub exp: i64,
}

impl Claims {
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scope.split(' ').any(|one| one == scope)
    }

    pub fn expires_at(&self) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp(self.exp, 0)
    }
}
