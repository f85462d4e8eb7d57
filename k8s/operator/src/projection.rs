//! The resource `Projection`: its spec, which a user writes, and its status, which the operator writes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The name of the only projection: everything that query-svc reads.
pub const VIEWS: &str = "views";

/// A projection of the events: which generation of it is wanted, and whether it follows them.
#[derive(CustomResource, Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "microblog.dev",
    version = "v1alpha1",
    kind = "Projection",
    plural = "projections",
    shortname = "proj",
    category = "microblog",
    namespaced,
    status = "ProjectionStatus",
    doc = "A projection of the events, as it is wanted and as it is.",
    printcolumn = r#"{"name":"Phase","type":"string","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"Wanted","type":"integer","jsonPath":".spec.generation"}"#,
    printcolumn = r#"{"name":"Generation","type":"integer","jsonPath":".status.generation"}"#,
    printcolumn = r#"{"name":"Progress","type":"string","jsonPath":".status.progress"}"#,
    printcolumn = r#"{"name":"Lag","type":"string","jsonPath":".status.lag"}"#,
    printcolumn = r#"{"name":"Dead letters","type":"integer","jsonPath":".status.deadLetters"}"#,
    printcolumn = r#"{"name":"Position","type":"string","jsonPath":".status.position","priority":1}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct ProjectionSpec {
    /// The generation that is wanted, at least. Raise it to have the projection built anew from the events, beside the present
    /// one; reads change over when the new one has caught up. One that is lower than what there is changes nothing.
    #[serde(default = "first")]
    #[schemars(range(min = 1))]
    pub generation: i64,
    /// Whether the projection stays as it is, while events go on being recorded. Queries that want to see newer ones are
    /// answered 503.
    #[serde(default)]
    pub paused: bool,
}

fn first() -> i64 {
    1
}

/// How the projection is. What is not known is null, so that a merge patch takes away what was told before.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProjectionStatus {
    /// The `metadata.generation` that this status is about.
    pub observed_generation: Option<i64>,
    pub phase: Option<Phase>,
    /// The generation that is read.
    pub generation: Option<i64>,
    /// Every event up to here, in the event store's commit order, is in the projection.
    pub position: Option<String>,
    /// How long an event takes at most to be in the projection, to the second.
    pub lag: Option<String>,
    /// How far the next generation is.
    pub progress: Option<String>,
    /// Events that could not be handled and wait for a decision: `microblog dead-letters list`.
    pub dead_letters: Option<i64>,
    #[serde(default)]
    #[schemars(with = "Vec<Condition>")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// No projector has opened the database yet, or it can't be asked.
    Pending,
    /// The wanted generation is read, and follows the events.
    Following,
    /// The next generation is being built; the present one is read.
    Rebuilding,
    /// The wanted generation is read; the former one is being taken away.
    Retiring,
    /// It follows nothing.
    Paused,
}

/// The `type`s of the conditions.
pub mod condition {
    /// The projection is in the desired state: the desired generation is read and follows the events without much delay, or the projection
    /// is paused. Tools that wait until a release is ready (`helm --wait`, Flux, Argo CD) wait for this condition.
    pub const READY: &str = "Ready";
    /// A generation is being built or removed.
    pub const PROGRESSING: &str = "Progressing";
    /// Something needs a person: dead letters, a rebuild that failed, a database that is unreachable.
    pub const DEGRADED: &str = "Degraded";
}

#[cfg(test)]
mod tests {
    use kube::CustomResourceExt as _;

    use super::*;

    /// To generate the file again, run `cargo run -p operator -- crd > k8s/crd/projections.yaml`.
    #[test]
    fn the_committed_definition_is_the_one_of_this_code() {
        let committed = include_str!("../../crd/projections.yaml");
        assert_eq!(committed, crate::crd::yaml().unwrap());
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        let spec: ProjectionSpec = serde_json::from_str("{}").unwrap();
        assert_eq!((spec.generation, spec.paused), (1, false));
        assert_eq!(Projection::crd().spec.names.short_names.unwrap(), ["proj"]);
    }
}
