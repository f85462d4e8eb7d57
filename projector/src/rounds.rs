//! Work that goes on round by round: the deletion sweep and the consequences.

use std::time::Duration;

use event_log::mongo::Databases;
use futures_util::future::BoxFuture;
use mongodb::error::Error;
use prometheus_client::metrics::counter::Counter;
use tokio_util::sync::CancellationToken;

use crate::config::Sweep;

/// Rounds until `stop`. A round returns how many items it has worked on: if there were none, the next one waits. `failed` counts rounds and
/// items that failed.
pub(crate) async fn rounds<'r>(
    what: &'static str,
    stop: &CancellationToken,
    databases: &Databases,
    config: &Sweep,
    failed: &Counter,
    round: impl Fn() -> BoxFuture<'r, Result<usize, Error>>,
) {
    loop {
        let pause = match databases.connections.until_lost(round()).await {
            Ok(0) => config.look_every,
            Ok(_) => Duration::ZERO,
            Err(error) => {
                tracing::warn!(%error, "a round of the {what} failed; trying again");
                failed.inc();
                config.retry_after
            }
        };
        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
    }
}
