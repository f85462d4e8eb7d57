//! Tests of the chart itself: what it accepts, what it refuses, and that the generated files are up to date.

use std::collections::BTreeSet;
use std::fs;

use manifest_tests::manifests::{Manifests, title};
use manifest_tests::render::{NEWEST_KUBERNETES, OLDEST_KUBERNETES, Values, chart, repository, run, tool};
use serde_json::{Value, json};

use crate::rendered;

/// The sections of the values to which `defaults` applies.
const WORKLOADS: [&str; 5] = ["gateway", "command", "query", "projector", "operator"];

fn default_values() -> Value {
    serde_saphyr::from_str(&fs::read_to_string(chart().join("values.yaml")).unwrap()).unwrap()
}

#[test]
fn every_example_passes_lint_and_renders() {
    for values in Values::all() {
        let version = format!("--kube-version={NEWEST_KUBERNETES}");
        let lint = ["lint", "--strict", "helm/microblog", &version].map(str::to_owned);
        run(tool("HELM"), lint.into_iter().chain(values.arguments())).succeeded();
        let rendered = values.render();
        assert!(
            rendered.find("Deployment", "microblog-command").is_some(),
            "{}",
            values.name
        );
    }
}

#[test]
fn what_is_misspelt_or_of_the_wrong_type_is_refused_by_name() {
    const REFUSALS: &str = "
        command.replcias=3 -> '/command': additional properties 'replcias' not allowed
        command.replicas=three -> '/command/replicas': got string, want integer
        config.htp.workers=4 -> '/config': additional properties 'htp' not allowed
        config.mongodb.uri=mongodb://secret -> '/config/mongodb/uri': false schema
        image.pullPolicy=Sometimes -> '/image/pullPolicy': value must be one of
        mongodb.uri=postgres://db -> '/mongodb/uri': 'postgres://db' does not match pattern
        mongodb.bundled.persistance.size=1Gi -> '/mongodb/bundled': additional properties 'persistance' not allowed
        httpRoute.enabled=true -> '/httpRoute/parentRefs': minItems: got 0, want 1
        operator.projection.generation=0 -> '/operator/projection/generation': minimum: got 0, want 1
        query.service.trafficDistribution=PreferTuesday -> '/query/service/trafficDistribution': value must be one of
        defaults.nodeSelectr.disk=fast -> '/defaults': additional properties 'nodeSelectr' not allowed";
    // Each workload refuses keys that only others have. Only Prometheus calls the Services of projector and operator.
    const OTHERS: &str = "
        defaults.replicas=3 query.keda.enabled=true projector.autoscaling.enabled=true operator.keda.enabled=true
        defaults.autoscaling.targetConnections=1 command.autoscaling.targetConnections=1 gateway.autoscaling.targetConnections=1
        command.enabled=false query.enabled=false gateway.keda.enabled=true
        projector.service.trafficDistribution=PreferSameNode operator.service.trafficDistribution=PreferSameNode";
    let refusals = REFUSALS
        .trim()
        .lines()
        .map(|line| line.trim().split_once(" -> ").unwrap());
    let others = OTHERS.split_whitespace().map(|set| (set, "false schema"));
    for (set, message) in refusals.chain(others) {
        let refused = Values::example("minikube").template(&["--set", set]);
        assert!(!refused.success, "{set} is accepted");
        assert!(refused.stderr.contains(message), "{set}: {}", refused.stderr);
    }
}

#[test]
fn a_release_without_a_database_is_refused() {
    let refused = Values::example("minikube").template(&["--set", "mongodb.bundled.enabled=false"]);
    assert!(!refused.success);
    assert!(refused.stderr.contains("where is the database?"), "{}", refused.stderr);
}

/// `helm upgrade`, `helm rollback`, `kubectl apply` and GitOps controllers set all keys in a manifest again. So a user who patches the
/// Projection, as docs/KUBERNETES.md says, would lose the patch, or Helm 4 would report a conflict.
#[test]
fn generation_and_pause_are_in_the_manifests_only_if_they_are_set() {
    let spec = |set: &[&str]| {
        let rendered = Values::example("minikube").template(set).succeeded();
        let rendered = Manifests::parse(&rendered).unwrap();
        rendered.find("Projection", "views").unwrap()["spec"].clone()
    };
    assert_eq!(spec(&[]), json!({}));
    assert_eq!(
        spec(&["--set=operator.projection.generation=2"]),
        json!({ "generation": 2 })
    );
    assert_eq!(
        spec(&["--set=operator.projection.generation=2,operator.projection.paused=false"]),
        json!({ "generation": 2, "paused": false })
    );
    let base = fs::read_to_string(repository().join("k8s/base/operator.yaml")).unwrap();
    let base = Manifests::parse(&base).unwrap();
    assert_eq!(base.find("Projection", "views").unwrap()["spec"], json!({}));
    // The CustomResourceDefinition does not refuse a generation that is lower than the previous one either.
    let definition = fs::read_to_string(chart().join("crds/projections.yaml")).unwrap();
    assert!(!definition.contains("oldSelf"), "{definition}");
}

