//! The Job that builds a generation: made from a template that the chart renders, so that image, limits and access to the
//! database are where all others are configured.

use std::path::{Path, PathBuf};

use k8s_openapi::api::batch::v1::Job;
use kube::{Resource as _, ResourceExt as _};

use crate::decide::JobState;
use crate::projection::Projection;

/// On everything that belongs to a projection.
pub(crate) const PROJECTION: &str = "microblog.dev/projection";
const GENERATION: &str = "microblog.dev/generation";

/// Why the template is none.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    #[error("can't be read: {path}: {0}", path = .1.display())]
    Read(#[source] std::io::Error, PathBuf),
    #[error("is no Job: {0}")]
    Parse(#[from] serde_saphyr::Error),
    #[error("must have one container or more: spec.template.spec.containers")]
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

    /// The Job that builds `generation`; it goes with the projection.
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

/// The name of the Job of a generation: there is one at most.
pub(crate) fn name(projection: &Projection, generation: i64) -> String {
    format!("{}-rebuild-{generation}", projection.name_any())
}

/// How far the Job is.
pub(crate) fn state(job: Option<&Job>) -> JobState {
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
    } else {
        JobState::Running
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::batch::v1::{JobCondition, JobStatus};

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
        assert_eq!(state(None), JobState::Absent);
        assert_eq!(state(Some(&Job::default())), JobState::Running);
        assert_eq!(state(Some(&with("Suspended", "True"))), JobState::Running);
        assert_eq!(state(Some(&with("Failed", "False"))), JobState::Running);
        assert_eq!(state(Some(&with("Complete", "True"))), JobState::Succeeded);
        assert_eq!(state(Some(&with("Failed", "True"))), JobState::Failed);
    }
}
