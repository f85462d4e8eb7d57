//! Decides what to do and what to report, from the desired and the observed state. Pure: no cluster, no database, no clock.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use views::generation::{self, Building, Control};

use crate::projection::{Phase, ProjectionSpec, ProjectionStatus, condition};
use crate::views::Observed;

/// A step towards the desired state. It is idempotent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Tell the projectors to stop following events, or to continue.
    Pause(bool),
    /// Start the Job that builds this generation, and removes the one that it replaces.
    Build(i64),
}

/// The state of a generation's Job, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum JobState {
    Absent,
    Running,
    /// Its pod has not started, and will not start by itself. The text says why.
    CannotStart(String),
    Succeeded,
    /// It failed for good. After its time to live it is deleted, and then there is another attempt.
    Failed,
}

/// The generation that needs a Job, if there is work to do.
///
/// That includes a generation that somebody requested by `microblog rebuild`, one that replaces the views of an earlier version, and a
/// generation that must still be removed.
pub(crate) fn wanted_job(spec: &ProjectionSpec, observed: &Observed) -> Option<i64> {
    let control = observed.control.as_ref()?;
    let wanted = wanted(spec, observed, control);
    (wanted > control.active || control.retiring.is_some()).then_some(wanted)
}

/// The generation that is to be read.
fn wanted(spec: &ProjectionSpec, observed: &Observed, control: &Control) -> i64 {
    let upgraded = if observed.outdated { control.active + 1 } else { 0 };
    spec.generation.max(control.highest_known()).max(upgraded)
}

/// The steps to take now, in this order. `job` is the state of the Job of [`wanted_job`].
pub(crate) fn steps(spec: &ProjectionSpec, observed: &Observed, job: &JobState) -> Vec<Step> {
    let Some(control) = &observed.control else {
        // Before the first projector has run, there is nothing to pause or to build.
        return Vec::new();
    };
    let mut steps = Vec::new();
    if control.paused != spec.paused {
        steps.push(Step::Pause(spec.paused));
    }
    // A generation catches up only while projectors follow it. So no build begins while they are paused.
    if let Some(generation) = wanted_job(spec, observed)
        && *job == JobState::Absent
        && !spec.paused
    {
        steps.push(Step::Build(generation));
    }
    steps
}

/// What to report about the projection, without `now` and the former conditions.
#[derive(Debug)]
pub(crate) struct Told<'a> {
    pub spec: &'a ProjectionSpec,
    /// `metadata.generation`.
    pub generation: Option<i64>,
    /// The observed state, or why there is none.
    pub observed: Result<&'a Observed, String>,
    pub job: JobState,
    /// The projection is not ready if its lag is larger than this.
    pub max_lag: Duration,
}

