//! Reconciles each Projection with its spec, in named steps:
//!
//! 1. `observe`: reads the control document, the checkpoints, the dead letters, and the Job of the desired generation.
//! 2. `decide::steps` (pure): decides what to do.
//! 3. `guard`: sets a finalizer before a step that must be undone later.
//! 4. `execute`: pauses the projectors, or starts the Job.
//! 5. `tell`: updates the status and the metrics, and writes an event if something has changed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use futures_util::StreamExt as _;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::runtime::controller::{Action, Config as ControllerConfig, Error as ControllerError};
use kube::runtime::events::{Event, EventType, Recorder};
use kube::runtime::{Controller, WatchStreamExt as _, predicates, reflector, watcher};
use kube::{Api, Client, Resource as _, ResourceExt as _};
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::Operator;
use crate::decide::{JobState, Step, Told, steps, wanted_job};
use crate::job::{self, Template};
use crate::metrics::OperatorMetrics;
use crate::projection::{Phase, Projection, ProjectionStatus, VIEWS};
use crate::standstill::Standstill;
use crate::views::{Observed, Views};

/// The finalizer. The projection has it while something outside Kubernetes must be undone before the projection may be deleted: the pause.
pub(crate) const FINALIZER: &str = "microblog.dev/resume";
/// The back-off of a reconcile that fails. A change of the projection is reconciled at once in any case.
const BACKOFF: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_secs(1))
    .with_max_delay(Duration::from_secs(60))
    .without_max_times();

/// Why a reconcile failed. It is retried soon.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReconcileError {
    #[error("Kubernetes: {0}")]
    Kubernetes(#[from] kube::Error),
    #[error("the views' database: {0}")]
    Database(#[from] mongodb::error::Error),
    #[error("the finalizers can't be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// What every reconcile needs.
#[derive(Clone)]
pub(crate) struct Context {
    pub client: Client,
    pub namespace: String,
    pub views: Arc<Views>,
    pub template: Arc<Template>,
    pub recorder: Recorder,
    pub metrics: OperatorMetrics,
    pub config: Operator,
    pub memory: Arc<Memory>,
}

/// What is remembered between reconciles, while this operator is the leader.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// By projection, while its reconciles fail.
    failures: Mutex<HashMap<String, ExponentialBackoff>>,
    standstill: Mutex<Standstill>,
}

impl Memory {
    fn failed(&self, projection: &str) -> Duration {
        let mut failures = self.failures.lock().expect("nobody panics while holding it");
        let pauses = failures.entry(projection.to_owned()).or_insert_with(|| BACKOFF.build());
        pauses.next().expect("the pauses have no end")
    }

    fn succeeded(&self, projection: &str) {
        self.failures
            .lock()
            .expect("nobody panics while holding it")
            .remove(projection);
    }

    fn standstill(&self, wanted: Option<i64>, observed: &Observed) -> Option<Duration> {
        let control = observed.control.as_ref()?;
        self.standstill.lock().expect("nobody panics while holding it").look(
            wanted,
            control,
            observed.catching_up,
            Instant::now(),
        )
    }
}

impl Context {
    /// Reconciles the projections of the namespace until `stop`. Then it finishes the current reconcile.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        self.memory = Arc::default();
        let (metrics, memory) = (self.metrics.clone(), self.memory.clone());
        let projections: Api<Projection> = self.projections();
        let jobs: Api<Job> = self.jobs();
        let (reader, writer) = reflector::store();
        // Only a change by a user triggers a reconcile. Otherwise each status that we write would trigger the next one.
        let changed = watcher(projections, watcher::Config::default())
            .default_backoff()
            .reflect(writer)
            .applied_objects()
            .predicate_filter(predicates::generation, Default::default());
        Controller::for_stream(changed, reader)
            .with_config(ControllerConfig::default().concurrency(1))
            .owns(jobs, watcher::Config::default().labels(job::PROJECTION))
            .graceful_shutdown_on(async move { stop.cancelled().await })
            .run(reconcile, after_an_error, Arc::new(self))
            .for_each(|looked| {
                match looked {
                    Ok(_) => {}
                    // Each reconcile schedules the next one, so the first one after the deletion finds that the projection is gone.
                    Err(ControllerError::ObjectNotFound(gone)) => {
                        metrics.forget(&gone.name);
                        memory.succeeded(&gone.name);
                    }
                    Err(error) => tracing::warn!(%error, "a reconcile of a projection failed"),
                }
                std::future::ready(())
            })
            .await;
    }

    fn projections(&self) -> Api<Projection> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn jobs(&self) -> Api<Job> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

fn after_an_error(projection: Arc<Projection>, error: &ReconcileError, context: Arc<Context>) -> Action {
    context.metrics.reconcile_errors.inc();
    let pause = context.memory.failed(&projection.name_any());
    tracing::debug!(%error, ?pause, "reconciles again after a back-off");
    Action::requeue(pause)
}

async fn reconcile(projection: Arc<Projection>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    context.metrics.reconciles.inc();
    let action = look_at(&projection, &context).await?;
    context.memory.succeeded(&projection.name_any());
    Ok(action)
}

async fn look_at(projection: &Projection, context: &Context) -> Result<Action, ReconcileError> {
    let look = Look {
        name: projection.name_any(),
        projection,
        context,
    };
    if projection.meta().deletion_timestamp.is_some() {
        return look.undo().await;
    }
    if look.name != VIEWS {
        look.refuse().await?;
        return Ok(Action::await_change());
    }
    let (observed, job) = match look.observe().await {
        Ok(seen) => seen,
        Err(ReconcileError::Database(error)) => {
            look.tell(Err(error.to_string()), JobState::Absent).await?;
            return Err(error.into());
        }
        Err(error) => return Err(error),
    };
    look.guard().await?;
    let todo = steps(&projection.spec, &observed, &job);
    for step in &todo {
        look.execute(step).await?;
    }
    look.release_guard().await?;
    // The steps have changed the state, so it is observed again at once.
    let (observed, job) = if todo.is_empty() {
        (observed, job)
    } else {
        look.observe().await?
    };
    let phase = look.tell(Ok(&observed), job).await?;
    let pause = match phase {
        Some(Phase::Rebuilding | Phase::Retiring | Phase::Pending) => context.config.look_at_rebuild_every,
        _ => context.config.look_every,
    };
    Ok(Action::requeue(pause))
}

/// One reconcile of one projection.
struct Look<'a> {
    name: String,
    projection: &'a Projection,
    context: &'a Context,
}

