//! The end of a generation: its readers leave, projectors stop following it, and it is dropped.

use std::collections::BTreeSet;

use event_log::subscription::leases::{Lease, Leases};
use mongodb::error::Error;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use views::generation::Retiring;
use views::{subscribed_generation, subscription_name};

use super::{RebuildError, Rebuilder, pause};

impl Rebuilder {
    /// Continues from wherever an earlier process stopped.
    pub(super) async fn retire(&self, retiring: &Retiring, stop: &CancellationToken) -> Result<(), RebuildError> {
        let generation = retiring.generation;
        if !retiring.stopping {
            // Numbers only rise: a reader of a later generation does not read this one.
            while !self
                .generations
                .readers_confirmed(generation + 1, self.clock.now())
                .await?
            {
                pause(self.config.look_every, stop).await?;
            }
            // Requests that began before the last reader confirmed may still be under way.
            pause(self.config.reader_grace, stop).await?;
            self.generations.stop_following(generation).await?;
        }
        let name = subscription_name(generation);
        let leases = Leases::new(self.views.clone(), &name);
        self.wait_until_left(&leases, stop).await?;
        // Dead letters that wait for an operator concern only this generation's rows. But the next generation must know which events were
        // discarded.
        let active = self.generations.ensure_first().await?.active;
        self.dead_letters
            .carry_discards(&name, &subscription_name(active))
            .await?;
        self.dead_letters.forget(&name).await?;
        leases.remove().await?;
        self.generations.retire(generation).await?;
        tracing::info!(generation, "a former generation of the views is gone");
        Ok(())
    }

    /// Waits until every projector has given its leases back, or shows no sign of life.
    async fn wait_until_left(&self, leases: &Leases, stop: &CancellationToken) -> Result<(), RebuildError> {
        let mut seen: Option<(Vec<(i64, i64)>, Instant)> = None;
        loop {
            let all = leases.all().await?;
            if all.iter().all(|lease| lease.owner.is_none()) {
                return Ok(());
            }
            let signs: Vec<(i64, i64)> = all.iter().map(|Lease { fence, beat, .. }| (*fence, *beat)).collect();
            match &seen {
                Some((earlier, since)) if *earlier == signs => {
                    if since.elapsed() >= self.subscriptions.lease_duration {
                        return Ok(());
                    }
                }
                _ => seen = Some((signs, Instant::now())),
            }
            pause(self.config.look_every, stop).await?;
        }
    }

    /// Removes collections and leases that a projector made again, because it noticed too late that its generation was gone.
    pub(super) async fn clean(&self) -> Result<(), Error> {
        let Some(control) = self.generations.current().await? else {
            return Ok(());
        };
        let lowest = control.lowest_needed();
        let names: BTreeSet<String> = Leases::subscriptions(&self.views).await?.into_iter().collect();
        for name in names
            .iter()
            .filter(|name| subscribed_generation(name).is_some_and(|generation| generation < lowest))
        {
            Leases::new(self.views.clone(), name).remove().await?;
        }
        self.generations.drop_unused().await
    }
}
