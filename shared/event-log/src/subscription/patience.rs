//! How long to wait before something is tried again.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::settings::SubscriptionSettings;

/// Pauses that double, up to a bound.
pub(super) struct Patience {
    next: Duration,
    most: Duration,
    moments: u32,
}

impl Patience {
    pub(super) fn new(settings: &SubscriptionSettings) -> Self {
        Self {
            next: settings.backoff,
            most: settings.backoff_max,
            moments: 0,
        }
    }

    /// How long to wait this time.
    pub(super) fn next(&mut self) -> Duration {
        let next = self.next;
        self.next = (self.next * 2).min(self.most);
        next
    }

    /// Waits; false if stopped meanwhile.
    pub(super) async fn pause(&mut self, stop: &CancellationToken) -> bool {
        let pause = self.next();
        stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_some()
    }

    /// After a conflict between transactions: a moment, of random length so that they don't meet again.
    pub(super) async fn moment(&mut self, stop: &CancellationToken) -> bool {
        if self.moments >= 16 {
            return self.pause(stop).await;
        }
        self.moments += 1;
        let most = u64::from(self.moments) * 8;
        let pause = Duration::from_millis(1 + u64::from(uuid::Uuid::new_v4().as_bytes()[0]) * most / 255);
        stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_some()
    }
}