#[test]
fn it_installs_on_the_versions_it_is_checked_for_and_on_newer_ones() {
    let minor = |version: &str| -> u32 { version.split('.').nth(1).unwrap().parse().unwrap() };
    for (version, accepted) in [
        (format!("1.{}.9", minor(OLDEST_KUBERNETES) - 1), false),
        (OLDEST_KUBERNETES.to_owned(), true),
        // Amazon and others write their versions like this.
        (format!("1.{}.4-eks-1", minor(NEWEST_KUBERNETES)), true),
        // An upper bound would block the upgrade of a cluster.
        (format!("1.{}.0", minor(NEWEST_KUBERNETES) + 1), true),
    ] {
        let rendered = Values::example("minikube").template(&["--kube-version", &version]);
        assert_eq!(rendered.success, accepted, "Kubernetes {version}: {}", rendered.stderr);
    }
}

/// The keys that are in the schema, but in none of the values. The opposite needs no test: Helm refuses a default that is not in it.
fn undocumented(root: &Value, schema: &Value, values: &[&Value], at: &str) -> Vec<String> {
    // These contain keys of Kubernetes objects, or of the programs' configuration.
    const FREE: [&str; 5] = ["global", "config", "resources", "behavior", "tls"];
    let schema = match schema["$ref"].as_str() {
        Some(reference) => root
            .pointer(reference.trim_start_matches('#'))
            .expect("a reference has a target"),
        None => schema,
    };
    let properties = schema["properties"].as_object().into_iter().flatten();
    properties
        .filter(|(key, _)| !FREE.contains(&key.as_str()))
        .flat_map(|(key, inner)| {
            let path = format!("{at}.{key}");
            let values: Vec<&Value> = values.iter().filter_map(|values| values.get(key)).collect();
            if values.is_empty() {
                vec![path]
            } else {
                undocumented(root, inner, &values, &path)
            }
        })
        .collect()
}

