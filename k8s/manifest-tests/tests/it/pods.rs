//! What is promised of every pod.

use manifest_tests::render::Values;
use serde_json::{Value, json};

#[test]
fn every_pod_meets_the_restricted_standard_and_more() {
    for values in Values::all() {
        let manifests = values.render().with_nested();
        let mut seen = 0;
        for pod in manifests.pods() {
            let at = format!("{}, {}", values.name, pod.owner);
            seen += 1;
            for forbidden in ["hostNetwork", "hostPID", "hostIPC"] {
                assert!(pod.spec[forbidden].is_null(), "{at}: {forbidden}");
            }
            let security = &pod.spec["securityContext"];
            assert_eq!(security["runAsNonRoot"], true, "{at}");
            assert!(security["runAsUser"].as_u64().is_some_and(|user| user > 0), "{at}");
            assert_eq!(security["seccompProfile"], json!({ "type": "RuntimeDefault" }), "{at}");
            for volume in pod.spec["volumes"].as_array().into_iter().flatten() {
                let allowed = ["configMap", "emptyDir", "secret", "projected", "persistentVolumeClaim"];
                let kinds: Vec<&String> = volume
                    .as_object()
                    .unwrap()
                    .keys()
                    .filter(|key| *key != "name")
                    .collect();
                assert!(
                    kinds.iter().all(|kind| allowed.contains(&kind.as_str())),
                    "{at}: {kinds:?}"
                );
            }
            for container in pod.containers() {
                let security = &container["securityContext"];
                assert_eq!(security["allowPrivilegeEscalation"], false, "{at}");
                assert_eq!(security["readOnlyRootFilesystem"], true, "{at}");
                assert_eq!(security["capabilities"], json!({ "drop": ["ALL"] }), "{at}");
                let resources = &container["resources"];
                for (kind, resource) in [("requests", "cpu"), ("requests", "memory"), ("limits", "memory")] {
                    assert!(!resources[kind][resource].is_null(), "{at}: {kind} of {resource}");
                }
            }
        }
        assert!(seen >= 4, "{}: {seen} pods", values.name);
    }
}

/// The official image says `glibc.pthread.rseq=0`, with which mongod 8.0 ends at its start on newer kernels.
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
    assert!(seen >= 2, "{seen} databases");
}

#[test]
fn only_who_speaks_to_the_api_server_has_a_token() {
    for values in Values::all() {
        let manifests = values.render().with_nested();
        for pod in manifests.pods() {
            let needs = pod.component() == "operator";
            assert_eq!(
                pod.spec["automountServiceAccountToken"], needs,
                "{}, {}",
                values.name, pod.owner
            );
        }
        for account in manifests.of_kind("ServiceAccount") {
            assert_eq!(
                account["automountServiceAccountToken"], false,
                "{}",
                account["metadata"]["name"]
            );
        }
    }
}

#[test]
fn services_and_budgets_select_pods_that_there_are() {
    for values in Values::all() {
        let manifests = values.render().with_nested();
        let selectors = manifests
            .of_kind("Service")
            .map(|service| &service["spec"]["selector"])
            .chain(
                manifests
                    .of_kind("PodDisruptionBudget")
                    .map(|budget| &budget["spec"]["selector"]["matchLabels"]),
            )
            .chain(
                manifests
                    .of_kind("Deployment")
                    .map(|deployment| &deployment["spec"]["selector"]["matchLabels"]),
            );
        for selector in selectors {
            let selected = manifests
                .pods()
                .filter(|pod| {
                    selector
                        .as_object()
                        .unwrap()
                        .iter()
                        .all(|(key, value)| pod.metadata["labels"][key] == *value)
                })
                .count();
            assert_eq!(selected, 1, "{}: {selector}", values.name);
        }
    }
}

#[test]
fn an_update_refuses_nothing() {
    for values in Values::all() {
        for deployment in values.render().of_kind("Deployment") {
            let rolling = json!({ "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 } });
            assert_eq!(deployment["spec"]["strategy"], rolling);
        }
    }
}

#[test]
fn neither_probes_nor_metrics_are_routed() {
    for (values, kind) in [("production", "HTTPRoute"), ("ingress", "Ingress")] {
        let rendered = Values::example(values).render();
        let route = rendered.find(kind, "microblog").unwrap();
        let mut paths = Vec::new();
        collect(route, &mut paths);
        paths.sort();
        paths.dedup();
        paths.retain(|path| !path.starts_with("/v1/"));
        assert_eq!(paths, ["/.well-known", "/docs", "/openapi.json", "/v1"], "{kind}");
    }

    /// Every text that looks like a path, wherever it stands.
    fn collect(value: &Value, into: &mut Vec<String>) {
        match value {
            Value::String(text) if text.starts_with('/') => into.push(text.clone()),
            Value::Array(items) => items.iter().for_each(|item| collect(item, into)),
            Value::Object(map) => map.values().for_each(|item| collect(item, into)),
            _ => {}
        }
    }
}