impl Look<'_> {
    async fn observe(&self) -> Result<(Observed, JobState), ReconcileError> {
        let observed = self.context.views.observe().await?;
        self.context.metrics.show(&self.name, &observed);
        let wanted = wanted_job(&self.projection.spec, &observed);
        let job = match wanted {
            Some(generation) => self.job(&job::name(self.projection, generation)).await?,
            None => JobState::Absent,
        };
        // While the projection is paused, no progress is expected.
        let moving = wanted.filter(|_| !self.projection.spec.paused);
        let standstill = self.context.memory.standstill(moving, &observed);
        self.context
            .metrics
            .show_rebuild(&self.name, job == JobState::Failed, standstill);
        Ok((observed, job))
    }

    async fn job(&self, name: &str) -> Result<JobState, ReconcileError> {
        let job = self.context.jobs().get_opt(name).await?;
        let pods = if job::may_wait_for_a_pod(job.as_ref()) {
            let own = ListParams::default().labels(&format!("batch.kubernetes.io/job-name={name}"));
            self.context.pods().list(&own).await?.items
        } else {
            Vec::new()
        };
        Ok(job::state(job.as_ref(), &pods, Timestamp::now()))
    }

    /// Sets the finalizer before projectors are paused. Without it, a projection that is deleted while it is paused would leave them paused
    /// forever.
    async fn guard(&self) -> Result<(), ReconcileError> {
        if self.projection.spec.paused && !self.is_guarded() {
            let mut finalizers = self.projection.finalizers().to_vec();
            finalizers.push(FINALIZER.to_owned());
            self.put_finalizers(&finalizers).await?;
        }
        Ok(())
    }

    /// Removes the finalizer after the projectors have resumed. A projection without it can be deleted together with its namespace, when no
    /// operator is left to remove the finalizer.
    async fn release_guard(&self) -> Result<(), ReconcileError> {
        if !self.projection.spec.paused && self.is_guarded() {
            self.remove_guard().await?;
        }
        Ok(())
    }

    fn is_guarded(&self) -> bool {
        self.projection
            .finalizers()
            .iter()
            .any(|finalizer| finalizer == FINALIZER)
    }

    async fn remove_guard(&self) -> Result<(), ReconcileError> {
        let mut finalizers = self.projection.finalizers().to_vec();
        finalizers.retain(|finalizer| finalizer != FINALIZER);
        self.put_finalizers(&finalizers).await
    }

    async fn put_finalizers(&self, finalizers: &[String]) -> Result<(), ReconcileError> {
        // With the resource version, the patch fails with a conflict if somebody else has changed the list meanwhile (optimistic
        // concurrency).
        let patch = json!({ "metadata": {
            "finalizers": finalizers,
            "resourceVersion": self.projection.resource_version(),
        } });
        self.context
            .projections()
            .patch(&self.name, &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        Ok(())
    }

    async fn execute(&self, step: &Step) -> Result<(), ReconcileError> {
        match *step {
            Step::Pause(paused) => {
                self.context.views.pause(paused).await?;
                let (reason, note) = if paused {
                    ("Paused", "projectors stop following events")
                } else {
                    ("Resumed", "projectors follow events again")
                };
                self.announce(EventType::Normal, reason, note).await;
            }
            Step::Build(generation) => {
                let job = self.context.template.job(self.projection, generation);
                match self.context.jobs().create(&PostParams::default(), &job).await {
                    Ok(_) => {
                        let note = format!("the Job {} builds generation {generation}", job.name_any());
                        self.announce(EventType::Normal, "RebuildStarted", &note).await;
                    }
                    // An earlier leader has created it.
                    Err(kube::Error::Api(status)) if status.code == 409 => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// Undoes the pause, because the projection is being deleted.
    async fn undo(&self) -> Result<Action, ReconcileError> {
        if self.is_guarded() {
            self.context.views.pause(false).await?;
            self.announce(
                EventType::Normal,
                "Resumed",
                "projectors follow events again, because the projection is deleted",
            )
            .await;
            self.remove_guard().await?;
        }
        self.context.metrics.forget(&self.name);
        Ok(Action::await_change())
    }

    /// Refuses a projection with another name than the only one.
    async fn refuse(&self) -> Result<(), ReconcileError> {
        let note = format!("there is no projection with this name; the only projection is called {VIEWS}");
        self.announce(EventType::Warning, "UnknownProjection", &note).await;
        let status = ProjectionStatus {
            observed_generation: self.projection.metadata.generation,
            conditions: vec![crate::decide::unknown_projection(
                note,
                self.projection.metadata.generation,
                &now(),
            )],
            ..ProjectionStatus::default()
        };
        self.write(&status).await
    }

    async fn tell(&self, observed: Result<&Observed, String>, job: JobState) -> Result<Option<Phase>, ReconcileError> {
        let former = self.projection.status.clone().unwrap_or_default();
        let told = Told {
            spec: &self.projection.spec,
            generation: self.projection.metadata.generation,
            observed,
            job,
            max_lag: self.context.config.max_lag,
        };
        let status = told.status(&former, &now());
        if status != former {
            self.write(&status).await?;
            self.announce_changes(&former, &status).await;
        }
        Ok(status.phase)
    }

    async fn write(&self, status: &ProjectionStatus) -> Result<(), ReconcileError> {
        let patch = json!({ "status": status });
        self.context
            .projections()
            .patch_status(&self.name, &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        Ok(())
    }

    async fn announce_changes(&self, former: &ProjectionStatus, status: &ProjectionStatus) {
        if let (Some(before), Some(after)) = (former.generation, status.generation)
            && before != after
        {
            let note = format!("generation {after} is read instead of {before}");
            self.announce(EventType::Normal, "Switched", &note).await;
        }
        let waiting = status.dead_letters.unwrap_or(0);
        if waiting > former.dead_letters.unwrap_or(0) {
            let note = format!("{waiting} events could not be handled and wait for a decision");
            self.announce(EventType::Warning, "DeadLetters", &note).await;
        }
        let degraded = |status: &ProjectionStatus, reason: &str| {
            let told = status.conditions.iter().find(|it| it.reason == reason);
            told.map(|condition| condition.message.clone())
        };
        if degraded(status, "RebuildFailed").is_some() && degraded(former, "RebuildFailed").is_none() {
            self.announce(EventType::Warning, "RebuildFailed", "the Job failed; its log says why")
                .await;
        }
        if let Some(why) = degraded(status, "RebuildCannotStart")
            && degraded(former, "RebuildCannotStart").is_none()
        {
            self.announce(EventType::Warning, "RebuildCannotStart", &why).await;
        }
    }

    /// Events are for people. If one can't be written, the work continues.
    async fn announce(&self, kind: EventType, reason: &str, note: &str) {
        let event = Event {
            type_: kind,
            reason: reason.to_owned(),
            note: Some(note.to_owned()),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        let about = self.projection.object_ref(&());
        if let Err(error) = self.context.recorder.publish(&event, &about).await {
            tracing::warn!(reason, note, %error, "could not write an event");
        }
    }
}

fn now() -> Time {
    // Kubernetes keeps whole seconds.
    let now = Timestamp::now();
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_in_a_row_are_further_and_further_apart_up_to_a_minute() {
        let memory = Memory::default();
        let seconds: Vec<u64> = (0..8).map(|_| memory.failed("views").as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(memory.failed("another").as_secs(), 1);
        memory.succeeded("views");
        assert_eq!(memory.failed("views").as_secs(), 1);
    }
}