#[test]
fn the_schema_and_the_values_have_the_same_keys() {
    let values = default_values();
    let schema = fs::read_to_string(chart().join("values.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let mut missing = undocumented(&schema, &schema, &[&values], "");
    // Workloads do not repeat the keys of `defaults`.
    let workloads: Vec<&Value> = WORKLOADS
        .iter()
        .map(|name| &values[name])
        .chain([&values["defaults"]])
        .collect();
    let shared = &schema["definitions"]["workload"];
    missing.extend(undocumented(&schema, shared, &workloads, "workload"));
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn a_workload_overrides_what_all_have_in_common() {
    let rendered = rendered(&json!({
        "defaults": {
            "nodeSelector": { "disk": "fast", "zone": "a" },
            "tolerations": [{ "key": "reserved", "operator": "Exists" }],
            "extraEnv": [{ "name": "A", "value": "1" }],
            "priorityClassName": "high",
            "affinity": { "podAffinity": {} },
            "autoscaling": { "enabled": true },
            "service": { "annotations": { "of": "all" } },
        },
        "command": {
            "nodeSelector": { "disk": null, "zone": "b" },
            "tolerations": [],
            "extraEnv": [],
            "priorityClassName": "",
            "affinity": null,
            "autoscaling": { "enabled": false },
            "podDisruptionBudget": { "enabled": false },
            "topologySpread": { "keys": [] },
            "service": { "type": "NodePort" },
            "serviceAccount": { "annotations": { "role": "writer" } },
            "minReadySeconds": 0,
        },
        "projector": { "nodeSelector": {}, "podDisruptionBudget": { "maxUnavailable": "50%" } },
        "operator": { "nodeSelector": null },
    }));
    let find = |kind, name| rendered.find(kind, &format!("microblog-{name}"));
    let spec = |name| &find("Deployment", name).unwrap()["spec"];
    let pod = |name| &spec(name)["template"]["spec"];

    assert_eq!(pod("command")["nodeSelector"], json!({ "zone": "b" }));
    for key in [
        "tolerations",
        "priorityClassName",
        "affinity",
        "topologySpreadConstraints",
    ] {
        assert!(pod("command")[key].is_null(), "{key}");
        assert!(!pod("query")[key].is_null(), "{key}");
    }
    let last_variable = |name| pod(name)["containers"][0]["env"].as_array().unwrap().last().unwrap()["name"].clone();
    assert_ne!(last_variable("command"), "A");
    assert_eq!(spec("command")["minReadySeconds"], 0);
    assert!(find("PodDisruptionBudget", "command").is_none());
    assert!(find("HorizontalPodAutoscaler", "command").is_none());
    // An autoscaler sets the number of pods; the projector does not have this autoscaler.
    assert_eq!(spec("command")["replicas"], 1);
    assert!(spec("query")["replicas"].is_null());
    assert_eq!(spec("projector")["replicas"], 1);
    let service = find("Service", "command").unwrap();
    assert_eq!(service["spec"]["type"], "NodePort");
    assert_eq!(service["metadata"]["annotations"], json!({ "of": "all" }));
    let account = find("ServiceAccount", "command").unwrap();
    assert_eq!(account["metadata"]["annotations"], json!({ "role": "writer" }));

    assert_eq!(pod("query")["nodeSelector"], json!({ "disk": "fast", "zone": "a" }));
    assert_eq!(pod("projector")["nodeSelector"], pod("query")["nodeSelector"]);
    assert_eq!(
        find("PodDisruptionBudget", "projector").unwrap()["spec"]["maxUnavailable"],
        "50%"
    );
    assert!(pod("operator")["nodeSelector"].is_null());
    assert_eq!(last_variable("operator"), "A");
}

/// `helm upgrade --reuse-values` replaces values.yaml by the values of the previous release. In these, each workload has all keys,
/// and there is no `defaults`. The release has no gateway, and gets none.
#[test]
fn the_values_of_a_release_before_there_were_defaults_render_the_same() {
    let mut reused = json!({ "defaults": null });
    for workload in WORKLOADS {
        reused[workload] = default_values()["defaults"].clone();
        if ["projector", "operator"].contains(&workload) {
            reused[workload].as_object_mut().unwrap().remove("autoscaling");
        }
    }
    reused["gateway"] = Value::Null;
    let (reused, new) = (rendered(&reused), rendered(&json!({ "gateway": { "enabled": false } })));
    for (reused, new) in reused.iter().zip(new.iter()).filter(|(_, new)| new["kind"] != "Secret") {
        assert_eq!(reused, new);
    }
    assert_eq!(reused.iter().count(), new.iter().count());
}

#[test]
fn the_resource_definition_is_the_operators() {
    let read = |path: &str| fs::read_to_string(repository().join(path)).unwrap();
    assert_eq!(
        read("helm/microblog/crds/projections.yaml"),
        read("k8s/crd/projections.yaml"),
        "please run: cp k8s/crd/projections.yaml helm/microblog/crds/"
    );
}

#[test]
fn the_readme_is_generated_from_the_values() {
    let arguments = [
        "--chart-search-root=helm/microblog",
        "--dry-run",
        "--log-level=warning",
        "--sort-values-order=file",
    ];
    let generated = run(tool("HELM_DOCS"), arguments).succeeded();
    let committed = fs::read_to_string(chart().join("README.md")).unwrap();
    assert_eq!(generated.trim(), committed.trim(), "please run: make chart-readme");
}

#[test]
fn nothing_is_rendered_twice() {
    for values in Values::all() {
        let mut seen = BTreeSet::new();
        // A hook may have the same name as the object that it deletes first.
        let is_hook = |object: &&Value| object["metadata"]["annotations"]["helm.sh/hook"].is_string();
        for object in values.render().iter().filter(|object| !is_hook(object)) {
            assert!(seen.insert(title(object)), "{}: {}", values.name, title(object));
        }
    }
}

#[test]
fn keys_and_passwords_are_generated_and_fit_together() {
    let render = || Values::example("minikube").render_anew();
    let (one, other) = (render(), render());
    let secret = |manifests: &Manifests, name: &str, key: &str| {
        let secret = manifests.find("Secret", name).unwrap();
        let value = ["data", "stringData"]
            .iter()
            .find_map(|field| secret[field][key].as_str());
        value.unwrap().to_owned()
    };
    for (name, key) in [
        ("microblog-auth", "signing-key"),
        ("microblog-auth", "refresh-secret"),
        ("microblog-auth", "cookie-secret"),
        ("microblog-auth", "client-secret"),
        ("microblog-mongodb", "password"),
        ("microblog-mongodb", "root-password"),
    ] {
        assert_ne!(secret(&one, name, key), secret(&other, name, key), "{name} {key}");
    }
    let uri = secret(&one, "microblog-mongodb", "uri");
    let password = secret(&one, "microblog-mongodb", "password");
    let expected = format!("mongodb://microblog:{password}@microblog-mongodb:27017/");
    assert!(uri.starts_with(&expected), "{uri}");
    // If the annotations depended on the random secrets, each upgrade would roll the pods.
    for (one, other) in one.pods().zip(other.pods()) {
        assert_eq!(
            one.metadata["annotations"], other.metadata["annotations"],
            "{}",
            one.owner
        );
    }
}
