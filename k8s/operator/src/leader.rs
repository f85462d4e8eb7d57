//! Leader election: the operator that holds the Lease is the leader, and only the leader works.
//!
//! As in client-go, no clocks are compared. A candidate that sees the Lease unchanged for its duration takes it. A leader that can't renew
//! the Lease for two thirds of that duration stops by itself. Two leaders at the same time would do no harm: they would only do the same
//! work twice.

use std::future::Future;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client, Error, ResourceExt as _};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::metrics::OperatorMetrics;

/// A candidate in the leader election.
#[derive(Debug)]
pub(crate) struct Election {
    leases: Api<Lease>,
    name: String,
    identity: String,
    lease_duration: Duration,
    renew_every: Duration,
    metrics: OperatorMetrics,
}

/// The last version of the Lease that was seen, and since when it has not changed.
#[derive(Debug)]
struct Seen {
    version: Option<String>,
    since: Instant,
}

impl Election {
    pub(crate) fn new(
        client: Client,
        namespace: &str,
        name: &str,
        identity: &str,
        (lease_duration, renew_every): (Duration, Duration),
        metrics: OperatorMetrics,
    ) -> Self {
        Self {
            leases: Api::namespaced(client, namespace),
            name: name.to_owned(),
            identity: identity.to_owned(),
            lease_duration,
            renew_every,
            metrics,
        }
    }

    /// Does `work` whenever this process holds the Lease, until `shutdown`. The token that the work gets tells it to stop. The Lease is
    /// released only after the work has ended.
    pub(crate) async fn lead<F>(&self, shutdown: &CancellationToken, mut work: impl FnMut(CancellationToken) -> F)
    where
        F: Future<Output = ()>,
    {
        while let Some(lease) = self.campaign(shutdown).await {
            tracing::info!(lease = self.name, identity = self.identity, "became the leader");
            self.metrics.leading.set(1);
            let stop = shutdown.child_token();
            let working = work(stop.clone());
            tokio::pin!(working);
            tokio::select! {
                () = &mut working => {}
                () = self.renew_until_lost(lease) => {
                    tracing::warn!(lease = self.name, "lost the Lease");
                    stop.cancel();
                    working.await;
                }
            }
            self.metrics.leading.set(0);
            self.metrics.forget_all();
            self.resign().await;
        }
    }

    /// Waits for the Lease. `None` once `shutdown` is cancelled.
    async fn campaign(&self, shutdown: &CancellationToken) -> Option<Lease> {
        let mut seen: Option<Seen> = None;
        while !shutdown.is_cancelled() {
            match self.attempt(&mut seen).await {
                Ok(taken) => {
                    self.metrics.reached_kubernetes();
                    if let Some(lease) = taken {
                        return Some(lease);
                    }
                }
                Err(error) => {
                    self.metrics.missed_kubernetes(&error);
                    tracing::warn!(lease = self.name, %error, "could not read the Lease");
                }
            }
            shutdown
                .run_until_cancelled(tokio::time::sleep(self.renew_every))
                .await?;
        }
        None
    }

    async fn attempt(&self, seen: &mut Option<Seen>) -> Result<Option<Lease>, Error> {
        let Some(lease) = self.leases.get_opt(&self.name).await? else {
            let new = Lease {
                metadata: ObjectMeta {
                    name: Some(self.name.clone()),
                    ..ObjectMeta::default()
                },
                spec: Some(self.held(0)),
            };
            return unless_another_was_faster(self.leases.create(&PostParams::default(), &new).await);
        };
        let since = match seen {
            Some(seen) if seen.version == lease.resource_version() => seen.since,
            _ => {
                let since = Instant::now();
                *seen = Some(Seen {
                    version: lease.resource_version(),
                    since,
                });
                since
            }
        };
        if !self.may_take(&lease, since.elapsed()) {
            return Ok(None);
        }
        let transitions = lease.spec.as_ref().and_then(|spec| spec.lease_transitions).unwrap_or(0);
        self.put(lease, self.held(transitions.saturating_add(1))).await
    }

    /// Whether this process holds the Lease, or nobody does, or its holder has not renewed it for so long that it must have stopped.
    fn may_take(&self, lease: &Lease, unchanged_for: Duration) -> bool {
        let spec = lease.spec.as_ref();
        let holder = spec
            .and_then(|spec| spec.holder_identity.as_deref())
            .unwrap_or_default();
        let duration = spec
            .and_then(|spec| spec.lease_duration_seconds)
            .and_then(|seconds| u64::try_from(seconds).ok())
            .map_or(self.lease_duration, Duration::from_secs);
        holder.is_empty() || holder == self.identity || unchanged_for >= duration
    }

    /// Returns when another process holds the Lease, or soon might.
    async fn renew_until_lost(&self, mut lease: Lease) {
        let mut renewed = Instant::now();
        let deadline = self.lease_duration * 2 / 3;
        loop {
            tokio::time::sleep(self.renew_every).await;
            let before = Instant::now();
            let transitions = lease.spec.as_ref().and_then(|spec| spec.lease_transitions).unwrap_or(0);
            let left = deadline.saturating_sub(renewed.elapsed());
            match tokio::time::timeout(left, self.put(lease.clone(), self.held(transitions))).await {
                Ok(Ok(Some(renewed_lease))) => {
                    self.metrics.reached_kubernetes();
                    (lease, renewed) = (renewed_lease, before);
                }
                Ok(Ok(None)) => match self.leases.get_opt(&self.name).await {
                    // Our own write, whose response was lost.
                    Ok(Some(present)) if self.is_mine(&present) => lease = present,
                    Ok(_) => return,
                    Err(error) => tracing::warn!(lease = self.name, %error, "could not read the Lease"),
                },
                Ok(Err(error)) => {
                    self.metrics.missed_kubernetes(&error);
                    tracing::warn!(lease = self.name, %error, "could not renew the Lease");
                }
                Err(_) => {}
            }
            if renewed.elapsed() >= deadline {
                return;
            }
        }
    }

    /// Releases the Lease, so that the next leader need not wait until it expires.
    async fn resign(&self) {
        let resigned = async {
            let Some(lease) = self
                .leases
                .get_opt(&self.name)
                .await?
                .filter(|lease| self.is_mine(lease))
            else {
                return Ok(None);
            };
            let transitions = lease.spec.as_ref().and_then(|spec| spec.lease_transitions);
            let free = LeaseSpec {
                holder_identity: Some(String::new()),
                lease_transitions: transitions,
                ..self.held(0)
            };
            self.put(lease, free).await
        };
        if let Err(error) = resigned.await {
            tracing::warn!(lease = self.name, %error, "could not release the Lease; it will expire");
        }
    }

    /// `None` if somebody else has written in between.
    async fn put(&self, lease: Lease, spec: LeaseSpec) -> Result<Option<Lease>, Error> {
        let lease = Lease {
            spec: Some(spec),
            ..lease
        };
        unless_another_was_faster(self.leases.replace(&self.name, &PostParams::default(), &lease).await)
    }

    fn is_mine(&self, lease: &Lease) -> bool {
        lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()) == Some(&self.identity)
    }

    fn held(&self, transitions: i32) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(self.lease_duration.as_secs()).ok(),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }
}

/// The write contains the version of the Lease that was read. If somebody else has written meanwhile, the API server answers 409.
fn unless_another_was_faster(written: Result<Lease, Error>) -> Result<Option<Lease>, Error> {
    match written {
        Ok(lease) => Ok(Some(lease)),
        Err(Error::Api(status)) if status.code == 409 => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
