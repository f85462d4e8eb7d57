//! Whether the database answers. A client belongs to one runtime, and the probes' server has runtimes of its own: so a
//! task asks, and the probes look at what it found out.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use event_log::mongo::Databases;
use tokio_util::sync::CancellationToken;

/// Between two questions.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// What was found out last; clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Health(Arc<RwLock<Result<(), String>>>);

impl Default for Health {
    fn default() -> Self {
        Self(Arc::new(RwLock::new(Err("has not been asked yet".to_owned()))))
    }
}

impl Health {
    pub(crate) fn outcome(&self) -> Result<(), String> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks until `stop`.
    pub(crate) async fn watch(&self, databases: &Databases, timeout: Duration, stop: &CancellationToken) {
        loop {
            let outcome = databases.ping(timeout).await;
            *self.0.write().unwrap_or_else(PoisonError::into_inner) = outcome;
            if stop.run_until_cancelled(tokio::time::sleep(ASK_EVERY)).await.is_none() {
                return;
            }
        }
    }
}
