//! What kube-score and checkov think of the manifests. What they are not to say is here, each with the reason.

use std::fs;

use manifest_tests::render::{NEWEST_KUBERNETES, Values, run, tool};
use serde_json::Value;

/// A check that is not to speak about some objects: those whose example and name contain a text.
struct Exception {
    check: &'static str,
    on: &'static str,
    #[expect(dead_code, reason = "it is for those who read this")]
    because: &'static str,
}

const fn except(check: &'static str, on: &'static str, because: &'static str) -> Exception {
    Exception { check, on, because }
}

const NO_CPU_LIMIT: &str =
    "a limit would throttle and add latency; requests share the CPU fairly, and memory is limited";
const TAGS_STAY: &str =
    "tags are versions and are never moved, and images that were loaded into a cluster have no registry to ask";
const OFFICIAL_MONGO: &str = "the official image's user is 999; it is for development";
const PORT_OPEN: &str = "whether mongod's port is open is all there is to ask; whether the replica set is there, the container beside it says";

const KUBE_SCORE: &[Exception] = &[
    except("container-resources", "", NO_CPU_LIMIT),
    except("container-image-pull-policy", "", TAGS_STAY),
    except(
        "container-ephemeral-storage-request-and-limit",
        "",
        "pods write nothing but logs, which the kubelet rotates: their file systems are read-only, and volumes in memory and /tmp have sizes",
    ),
    except(
        "container-security-context-user-group-id",
        "microblog-mongodb",
        OFFICIAL_MONGO,
    ),
    except("pod-probes-identical", "microblog-mongodb", PORT_OPEN),
    except(
        "deployment-has-host-podantiaffinity",
        "",
        "topologySpreadConstraints spread pods over nodes, evenly even when there are more than nodes",
    ),
    except("deployment-replicas", "minikube ", "a laptop runs everything once"),
    except(
        "deployment-replicas",
        "ingress Deployment/apps/v1/microblog/microblog-projector",
        "an example with one projector: readers go on without it",
    ),
    except(
        "deployment-replicas",
        "production Deployment/apps/v1/microblog/microblog-projector",
        "KEDA decides, and keeps two or more",
    ),
    except("pod-networkpolicy", "ingress ", "the example that switches them off"),
    except(
        "service-type",
        "cluster-tests ",
        "the tests come from outside of the cluster",
    ),
];

const CHECKOV: &[Exception] = &[
    except("CKV_K8S_11", "", NO_CPU_LIMIT),
    except("CKV_K8S_15", "", TAGS_STAY),
    except(
        "CKV_K8S_43",
        "",
        "five images have one version: a digest for each would have to be given at each update",
    ),
    except(
        "CKV_K8S_35",
        "",
        "the programs read their environment; in the images is no shell to show it to, and who may see a pod's environment may see its files",
    ),
    except(
        "CKV_K8S_38",
        "microblog-operator",
        "the operator speaks to the API server",
    ),
    except("CKV_K8S_40", "microblog-mongodb", OFFICIAL_MONGO),
    except(
        "CKV_K8S_8",
        "microblog-mongodb",
        "the container that makes the replica set sleeps when it is done",
    ),
    except(
        "CKV_K8S_8",
        "Pod.microblog.microblog-smoke",
        "it runs for seconds and ends",
    ),
    except("CKV_K8S_9", "Pod.microblog.microblog-smoke", "nobody calls it"),
];

/// What somebody objects to: check, example and object, and words.
type Objection = (String, String, String);

#[track_caller]
fn only_what_is_known(objections: &[Objection], known: &[Exception]) {
    let covers = |exception: &Exception, (check, object, _): &Objection| {
        check == exception.check && object.contains(exception.on)
    };
    let new: Vec<String> = objections
        .iter()
        .filter(|objection| !known.iter().any(|exception| covers(exception, objection)))
        .map(|(check, object, words)| format!("{check} on {object}: {words}"))
        .collect();
    assert!(new.is_empty(), "{}", new.join("\n"));
    for exception in known {
        let raised = objections.iter().any(|objection| covers(exception, objection));
        assert!(
            raised,
            "nobody raises {} on {:?} any more: it needs no exception",
            exception.check, exception.on
        );
    }
}

/// All examples as files in a directory, with the Job of a rebuild in each that has one.
fn rendered() -> tempfile::TempDir {
    // checkov looks into no directory that is hidden.
    let directory = tempfile::Builder::new().prefix("manifests").tempdir().unwrap();
    for values in Values::all() {
        let path = directory.path().join(format!("{}.yaml", values.name));
        let documents = values.render().with_nested();
        let documents = documents
            .iter()
            .map(|object| format!("---\n{}\n", serde_saphyr::to_string(object).unwrap()));
        fs::write(path, documents.collect::<String>()).unwrap();
    }
    directory
}

#[test]
fn kube_score_finds_nothing_else() {
    let directory = rendered();
    let mut arguments: Vec<String> = ["score", "--output-format=json", "--kubernetes-version"]
        .map(str::to_owned)
        .to_vec();
    arguments.push(format!("v{}", NEWEST_KUBERNETES.rsplit_once('.').unwrap().0));
    let mut objections = Vec::new();
    for values in Values::all() {
        let path = directory.path().join(format!("{}.yaml", values.name));
        let ran = run(
            tool("KUBE_SCORE"),
            arguments.iter().cloned().chain([path.display().to_string()]),
        );
        let report: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran}"));
        let scored = report.as_array().unwrap();
        assert!(scored.len() > 10, "{}: {} objects", values.name, scored.len());
        for object in scored {
            for check in object["checks"].as_array().unwrap() {
                // 10 is good, 7 an advice about the almost good; skipped ones have none.
                if check["skipped"] == true || check["grade"].as_i64().unwrap() >= 7 {
                    continue;
                }
                objections.push((
                    check["check"]["id"].as_str().unwrap().to_owned(),
                    format!("{} {}", values.name, object["object_name"].as_str().unwrap()),
                    check["comments"].to_string(),
                ));
            }
        }
    }
    only_what_is_known(&objections, KUBE_SCORE);
}

#[test]
fn checkov_finds_nothing_else() {
    let directory = rendered();
    let path = directory.path().display().to_string();
    let arguments = [
        "--directory",
        &path,
        "--framework",
        "kubernetes",
        "--output",
        "json",
        "--quiet",
        "--skip-download",
    ];
    let ran = run(tool("CHECKOV"), arguments);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran}"));
    assert!(
        report["summary"]["resource_count"].as_u64().unwrap() > 100,
        "{}",
        report["summary"]
    );
    assert_eq!(report["summary"]["parsing_errors"], 0, "{ran}");
    let objections = report["results"]["failed_checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|check| {
            let text = |key: &str| check[key].as_str().unwrap().to_owned();
            (
                text("check_id"),
                format!("{} {}", text("file_path"), text("resource")),
                text("check_name"),
            )
        });
    only_what_is_known(&objections.collect::<Vec<_>>(), CHECKOV);
}
