//! Whether the database answers. A client of the database belongs to one runtime, but the server of the probes has runtimes of its own. So
//! a task sends the requests, and the probes read its latest result.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use event_log::mongo::Databases;
use tokio_util::sync::CancellationToken;

/// The pause between two requests.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// The latest result. All clones share it.
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

    /// Sends requests until `stop`.
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
