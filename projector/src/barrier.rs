//! Waiting until the views have passed a position.

use std::time::Duration;

use event_log::position::Position;
use event_log::subscription::leases::Leases;
use model::ids::PARTITIONS;
use mongodb::Database;
use mongodb::error::Error;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use views::subscription_name;

/// The pause between two checks of the checkpoints.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Whether the views of `generation` contain, for every partition, everything up to `mark`.
pub(crate) async fn has_passed(views: &Database, generation: i64, mark: Position) -> Result<bool, Error> {
    let leases = Leases::new(views.clone(), &subscription_name(generation)).all().await?;
    Ok(leases.len() == usize::from(PARTITIONS) && leases.iter().all(|lease| lease.position >= mark))
}

/// Waits until the views of `generation` have passed `mark`. Returns `false` if `stop` or the time-out comes first.
pub(crate) async fn wait_until_passed(
    views: &Database,
    generation: i64,
    mark: Position,
    timeout: Duration,
    stop: &CancellationToken,
) -> Result<bool, Error> {
    let deadline = Instant::now() + timeout;
    loop {
        if has_passed(views, generation, mark).await? {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(false),
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}
