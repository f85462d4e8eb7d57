//! Tells the projectors which generation this process reads, so that they do not drop it.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Settings;
use crate::read_model::ReadModels;
use views::generation::{GenerationError, Generations};

/// From now on another generation is read.
#[derive(Debug)]
pub(super) struct Switch {
    /// The uses of the former generation, if there was one.
    pub(super) former: Option<TaskTracker>,
    pub(super) to: i64,
}

/// The claim of this process on the generation that it reads.
#[derive(Debug, Clone)]
pub(super) struct GenerationClaim {
    pub(super) read_models: Arc<ReadModels>,
    pub(super) generations: Generations,
    /// A name that no other process has or had.
    pub(super) instance: String,
    pub(super) settings: Settings,
}

impl GenerationClaim {
    /// Renews the claim. After a switch, moves the claim as soon as no request reads the former generation.
    pub(super) async fn keep(self, mut switches: mpsc::UnboundedReceiver<Switch>, shutdown: CancellationToken) {
        let every = self.settings.claim_for / 3;
        let mut generation = None;
        let mut next = Instant::now() + every;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some(switch) = switches.recv() => {
                    if let Some(former) = switch.former {
                        // This ends, because no request lives longer than its deadline.
                        former.close();
                        former.wait().await;
                        tracing::info!(generation = switch.to, "no request reads the former generation of the views any more");
                    }
                    generation = Some(switch.to);
                }
                () = tokio::time::sleep_until(next) => {}
            }
            next = Instant::now() + every;
            let Some(generation) = generation else { continue };
            let failed = match timeout(every, self.write(generation)).await {
                Ok(Ok(_)) => continue,
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no answer within {every:?}"),
            };
            tracing::warn!(
                error = failed,
                generation,
                "could not claim the generation that is read; trying again"
            );
            next = Instant::now() + every / 10;
        }
        if let Err(error) = self.generations.withdraw(&self.instance).await {
            tracing::warn!(%error, "could not withdraw the claim; it expires by itself");
        }
    }

    /// Claims a generation. Returns whether it may be read.
    ///
    /// It may be read if it is the active one. It may also be read if an earlier claim had not expired when this one was
    /// written: then no projector has taken this process for dead meanwhile.
    pub(super) async fn write(&self, generation: i64) -> Result<bool, GenerationError> {
        let asked = Instant::now();
        let claim_for = self.settings.claim_for;
        let control = self.generations.confirm(&self.instance, generation, claim_for).await?;
        let readable = control.active == generation || self.read_models.check_usable().is_ok();
        if readable {
            self.read_models.set_usable_until(asked + self.settings.reliable());
        }
        Ok(readable)
    }
}
