//! Waits for a condition with a deadline.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

const BETWEEN_LOOKS: Duration = Duration::from_millis(300);

/// What a look found.
pub(crate) enum Seen<T> {
    There(T),
    /// Not yet; what was seen instead, for whoever has to find out why it never came.
    NotYet(String),
}

/// Looks again and again until it is there, and answers how long that took, too. A look that fails counts as one that did
/// not find it: in these tests even the API server may be out of reach for a moment.
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
            bail!("{what}: not within {within:?}; at the end: {instead}");
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}
