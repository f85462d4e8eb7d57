//! What to do, and what to tell, from what is wanted and what is seen. Pure: no cluster, no database, no clock.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use views::generation::{self, Building, Control};

use crate::projection::{Phase, ProjectionSpec, ProjectionStatus, condition};
use crate::views::Observed;

/// Something that brings the projection nearer to what is wanted. Doing it twice is doing it once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Tell the projectors to stop following, or to go on.
    Pause(bool),
    /// Start the Job that builds this generation, and takes away what it replaces.
    Build(i64),
}

/// The Job of a generation, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum JobState {
    Absent,
    Running,
    /// Its pod has not started, and will not by itself: why.
    CannotStart(String),
    Succeeded,
    /// It gave up; it goes when its time to live is over, and then there is another try.
    Failed,
}

/// The generation that a Job is needed for, if there is work to do.
///
/// That includes what somebody else asked for by `microblog rebuild`, and what is left to take away.
pub(crate) fn wanted_job(spec: &ProjectionSpec, control: &Control) -> Option<i64> {
    let wanted = spec.generation.max(control.highest_known());
    (wanted > control.active || control.retiring.is_some()).then_some(wanted)
}

/// The steps to take now, in this order. `job` is the state of the Job of [`wanted_job`].
pub(crate) fn steps(spec: &ProjectionSpec, observed: &Observed, job: &JobState) -> Vec<Step> {
    let Some(control) = &observed.control else {
        // Before the first projector there is nothing to pause or to build.
        return Vec::new();
    };
    let mut steps = Vec::new();
    if control.paused != spec.paused {
        steps.push(Step::Pause(spec.paused));
    }
    // A generation catches up by being followed: while nothing is, no building is begun.
    if let Some(generation) = wanted_job(spec, control)
        && *job == JobState::Absent
        && !spec.paused
    {
        steps.push(Step::Build(generation));
    }
    steps
}

/// What is told about the projection, before `now` and the former conditions are looked at.
#[derive(Debug)]
pub(crate) struct Told<'a> {
    pub spec: &'a ProjectionSpec,
    /// `metadata.generation`.
    pub generation: Option<i64>,
    /// What was seen, or why nothing was.
    pub observed: Result<&'a Observed, String>,
    pub job: JobState,
    /// From which lag on the projection is not called ready.
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
            // What was known stays: it is more use than nothing, and the conditions say that it is old.
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
        } else if self.spec.generation.max(control.highest_known()) > control.active {
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
            // As it is wanted. Otherwise whoever waits for a release to be ready would wait until somebody lets the projection go on.
            Verdict::yes("Paused", "it follows nothing while spec.paused is true")
        } else if let Some(lag) = behind {
            Verdict::no("Lagging", format!("events have not gone by for {} s", lag.as_secs()))
        } else {
            Verdict::yes("Following", format!("generation {} follows the events", control.active))
        }
    }

    fn progressing(&self) -> Verdict {
        let control = self
            .observed
            .as_ref()
            .ok()
            .and_then(|observed| observed.control.as_ref());
        let Some(control) = control else {
            return Verdict::no("Unknown", "nothing is known of generations");
        };
        if let JobState::CannotStart(reason) = &self.job {
            return Verdict::no("CannotStart", reason.clone());
        }
        match (&control.building, &control.retiring) {
            (Some(building), _) => Verdict::yes(
                "Building",
                format!("generation {}: {}", building.generation, progress(building)),
            ),
            (None, Some(retiring)) => {
                Verdict::yes("Retiring", format!("generation {} is taken away", retiring.generation))
            }
            (None, None) => match wanted_job(self.spec, control) {
                Some(generation) => Verdict::yes("Waiting", format!("generation {generation} is asked for")),
                None => Verdict::no("Nothing", "nothing is built or taken away"),
            },
        }
    }

    fn degraded(&self) -> Verdict {
        let observed = match &self.observed {
            Ok(observed) => observed,
            Err(reason) => return Verdict::yes("DatabaseUnreachable", reason.clone()),
        };
        if self.job == JobState::Failed {
            Verdict::yes("RebuildFailed", "the Job gave up; there is another try when it is gone")
        } else if let JobState::CannotStart(reason) = &self.job {
            Verdict::yes("RebuildCannotStart", reason.clone())
        } else if observed.dead_letters > 0 {
            let message = format!(
                "{} events wait for a decision: microblog dead-letters list",
                observed.dead_letters
            );
            Verdict::yes("DeadLetters", message)
        } else {
            Verdict::no("Sound", "nothing waits for a person")
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

/// The condition of a resource whose name is no projection's.
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

/// How far a generation is, for a person.
fn progress(building: &Building) -> String {
    let phase = match building.phase {
        generation::Phase::Scanning => "scanning",
        generation::Phase::Filling => "filling",
        generation::Phase::CatchingUp => return "catching up".to_owned(),
    };
    match building.total {
        // There may be more than were counted when it began.
        total if total > 0 => format!(
            "{phase} {}%",
            (building.scanned.saturating_mul(100) / total).clamp(0, 100)
        ),
        _ => phase.to_owned(),
    }
}

#[derive(Debug)]
struct Verdict {
    /// None: it can't be said.
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
