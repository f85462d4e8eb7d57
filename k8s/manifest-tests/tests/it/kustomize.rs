//! Tests that the base is generated from the chart, and that kustomize builds the same objects from the overlays as Helm.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use manifest_tests::manifests::{Manifests, title};
use manifest_tests::render::{Values, repository, run, tool};
use serde_json::{Map, Value};

/// Builds an overlay in a copy of `k8s`, where the documented command has created the Secrets.
fn build(overlay: &str) -> String {
    let copy = tempfile::tempdir().unwrap();
    for directory in ["base", "components", "overlays", "make-secrets"] {
        copy_all(&repository().join("k8s").join(directory), &copy.path().join(directory));
    }
    let overlay = copy.path().join("overlays").join(overlay);
    run(copy.path().join("make-secrets"), [&overlay]).succeeded();
    run(tool("KUSTOMIZE"), ["build".as_ref(), overlay.as_os_str()]).succeeded()
}

fn copy_all(from: &Path, to: &Path) {
    if from.is_file() {
        std::fs::copy(from, to).unwrap();
        return;
    }
    // Secrets that somebody has created in the repository are not copied.
    if from.ends_with("secrets") {
        return;
    }
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        copy_all(&entry.path(), &to.join(entry.file_name()));
    }
}

/// The objects by title, without the parts that must differ: Helm's labels, annotations and hooks, and the contents of Secrets.
fn comparable(yaml: &str) -> BTreeMap<String, Value> {
    let only_helms = [
        "helm.sh/chart:",
        "app.kubernetes.io/managed-by:",
        "checksum/",
        "helm.sh/resource-policy:",
    ];
    let kept = yaml
        .lines()
        .filter(|line| !only_helms.iter().any(|start| line.trim_start().starts_with(start)));
    let objects = Manifests::parse(&kept.collect::<Vec<_>>().join("\n")).unwrap();
    let is_helms = |object: &Value| object["metadata"]["annotations"]["helm.sh/hook"].is_string();
    let kept = objects
        .iter()
        .filter(|object| !is_helms(object))
        .cloned()
        .map(|mut object| {
            for metadata in ["/metadata", "/spec/template/metadata"] {
                // Keys from which everything was removed are null.
                if let Some(Value::Object(metadata)) = object.pointer_mut(metadata) {
                    metadata.retain(|_, value| !value.is_null());
                }
            }
            if object["kind"] == "Secret" {
                let fields = ["data", "stringData"].map(|field| object.as_object_mut().unwrap().remove(field));
                let keys = fields.iter().flatten().filter_map(Value::as_object).flat_map(Map::keys);
                object["keys"] = keys.map(String::as_str).collect::<BTreeSet<_>>().into_iter().collect();
            }
            // The comments in this text differ.
            if let Some(nested) = object["data"]["rebuild-job.yaml"].as_str() {
                object["data"]["rebuild-job.yaml"] = serde_saphyr::from_str(nested).unwrap();
            }
            (title(&object), object)
        });
    kept.collect()
}

#[track_caller]
fn same(overlay: &str) {
    let mut helm = comparable(&Values::example(overlay).template(&[]).succeeded());
    // Only Helm has the pod of `helm test`, so only Helm needs its NetworkPolicy.
    helm.remove("NetworkPolicy/microblog-smoke").unwrap();
    let mut kustomize = comparable(&build(overlay));
    // Helm does not create its namespace.
    let namespace = kustomize.remove("Namespace/microblog").unwrap();
    let standard = &namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"];
    assert_eq!(standard, "restricted");
    assert!(
        helm.keys().eq(kustomize.keys()),
        "{:?}\n{:?}",
        helm.keys(),
        kustomize.keys()
    );
    for (title, object) in helm {
        assert_eq!(object, kustomize[&title], "{overlay}: {title}: Helm, kustomize");
    }
}

#[test]
fn on_minikube_both_give_the_same() {
    same("minikube");
}

#[test]
fn on_ec2_both_give_the_same() {
    same("ec2");
}

#[test]
fn the_base_is_generated_from_the_chart() {
    let committed = run(repository().join("k8s/make-base"), ["--check"]);
    assert!(committed.success, "{committed}");

    // The check fails for a missing file, an additional file and a changed chart. After generating again, it passes.
    let copy = tempfile::tempdir().unwrap();
    let at = |path: &str| copy.path().join(path);
    for directory in [".ci", "helm", "k8s"] {
        copy_all(&repository().join(directory), &at(directory));
    }
    std::fs::remove_file(at("k8s/base/config.yaml")).unwrap();
    std::fs::write(at("k8s/components/mongodb/left.yaml"), "").unwrap();
    let values = at("helm/microblog/values.yaml");
    let changed = std::fs::read_to_string(&values)
        .unwrap()
        .replacen("replicas: 1", "replicas: 7", 1);
    std::fs::write(&values, changed).unwrap();
    let refused = run(at("k8s/make-base"), ["--check"]);
    assert!(!refused.success, "{refused}");
    for difference in ["base: config.yaml", "mongodb: left.yaml", "+  replicas: 7"] {
        assert!(refused.stdout.contains(difference), "{difference}: {refused}");
    }
    run(at("k8s/make-base"), [""; 0]).succeeded();
    run(at("k8s/make-base"), ["--check"]).succeeded();
}

#[test]
fn secrets_are_made_once_and_never_again() {
    let copy = tempfile::tempdir().unwrap();
    std::fs::write(copy.path().join("kustomization.yaml"), "").unwrap();
    let make = || -> BTreeMap<_, _> {
        run(repository().join("k8s/make-secrets"), [copy.path()]).succeeded();
        let files = std::fs::read_dir(copy.path().join("secrets"))
            .unwrap()
            .map(Result::unwrap);
        files
            .map(|file| (file.file_name(), std::fs::read(file.path()).unwrap()))
            .collect()
    };
    let first = make();
    assert_eq!(first.len(), 8);
    assert!(first.values().all(|content| !content.is_empty()));
    assert_eq!(first, make());
}
