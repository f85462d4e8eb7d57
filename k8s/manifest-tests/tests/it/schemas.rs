//! Checks all objects against the schemas of the oldest and the newest Kubernetes version, and against the CustomResourceDefinitions of
//! other projects.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use manifest_tests::manifests::Manifests;
use manifest_tests::render::{NEWEST_KUBERNETES, OLDEST_KUBERNETES, Values, repository, tool};
use serde_json::{Value, json};

/// The faults that `validate.py` finds, one per line.
fn faults(objects: &[&Value]) -> String {
    let mut crds: Vec<_> = std::fs::read_dir(tool("CRDS"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    crds.push(repository().join("k8s/crd/projections.yaml"));
    let mut validator = Command::new(tool("KUBERNETES_VALIDATE_PYTHON"))
        .arg(repository().join("k8s/manifest-tests/validate.py"))
        .arg(format!("{OLDEST_KUBERNETES},{NEWEST_KUBERNETES}"))
        .args(crds)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let input = serde_json::to_vec(objects).unwrap();
    validator.stdin.take().unwrap().write_all(&input).unwrap();
    let output = validator.wait_with_output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.success(), stdout.is_empty(), "{stdout}{stderr}");
    stdout
}

#[test]
fn everything_rendered_is_valid_for_the_oldest_and_the_newest_kubernetes() {
    let rendered: Vec<Manifests> = Values::all()
        .iter()
        .map(|values| values.render().with_nested())
        .collect();
    let mut seen = BTreeSet::new();
    let objects: Vec<&Value> = rendered
        .iter()
        .flat_map(Manifests::iter)
        .filter(|object| seen.insert(object.to_string()))
        .collect();
    let kinds: BTreeSet<&str> = objects.iter().filter_map(|object| object["kind"].as_str()).collect();
    for kind in [
        "HTTPRoute",
        "ServiceMonitor",
        "PrometheusRule",
        "ScaledObject",
        "Projection",
        "StatefulSet",
        "Ingress",
        "Job",
    ] {
        assert!(kinds.contains(kind), "no example renders a {kind}: {kinds:?}");
    }
    let found = faults(&objects);
    assert!(found.is_empty(), "{found}");
}

/// Tests the validator itself.
#[test]
fn what_is_wrong_is_found() {
    let config_map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a" }, "data": { "number": 1 },
    });
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "b" }, "spec": { "prots": [] },
    });
    let route = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": { "name": "c" },
        "spec": { "rules": [{ "matches": [{ "method": "FETCH" }], "backends": [] }] },
    });
    let unknown = json!({ "apiVersion": "example.org/v1", "kind": "Thing", "metadata": { "name": "d" } });
    let found = faults(&[&config_map, &service, &route, &unknown]);
    for part in [
        "ConfigMap/a: $.data.number",
        "'prots' was unexpected",
        "'FETCH' is not one of",
        "'backends' was unexpected",
        "Thing/d",
    ] {
        assert!(found.contains(part), "{part} is not in:\n{found}");
    }
}
