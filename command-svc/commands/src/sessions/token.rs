//! Refresh tokens: base64url of family (16 bytes), counter (8, big-endian) and HMAC-SHA256 (32) over both.

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use event_log::crypto::sha256;
use model::ids::SessionId;

const SIGNED: usize = 16 + 8;
const TOKEN: usize = SIGNED + 32;

/// Derives and verifies refresh tokens.
#[derive(Clone)]
pub struct RefreshTokens {
    key: hmac::Key,
}

/// A token that was made with the secret. Its session says whether it is still valid.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct RefreshToken {
    pub(crate) family: SessionId,
    pub(crate) counter: i64,
    bytes: [u8; TOKEN],
}

/// The text was never one of our refresh tokens. No session is looked up or ended because of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a refresh token")]
pub(crate) struct InvalidRefreshToken;

impl RefreshTokens {
    pub(crate) fn new(secret: &[u8]) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, secret),
        }
    }

    pub(crate) fn issue(&self, family: SessionId, counter: i64) -> RefreshToken {
        let mut bytes = [0; TOKEN];
        bytes[..16].copy_from_slice(family.as_bytes());
        bytes[16..SIGNED].copy_from_slice(&counter.to_be_bytes());
        let signature = hmac::sign(&self.key, &bytes[..SIGNED]);
        bytes[SIGNED..].copy_from_slice(signature.as_ref());
        RefreshToken { family, counter, bytes }
    }

    pub(crate) fn parse(&self, text: &str) -> Result<RefreshToken, InvalidRefreshToken> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidRefreshToken)?;
        let bytes: [u8; TOKEN] = bytes.try_into().map_err(|_| InvalidRefreshToken)?;
        hmac::verify(&self.key, &bytes[..SIGNED], &bytes[SIGNED..]).map_err(|_| InvalidRefreshToken)?;
        let mut family = [0; 16];
        family.copy_from_slice(&bytes[..16]);
        let mut counter = [0; 8];
        counter.copy_from_slice(&bytes[16..SIGNED]);
        Ok(RefreshToken {
            family: SessionId::from_bytes(family),
            counter: i64::from_be_bytes(counter),
            bytes,
        })
    }
}

impl RefreshToken {
    /// The token as its holder receives it.
    pub(crate) fn reveal(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.bytes)
    }

    pub(crate) fn hash(&self) -> [u8; 32] {
        sha256(&self.bytes)
    }
}

impl fmt::Debug for RefreshTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshTokens").finish_non_exhaustive()
    }
}

impl fmt::Debug for RefreshToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RefreshToken({} of {})", self.counter, self.family)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn family() -> SessionId {
        SessionId::from_bytes([7; 16])
    }

    #[test]
    fn the_same_family_and_counter_give_the_same_token() {
        let tokens = RefreshTokens::new(&[1; 32]);
        let token = tokens.issue(family(), 3);
        assert_eq!(token, tokens.issue(family(), 3));
        assert_eq!(tokens.parse(&token.reveal()), Ok(token.clone()));
        assert_ne!(token.reveal(), tokens.issue(family(), 4).reveal());
        assert!(!format!("{token:?}").contains(&token.reveal()));
    }

    #[test]
    fn what_another_secret_made_or_somebody_changed_is_no_token() {
        let tokens = RefreshTokens::new(&[1; 32]);
        let token = tokens.issue(family(), 3);
        assert_eq!(
            RefreshTokens::new(&[2; 32]).parse(&token.reveal()),
            Err(InvalidRefreshToken)
        );
        let mut forged = token.bytes;
        forged[SIGNED - 1] += 1;
        assert_eq!(tokens.parse(&URL_SAFE_NO_PAD.encode(forged)), Err(InvalidRefreshToken));
        for text in ["", "x", "ÿ", &token.reveal()[1..]] {
            assert_eq!(tokens.parse(text), Err(InvalidRefreshToken), "{text}");
        }
    }
}
