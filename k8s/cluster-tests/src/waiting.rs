//! Waits for a condition, with a deadline.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

const BETWEEN_LOOKS: Duration = Duration::from_millis(300);

/// The result of one check.
pub(crate) enum Seen<T> {
    There(T),
    /// The condition does not hold yet. The text says what was seen instead, and helps to find out why it never held.
    NotYet(String),
}

/// Checks again and again until the condition holds. Returns what was found, and how long that took. A failed check counts as "not yet",
/// because in these tests even the API server may be out of reach for a moment.
pub(crate) async fn eventually<T>(
    what: &str,
    within: Duration,
    mut look: impl AsyncFnMut() -> Result<Seen<T>>,
) -> Result<(T, Duration)> {
    let begun = Instant::now();
    loop {
        let instead = match look().await {
            Ok(Seen::There(found)) => return Ok((found, begun.elapsed())),
            Ok(Seen::NotYet(instead)) => instead,
            Err(error) => format!("{error:#}"),
        };
        if begun.elapsed() >= within {
            bail!("{what}: not within {within:?}; the last check saw: {instead}");
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}
