//! Tests the promises for all pods.

use manifest_tests::manifests::{Pod, title};
use manifest_tests::render::Values;
use serde_json::{Value, json};

/// Requirements of the restricted Pod Security Standard that checkov does not check.
#[test]
fn no_pod_is_root_or_mounts_what_is_the_nodes() {
    for values in Values::all() {
        let manifests = values.render().with_nested();
        for pod in manifests.pods() {
            let at = format!("{}, {}", values.name, pod.owner);
            let security = &pod.spec["securityContext"];
            assert_eq!(security["runAsNonRoot"], true, "{at}");
            for id in ["runAsUser", "runAsGroup", "fsGroup"] {
                assert!(security[id].as_u64() > Some(0), "{at}: {id}");
            }
            for volume in pod.spec["volumes"].as_array().into_iter().flatten() {
                let kinds: Vec<&String> = volume
                    .as_object()
                    .unwrap()
                    .keys()
                    .filter(|key| *key != "name")
                    .collect();
                let allowed = ["configMap", "emptyDir", "projected"];
                assert!(
                    kinds.iter().all(|kind| allowed.contains(&kind.as_str())),
                    "{at}: {kinds:?}"
                );
            }
        }
    }
}

/// The official image sets `glibc.pthread.rseq=0`. With this, mongod 8.0 ends when it starts on newer kernels.
#[test]
fn the_official_mongodb_image_is_given_rseq_back() {
    let mut seen = 0;
    for values in Values::all() {
        let manifests = values.render();
        let containers = manifests.pods().flat_map(|pod| pod.containers().collect::<Vec<_>>());
        for container in containers.filter(|container| container["name"] == "mongodb") {
            let tunables = json!({ "name": "GLIBC_TUNABLES", "value": "glibc.pthread.rseq=1" });
            let environment = container["env"].as_array().unwrap();
            assert!(environment.contains(&tunables), "{}: {environment:?}", values.name);
            seen += 1;
        }
    }
    assert!(seen >= 2, "only {seen} databases were seen");
}

#[test]
fn services_and_budgets_select_pods_that_there_are() {
    for values in Values::all() {
        let manifests = values.render().with_nested();
        let mut seen = 0;
        for object in manifests.iter() {
            let selector = match object["kind"].as_str() {
                Some("Service") => &object["spec"]["selector"],
                Some("PodDisruptionBudget" | "Deployment" | "StatefulSet") => {
                    &object["spec"]["selector"]["matchLabels"]
                }
                _ => continue,
            };
            let selector = selector.as_object().unwrap();
            let selects = |pod: &Pod<'_>| {
                selector
                    .iter()
                    .all(|(key, value)| pod.metadata["labels"][key] == *value)
            };
            assert_eq!(
                manifests.pods().filter(selects).count(),
                1,
                "{}: {}",
                values.name,
                title(object)
            );
            seen += 1;
        }
        assert!(seen >= 9, "{}: only {seen} selectors were seen", values.name);
    }
}

#[test]
fn updates_drains_and_short_outages_refuse_nothing() {
    for values in Values::all() {
        let manifests = values.render();
        for deployment in manifests.of_kind("Deployment") {
            let at = format!("{}: {}", values.name, title(deployment));
            let rolling = json!({ "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 } });
            assert_eq!(deployment["spec"]["strategy"], rolling, "{at}");
            let budget = manifests.find("PodDisruptionBudget", deployment["metadata"]["name"].as_str().unwrap());
            assert!(
                budget.is_some_and(|budget| !budget["spec"]["maxUnavailable"].is_null()),
                "{at}"
            );
            // A pod that can't serve for a while must not be restarted.
            let container = &deployment["spec"]["template"]["spec"]["containers"][0];
            let probes = ["startupProbe", "livenessProbe", "readinessProbe"];
            let paths = probes.map(|probe| &container[probe]["httpGet"]["path"]);
            assert_eq!(paths, ["/livez", "/livez", "/readyz"], "{at}");
        }
    }
}

/// If an autoscaler scales a Deployment, only the autoscaler sets the number of pods. It keeps at least two,
/// so that one is left if one is lost.
#[test]
fn one_alone_decides_how_many_pods_there_are() {
    let mut seen = 0;
    for values in Values::all() {
        let manifests = values.render();
        for deployment in manifests.of_kind("Deployment") {
            let scalers: Vec<&Value> = ["HorizontalPodAutoscaler", "ScaledObject"]
                .into_iter()
                .flat_map(|kind| manifests.of_kind(kind))
                .filter(|scaler| scaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"])
                .collect();
            let deciding = scalers.len() + usize::from(!deployment["spec"]["replicas"].is_null());
            assert_eq!(deciding, 1, "{}: {}", values.name, title(deployment));
            for scaler in &scalers {
                let least = ["minReplicas", "minReplicaCount"].map(|key| scaler["spec"][key].as_u64());
                assert!(
                    least.iter().any(|least| *least >= Some(2)),
                    "{}: {}",
                    values.name,
                    title(scaler)
                );
            }
            seen += scalers.len();
        }
    }
    assert_eq!(
        seen, 8,
        "gateway and command in two examples, query in three, the projector in one"
    );
}
