//! The Job that builds a generation. It is made from a template that the chart renders, so that its image, its limits and its access to the
//! database are configured in the same place as all others.

use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::{Resource as _, ResourceExt as _};

use crate::decide::JobState;
use crate::projection::Projection;

/// The label of everything that belongs to a projection.
pub(crate) const PROJECTION: &str = "microblog.dev/projection";
const GENERATION: &str = "microblog.dev/generation";
/// The reasons of a waiting container that are no problem.
const ON_ITS_WAY: [&str; 2] = ["ContainerCreating", "PodInitializing"];
/// How long Kubernetes may take to create a Job's first pod.
const FIRST_POD_WITHIN: Duration = Duration::from_secs(30);

/// Why the template is invalid.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    #[error("can't be read: {path}: {0}", path = .1.display())]
    Read(#[source] std::io::Error, PathBuf),
    #[error("is not a Job: {0}")]
    Parse(#[from] serde_saphyr::Error),
    #[error("must have at least one container: spec.template.spec.containers")]
    NoContainer,
}

/// A Job without a name and without a generation.
#[derive(Debug, Clone)]
pub(crate) struct Template(Job);

impl Template {
    pub(crate) fn read(path: &Path) -> Result<Self, TemplateError> {
        let text = std::fs::read_to_string(path).map_err(|error| TemplateError::Read(error, path.to_owned()))?;
        Self::parse(&text)
    }

    fn parse(yaml: &str) -> Result<Self, TemplateError> {
        let job: Job = serde_saphyr::from_str(yaml)?;
        let pod = job.spec.as_ref().and_then(|job| job.template.spec.as_ref());
        if pod.is_none_or(|pod| pod.containers.is_empty()) {
            return Err(TemplateError::NoContainer);
        }
        Ok(Self(job))
    }

    /// The Job that builds `generation`. It is deleted together with the projection.
    pub(crate) fn job(&self, projection: &Projection, generation: i64) -> Job {
        let mut job = self.0.clone();
        job.metadata.name = Some(name(projection, generation));
        job.metadata.namespace = projection.namespace();
        job.metadata.owner_references = projection.controller_owner_ref(&()).map(|owner| vec![owner]);
        let labels = [
            (PROJECTION, projection.name_any()),
            (GENERATION, generation.to_string()),
        ];
        job.metadata
            .labels
            .get_or_insert_default()
            .extend(labels.map(|(key, value)| (key.to_owned(), value)));
        let containers = job
            .spec
            .iter_mut()
            .filter_map(|job| job.template.spec.as_mut())
            .flat_map(|pod| &mut pod.containers);
        for container in containers.take(1) {
            container
                .args
                .get_or_insert_default()
                .extend(["--generation".to_owned(), generation.to_string()]);
        }
        job
    }
}

/// The name of a generation's Job. There is at most one.
pub(crate) fn name(projection: &Projection, generation: i64) -> String {
    format!("{}-rebuild-{generation}", projection.name_any())
}

/// Whether the state of the Job depends on its pods: it has not ended, and none of its pods is ready.
pub(crate) fn may_wait_for_a_pod(job: Option<&Job>) -> bool {
    let ready = job.and_then(|job| job.status.as_ref()?.ready);
    state(job, &[], Timestamp::UNIX_EPOCH) == JobState::Running && ready.unwrap_or(0) == 0
}

/// The state of the Job. `pods` are its own pods.
pub(crate) fn state(job: Option<&Job>, pods: &[Pod], now: Timestamp) -> JobState {
    let Some(job) = job else { return JobState::Absent };
    let conditions = job
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    let holds = |kind: &str| {
        conditions
            .iter()
            .any(|condition| condition.type_ == kind && condition.status == "True")
    };
    if holds("Complete") {
        JobState::Succeeded
    } else if holds("Failed") {
        JobState::Failed
    } else if let Some(reason) = pods.iter().find_map(obstacle).or_else(|| nothing_made(job, pods, now)) {
        JobState::CannotStart(reason)
    } else {
        JobState::Running
    }
}

/// What prevents a pod from starting, as the scheduler or the kubelet says it.
fn obstacle(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    if status.phase.as_deref() != Some("Pending") || pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let told = |reason: &str, message: Option<&str>| match message {
        Some(message) => format!("{reason}: {message}"),
        None => reason.to_owned(),
    };
    let unscheduled = status.conditions.iter().flatten().find_map(|condition| {
        let waits = condition.type_ == "PodScheduled" && condition.status == "False";
        waits.then(|| {
            told(
                condition.reason.as_deref().unwrap_or("Unscheduled"),
                condition.message.as_deref(),
            )
        })
    });
    let containers = status.init_container_statuses.iter().chain(&status.container_statuses);
    unscheduled.or_else(|| {
        containers.flatten().find_map(|container| {
            let waiting = container.state.as_ref()?.waiting.as_ref()?;
            let reason = waiting.reason.as_deref()?;
            (!ON_ITS_WAY.contains(&reason)).then(|| told(reason, waiting.message.as_deref()))
        })
    })
}

/// Says that no pod was created for too long. If a quota or an admission rule refuses the pod, only the Job's events tell so.
fn nothing_made(job: &Job, pods: &[Pod], now: Timestamp) -> Option<String> {
    let tried = job.status.as_ref().is_some_and(|status| {
        [status.active, status.failed, status.succeeded]
            .into_iter()
            .flatten()
            .any(|count| count > 0)
    });
    let made = job.metadata.creation_timestamp.as_ref()?.0;
    // If our clock is behind the API server's, it only takes longer.
    let waits = Duration::try_from(now.duration_since(made)).is_ok_and(|waited| waited >= FIRST_POD_WITHIN);
    (pods.is_empty() && !tried && waits)
        .then(|| "NoPod: no pod was created for the Job; kubectl describe job says why".to_owned())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::batch::v1::{JobCondition, JobStatus};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::{Value, json};

    use super::*;
    use crate::projection::ProjectionSpec;

    const TEMPLATE: &str = "
        apiVersion: batch/v1
        kind: Job
        metadata: { labels: { app.kubernetes.io/component: rebuild } }
        spec:
          template:
            spec:
              restartPolicy: Never
              containers: [{ name: rebuild, image: microblog, args: [rebuild, --here] }]";

    fn projection() -> Projection {
        let mut projection = Projection::new(
            "views",
            ProjectionSpec {
                generation: 3,
                paused: false,
            },
        );
        projection.metadata.namespace = Some("blog".to_owned());
        projection.metadata.uid = Some("7d3f".to_owned());
        projection
    }

    #[test]
    fn a_job_is_named_for_its_generation_and_goes_with_its_projection() {
        let job = Template::parse(TEMPLATE).unwrap().job(&projection(), 3);
        assert_eq!(job.name_any(), "views-rebuild-3");
        assert_eq!(job.namespace().unwrap(), "blog");
        let owner = &job.owner_references()[0];
        assert_eq!((owner.kind.as_str(), owner.uid.as_str()), ("Projection", "7d3f"));
        let labels = job.labels();
        assert_eq!(
            (labels[PROJECTION].as_str(), labels[GENERATION].as_str()),
            ("views", "3")
        );
        assert_eq!(labels["app.kubernetes.io/component"], "rebuild");
        let containers = job.spec.unwrap().template.spec.unwrap().containers;
        assert_eq!(
            containers[0].args.as_deref().unwrap(),
            ["rebuild", "--here", "--generation", "3"]
        );
    }

    #[test]
    fn a_template_that_is_none_is_refused() {
        assert!(matches!(Template::parse("kind: Job"), Err(TemplateError::NoContainer)));
        assert!(matches!(Template::parse("spec: 3"), Err(TemplateError::Parse(_))));
        let missing = Template::read(Path::new("/no/such/file")).unwrap_err().to_string();
        assert!(missing.contains("/no/such/file"), "{missing}");
    }

    #[test]
    fn the_state_of_a_job_is_in_its_conditions() {
        let with = |kind: &str, status: &str| Job {
            status: Some(JobStatus {
                conditions: Some(vec![JobCondition {
                    type_: kind.to_owned(),
                    status: status.to_owned(),
                    ..JobCondition::default()
                }]),
                ..JobStatus::default()
            }),
            ..Job::default()
        };
        let alone = |job: Option<&Job>| state(job, &[], Timestamp::UNIX_EPOCH);
        assert_eq!(alone(None), JobState::Absent);
        assert_eq!(alone(Some(&Job::default())), JobState::Running);
        assert_eq!(alone(Some(&with("Suspended", "True"))), JobState::Running);
        assert_eq!(alone(Some(&with("Failed", "False"))), JobState::Running);
        assert_eq!(alone(Some(&with("Complete", "True"))), JobState::Succeeded);
        assert_eq!(alone(Some(&with("Failed", "True"))), JobState::Failed);
    }

    #[test]
    fn a_pod_that_cannot_start_says_why() {
        let of = |status: Value| {
            let pod: Pod = serde_json::from_value(json!({ "metadata": {}, "status": status })).unwrap();
            state(Some(&Job::default()), &[pod], Timestamp::UNIX_EPOCH)
        };
        let waiting = |reason: &str| {
            let state = json!({ "waiting": { "reason": reason, "message": "why" } });
            let container = json!({
                "name": "rebuild", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state,
            });
            json!({ "phase": "Pending", "containerStatuses": [container] })
        };
        for reason in ["ErrImagePull", "ImagePullBackOff", "CreateContainerConfigError"] {
            assert_eq!(of(waiting(reason)), JobState::CannotStart(format!("{reason}: why")));
        }
        assert_eq!(of(waiting("ContainerCreating")), JobState::Running);
        assert_eq!(of(json!({ "phase": "Running" })), JobState::Running);
        let unscheduled = json!({ "phase": "Pending", "conditions": [
            { "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no room" },
        ] });
        assert_eq!(
            of(unscheduled),
            JobState::CannotStart("Unschedulable: no room".to_owned())
        );
    }

    #[test]
    fn a_job_for_which_no_pod_is_made_cannot_start() {
        let mut job = Job::default();
        job.metadata.creation_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        let after = |job: &Job, seconds| state(Some(job), &[], Timestamp::from_second(seconds).unwrap());
        assert_eq!(after(&job, 29), JobState::Running);
        let JobState::CannotStart(reason) = after(&job, 30) else {
            panic!("a Job without a pod runs");
        };
        assert!(reason.starts_with("NoPod"), "{reason}");
        // Between two attempts there is no pod either.
        job.status = Some(JobStatus {
            failed: Some(1),
            ..JobStatus::default()
        });
        assert_eq!(after(&job, 30), JobState::Running);
    }
}
