//! The base is generated from the chart, and with the overlays kustomize gives the same objects as Helm.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use manifest_tests::manifests::{Manifests, title};
use manifest_tests::render::{Values, repository, run, tool};
use serde_json::{Map, Value};

/// Builds an overlay, in a copy of `k8s` where the documented command has made its Secrets.
fn build(overlay: &str) -> Manifests {
    let copy = tempfile::tempdir().unwrap();
    for directory in ["base", "components", "overlays", "make-secrets"] {
        copy_all(&repository().join("k8s").join(directory), &copy.path().join(directory));
    }
    let overlay = copy.path().join("overlays").join(overlay);
    let made = Command::new(copy.path().join("make-secrets"))
        .arg(&overlay)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Manifests::parse(&run(tool("KUSTOMIZE"), ["build".as_ref(), overlay.as_os_str()]).succeeded()).unwrap()
}

fn copy_all(from: &Path, to: &Path) {
    if from.is_file() {
        std::fs::copy(from, to).unwrap();
        return;
    }
    // Secrets that somebody has made here stay here.
    if from.ends_with("secrets") {
        return;
    }
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        copy_all(&entry.path(), &to.join(entry.file_name()));
    }
}

/// Only Helm has hooks; what they may do on the network goes with them.
fn belongs_to_a_hook(object: &Value) -> bool {
    object["metadata"]["annotations"]["helm.sh/hook"].is_string() || title(object) == "NetworkPolicy/microblog-smoke"
}

/// Takes away what has to differ, and nothing else.
fn normalised(mut object: Value) -> Value {
    strip(&mut object["metadata"]);
    if object["spec"]["template"]["metadata"].is_object() {
        strip(&mut object["spec"]["template"]["metadata"]);
    }
    if object["kind"] == "Secret" {
        // Random on both sides: which keys there are must agree.
        let mut keys: Vec<String> = ["data", "stringData"]
            .iter()
            .filter_map(|field| object[*field].as_object())
            .flat_map(Map::keys)
            .cloned()
            .collect();
        keys.sort();
        object["data"] = keys.into();
        object.as_object_mut().unwrap().remove("stringData");
    }
    // What is YAML inside of YAML is compared by what it says.
    if let Some(nested) = object["data"].get("rebuild-job.yaml").and_then(Value::as_str) {
        let mut job: Value = serde_saphyr::from_str(nested).unwrap();
        strip(&mut job["metadata"]);
        object["data"]["rebuild-job.yaml"] = job;
    }
    if let Some(script) = object["data"].get("initiate.js").and_then(Value::as_str) {
        object["data"]["initiate.js"] = script.trim_end().into();
    }
    object
}

fn strip(metadata: &mut Value) {
    let metadata = metadata.as_object_mut().unwrap();
    if let Some(labels) = metadata.get_mut("labels").and_then(Value::as_object_mut) {
        labels.remove("helm.sh/chart");
        labels.remove("app.kubernetes.io/managed-by");
    }
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.retain(|key, _| !key.starts_with("checksum/") && key != "helm.sh/resource-policy");
        if annotations.is_empty() {
            metadata.remove("annotations");
        }
    }
}

fn by_title(manifests: &Manifests, keep: impl Fn(&Value) -> bool) -> BTreeMap<String, Value> {
    manifests
        .iter()
        .filter(|object| keep(object))
        .map(|object| (title(object), normalised(object.clone())))
        .collect()
}

/// Where two values differ, as paths with both sides.
fn differences(at: &str, helm: &Value, kustomize: &Value, into: &mut Vec<String>) {
    match (helm, kustomize) {
        (Value::Object(one), Value::Object(other)) => {
            let keys: std::collections::BTreeSet<_> = one.keys().chain(other.keys()).collect();
            for key in keys {
                let side = |map: &Map<String, Value>| map.get(key).cloned().unwrap_or(Value::Null);
                differences(&format!("{at}.{key}"), &side(one), &side(other), into);
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (index, (one, other)) in one.iter().zip(other).enumerate() {
                differences(&format!("{at}[{index}]"), one, other, into);
            }
        }
        (one, other) if one != other => into.push(format!("{at}: Helm {one}, kustomize {other}")),
        _ => {}
    }
}

#[track_caller]
fn same(overlay: &str) {
    let helm = by_title(&Values::example(overlay).render(), |object| !belongs_to_a_hook(object));
    // Helm is told its namespace, and does not make it.
    let kustomize = by_title(&build(overlay), |object| object["kind"] != "Namespace");
    let titles = |side: &BTreeMap<String, Value>| side.keys().cloned().collect::<Vec<_>>();
    assert_eq!(titles(&helm), titles(&kustomize), "the objects of {overlay}");
    let mut found = Vec::new();
    for (title, object) in &helm {
        differences(title, object, &kustomize[title], &mut found);
    }
    assert!(found.is_empty(), "{overlay}:\n{}", found.join("\n"));
    assert!(helm.len() > 30, "{} objects", helm.len());
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

    // Neither a missing file, nor one too many, nor a changed chart passes; and generating them again mends that.
    let copy = tempfile::tempdir().unwrap();
    for path in [
        ".ci/versions",
        ".ci/requirements.txt",
        ".ci/tools/go.mod",
        "helm",
        "k8s/base",
        "k8s/components",
        "k8s/make-base",
    ] {
        let to = copy.path().join(path);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        copy_all(&repository().join(path), &to);
    }
    let make_base = copy.path().join("k8s/make-base");
    let values = copy.path().join("helm/microblog/values.yaml");
    let changed = std::fs::read_to_string(&values)
        .unwrap()
        .replacen("replicas: 1", "replicas: 7", 1);
    let faults: [(&str, &dyn Fn()); 3] = [
        ("config.yaml", &|| {
            std::fs::remove_file(copy.path().join("k8s/base/config.yaml")).unwrap()
        }),
        ("left.yaml", &|| {
            std::fs::write(copy.path().join("k8s/components/mongodb/left.yaml"), "").unwrap()
        }),
        ("+  replicas: 7", &|| std::fs::write(&values, &changed).unwrap()),
    ];
    for (named, make_fault) in faults {
        make_fault();
        let refused = run(&make_base, ["--check"]);
        assert!(!refused.success && refused.stdout.contains(named), "{named}: {refused}");
        run(&make_base, [""; 0]).succeeded();
        run(&make_base, ["--check"]).succeeded();
    }
}

#[test]
fn the_namespace_enforces_the_restricted_standard() {
    for overlay in ["minikube", "ec2"] {
        let built = build(overlay);
        let namespace = built.find("Namespace", "microblog").unwrap();
        assert_eq!(
            namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"],
            "restricted"
        );
    }
}

#[test]
fn secrets_are_made_once_and_never_again() {
    let copy = tempfile::tempdir().unwrap();
    std::fs::write(copy.path().join("kustomization.yaml"), "").unwrap();
    let make = || {
        let made = Command::new(repository().join("k8s/make-secrets"))
            .arg(copy.path())
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let mut files: Vec<(String, Vec<u8>)> = std::fs::read_dir(copy.path().join("secrets"))
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| {
                (
                    entry.file_name().into_string().unwrap(),
                    std::fs::read(entry.path()).unwrap(),
                )
            })
            .collect();
        files.sort();
        files
    };
    let first = make();
    assert_eq!(first.len(), 6);
    assert!(first.iter().all(|(_, content)| !content.is_empty()));
    assert_eq!(first, make());
}
