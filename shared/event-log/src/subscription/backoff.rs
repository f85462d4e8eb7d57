//! How long to wait before another try.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio_util::sync::CancellationToken;

use super::settings::SubscriptionSettings;

/// After conflicts between transactions: short pauses of random length, so that the same two don't meet again.
const AFTER_CONFLICT: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(1))
    .with_max_delay(Duration::from_millis(64))
    .with_max_times(16)
    .with_jitter();

/// Pauses that double, up to a bound, without end.
pub(super) struct Backoff {
    pauses: ExponentialBackoff,
    after_conflict: ExponentialBackoff,
}

impl Backoff {
    pub(super) fn new(settings: &SubscriptionSettings) -> Self {
        Self {
            pauses: settings.pauses(),
            after_conflict: AFTER_CONFLICT.build(),
        }
    }

    /// How long to wait this time.
    pub(super) fn next(&mut self) -> Duration {
        self.pauses.next().unwrap_or_default()
    }

    /// Waits. False: stopped meanwhile.
    pub(super) async fn pause(&mut self, stop: &CancellationToken) -> bool {
        let pause = self.next();
        stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_some()
    }

    /// Waits after a conflict between transactions. After many conflicts the pauses are as long as after other failures.
    pub(super) async fn pause_after_conflict(&mut self, stop: &CancellationToken) -> bool {
        let Some(pause) = self.after_conflict.next() else {
            return self.pause(stop).await;
        };
        stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_some()
    }
}