impl Told<'_> {
    pub(crate) fn status(&self, former: &ProjectionStatus, now: &Time) -> ProjectionStatus {
        let conditions = [
            (condition::READY, self.ready()),
            (condition::PROGRESSING, self.progressing()),
            (condition::DEGRADED, self.degraded()),
        ];
        let conditions = conditions
            .into_iter()
            .map(|(kind, verdict)| self.condition(kind, verdict, &former.conditions, now))
            .collect();
        let Ok(observed) = &self.observed else {
            // The former status stays, because it is more useful than nothing. The conditions say that it is old.
            return ProjectionStatus {
                observed_generation: self.generation,
                conditions,
                ..former.clone()
            };
        };
        ProjectionStatus {
            observed_generation: self.generation,
            phase: Some(self.phase(observed)),
            generation: observed.control.as_ref().map(|control| control.active),
            position: observed.position.map(|position| position.to_string()),
            lag: observed.lag.map(|lag| format!("{}s", lag.as_secs())),
            progress: match &self.job {
                JobState::CannotStart(reason) => Some(format!("can't start: {}", first_word(reason))),
                _ => observed
                    .control
                    .as_ref()
                    .and_then(|control| control.building.as_ref())
                    .map(progress),
            },
            dead_letters: Some(observed.dead_letters),
            conditions,
        }
    }

    fn phase(&self, observed: &Observed) -> Phase {
        let Some(control) = &observed.control else {
            return Phase::Pending;
        };
        if control.paused {
            Phase::Paused
        } else if wanted(self.spec, observed, control) > control.active {
            Phase::Rebuilding
        } else if control.retiring.is_some() {
            Phase::Retiring
        } else {
            Phase::Following
        }
    }

    fn ready(&self) -> Verdict {
        let observed = match &self.observed {
            Ok(observed) => observed,
            Err(reason) => return Verdict::new(None, "DatabaseUnreachable", reason.clone()),
        };
        let Some(control) = &observed.control else {
            return Verdict::no("NoProjector", "no projector has opened the database yet");
        };
        let behind = observed.lag.filter(|lag| *lag > self.max_lag);
        if control.active < self.spec.generation {
            let message = format!(
                "generation {} is read until {} has caught up{}",
                control.active,
                self.spec.generation,
                if self.spec.paused {
                    ", which it does not begin to do while spec.paused is true"
                } else {
                    ""
                }
            );
            Verdict::no("Rebuilding", message)
        } else if control.paused != self.spec.paused {
            Verdict::no("Changing", format!("spec.paused is not {} yet", self.spec.paused))
        } else if control.paused {
            // This is the desired state. Otherwise a tool that waits until a release is ready would wait until somebody resumes the
            // projection.
            Verdict::yes("Paused", "the projection follows no events while spec.paused is true")
        } else if let Some(lag) = behind {
            Verdict::no("Lagging", format!("events are late by {} s or more", lag.as_secs()))
        } else {
            Verdict::yes("Following", format!("generation {} follows the events", control.active))
        }
    }

    fn progressing(&self) -> Verdict {
        let observed = self.observed.as_ref().ok();
        let Some((observed, control)) = observed.and_then(|it| Some((it, it.control.as_ref()?))) else {
            return Verdict::no("Unknown", "the state of the generations is unknown");
        };
        if let JobState::CannotStart(reason) = &self.job {
            return Verdict::no("CannotStart", reason.clone());
        }
        match (&control.building, &control.retiring) {
            (Some(building), _) => Verdict::yes(
                "Building",
                format!("generation {}: {}", building.generation, progress(building)),
            ),
            (None, Some(retiring)) => Verdict::yes(
                "Retiring",
                format!("generation {} is being removed", retiring.generation),
            ),
            (None, None) => match wanted_job(self.spec, observed) {
                Some(generation) if observed.outdated => Verdict::yes(
                    "Upgrading",
                    format!("generation {generation} adds what this version brings"),
                ),
                Some(generation) => Verdict::yes("Waiting", format!("generation {generation} is requested")),
                None => Verdict::no("Nothing", "no generation is being built or removed"),
            },
        }
    }

    fn degraded(&self) -> Verdict {
        let observed = match &self.observed {
            Ok(observed) => observed,
            Err(reason) => return Verdict::yes("DatabaseUnreachable", reason.clone()),
        };
        if self.job == JobState::Failed {
            Verdict::yes(
                "RebuildFailed",
                "the Job failed; there is another attempt when it is deleted",
            )
        } else if let JobState::CannotStart(reason) = &self.job {
            Verdict::yes("RebuildCannotStart", reason.clone())
        } else if observed.dead_letters > 0 {
            let message = format!(
                "{} events wait for a decision: microblog dead-letters list",
                observed.dead_letters
            );
            Verdict::yes("DeadLetters", message)
        } else {
            Verdict::no("Sound", "nothing needs a person")
        }
    }

    fn condition(&self, kind: &str, verdict: Verdict, former: &[Condition], now: &Time) -> Condition {
        let status = match verdict.holds {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        };
        let since = former
            .iter()
            .find(|condition| condition.type_ == kind && condition.status == status)
            .map_or_else(|| now.clone(), |condition| condition.last_transition_time.clone());
        Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: verdict.reason.to_owned(),
            message: verdict.message,
            observed_generation: self.generation,
            last_transition_time: since,
        }
    }
}

/// The condition of a resource whose name is not the name of the projection.
pub(crate) fn unknown_projection(message: String, generation: Option<i64>, now: &Time) -> Condition {
    Condition {
        type_: condition::READY.to_owned(),
        status: "False".to_owned(),
        reason: "UnknownProjection".to_owned(),
        message,
        observed_generation: generation,
        last_transition_time: now.clone(),
    }
}

/// The reason without its explanation, for a column of `kubectl get`.
fn first_word(reason: &str) -> &str {
    reason.split_once(':').map_or(reason, |(word, _)| word)
}

/// How far a generation is, as text for a person.
fn progress(building: &Building) -> String {
    let phase = match building.phase {
        generation::Phase::Scanning => "scanning",
        generation::Phase::Filling => "filling",
        generation::Phase::CatchingUp => return "catching up".to_owned(),
    };
    match building.total {
        // There may be more than were counted at the beginning.
        total if total > 0 => format!(
            "{phase} {}%",
            (building.scanned.saturating_mul(100) / total).clamp(0, 100)
        ),
        _ => phase.to_owned(),
    }
}

#[derive(Debug)]
struct Verdict {
    /// None: unknown.
    holds: Option<bool>,
    reason: &'static str,
    message: String,
}

impl Verdict {
    fn new(holds: Option<bool>, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            holds,
            reason,
            message: message.into(),
        }
    }

    fn yes(reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(Some(true), reason, message)
    }

    fn no(reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(Some(false), reason, message)
    }
}

#[cfg(test)]
mod tests;
