//! Argon2id, outside the runtime's threads, with a limited number of hashes at a time: each takes 19 MiB and a processor.

use std::sync::Arc;
use std::time::{Duration, Instant};

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{self, PasswordHasher, PasswordVerifier};
use model::values::Password;
use tokio::sync::Semaphore;
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::timeout;

use crate::metrics::Metrics;

#[derive(Debug, thiserror::Error)]
pub enum HashError {
    #[error("too many passwords wait to be hashed")]
    Saturated,
    #[error("a password could not be hashed: {0}")]
    Argon2(#[from] password_hash::Error),
    #[error("a hash in the credentials is malformed: {0}")]
    Malformed(password_hash::phc::Error),
    #[error("hashing a password did not finish: {0}")]
    Ended(#[from] JoinError),
}

#[derive(Debug, Clone)]
pub(crate) struct Passwords {
    places: Arc<Semaphore>,
    max_queueing: Duration,
    metrics: Metrics,
}

/// Verified if there is no user, so that the time reveals nothing. It has random bytes as salt and hash.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AeuCezQvWwMTRyVWmLk28w$7FAlX8p1TGLrXjtMm/bohzQx91z7a8RbJop+ga4+oyM";

impl Passwords {
    pub(crate) fn new(at_once: usize, max_queueing: Duration, metrics: Metrics) -> Self {
        Self {
            places: Arc::new(Semaphore::new(at_once)),
            max_queueing,
            metrics,
        }
    }

    /// A salted hash as a PHC string.
    pub(crate) async fn hash(&self, password: &Password) -> Result<String, HashError> {
        let password = password.expose().to_owned();
        self.in_turn(move || hash(password.as_bytes())).await
    }

    /// Whether the password matches the hash. If there is no hash, or if the text that was sent can't be a password, it takes as long and
    /// returns false.
    pub(crate) async fn verify(&self, password: Option<&Password>, expected: Option<&str>) -> Result<bool, HashError> {
        let possible = password.is_some() && expected.is_some();
        let password = password.map_or("", Password::expose).to_owned();
        let expected = expected.filter(|_| possible).unwrap_or(NOBODY).to_owned();
        let matches = self.in_turn(move || verify(password.as_bytes(), &expected)).await?;
        Ok(matches && possible)
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, HashError> + Send + 'static,
    ) -> Result<T, HashError> {
        let permit = {
            let _waiting = Waiting::begin(&self.metrics);
            timeout(self.max_queueing, self.places.clone().acquire_owned())
                .await
                .map_err(|_| HashError::Saturated)?
                .expect("the semaphore is never closed")
        };
        let metrics = self.metrics.clone();
        spawn_blocking(move || {
            let started = Instant::now();
            let done = work();
            metrics.hash_seconds.observe(started.elapsed().as_secs_f64());
            // Held until the work ends, even if nobody waits for the result any more.
            drop(permit);
            done
        })
        .await?
    }
}

/// Counts the callers that wait, including those that give up.
struct Waiting<'a>(&'a Metrics);

impl<'a> Waiting<'a> {
    fn begin(metrics: &'a Metrics) -> Self {
        metrics.hashes_waiting.inc();
        Self(metrics)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.hashes_waiting.dec();
    }
}

fn hash(password: &[u8]) -> Result<String, HashError> {
    Ok(Argon2::default().hash_password(password)?.to_string())
}

fn verify(password: &[u8], expected: &str) -> Result<bool, HashError> {
    let expected = PasswordHash::new(expected).map_err(HashError::Malformed)?;
    match Argon2::default().verify_password(password, &expected) {
        Ok(()) => Ok(true),
        Err(password_hash::Error::PasswordInvalid) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passwords(at_once: usize) -> Passwords {
        Passwords::new(at_once, Duration::from_millis(50), Metrics::default())
    }

    fn password(text: &str) -> Password {
        Password::parse(text).unwrap()
    }

    #[tokio::test]
    async fn only_the_same_password_matches() {
        let passwords = passwords(1);
        let (right, wrong) = (password("correct horse"), password("wrong horse"));
        let hash = passwords.hash(&right).await.unwrap();
        let parameters = "$argon2id$v=19$m=19456,t=2,p=1$";
        assert!(hash.starts_with(parameters), "{hash}");
        assert!(
            NOBODY.starts_with(parameters),
            "no user takes as long as a wrong password"
        );
        assert!(passwords.verify(Some(&right), Some(&hash)).await.unwrap());
        assert!(!passwords.verify(Some(&wrong), Some(&hash)).await.unwrap());
        assert!(!passwords.verify(Some(&right), None).await.unwrap());
        assert!(!passwords.verify(None, Some(&hash)).await.unwrap());
        assert_ne!(
            passwords.hash(&right).await.unwrap(),
            hash,
            "the salt is another each time"
        );
    }

    #[tokio::test]
    async fn who_waits_too_long_is_sent_away() {
        let passwords = passwords(1);
        let _taken = passwords.places.clone().acquire_owned().await.unwrap();
        assert!(matches!(
            passwords.hash(&password("correct horse")).await,
            Err(HashError::Saturated)
        ));
        assert_eq!(passwords.metrics.hashes_waiting.get(), 0);
    }
}
