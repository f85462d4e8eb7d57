//! What checkov thinks of the manifests. What it is not to say is here, each with the reason.

use std::fs;

use manifest_tests::render::{Values, run, tool};
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

const EXCEPTIONS: &[Exception] = &[
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

#[test]
fn it_finds_nothing_else() {
    // checkov looks into no directory that is hidden.
    let directory = tempfile::Builder::new().prefix("manifests").tempdir().unwrap();
    for values in Values::all() {
        let documents = values.render().with_nested();
        let documents = documents
            .iter()
            .map(|object| format!("---\n{}\n", serde_saphyr::to_string(object).unwrap()));
        fs::write(
            directory.path().join(format!("{}.yaml", values.name)),
            documents.collect::<String>(),
        )
        .unwrap();
    }
    let path = directory.path().display().to_string();
    let arguments = [
        "--directory",
        &path,
        "--framework=kubernetes",
        "--output=json",
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

    let text = |check: &Value, key: &str| check[key].as_str().unwrap().to_owned();
    let failed = report["results"]["failed_checks"].as_array().unwrap();
    let objections: Vec<(String, String)> = failed
        .iter()
        .map(|check| {
            (
                text(check, "check_id"),
                format!("{} {}", text(check, "file_path"), text(check, "resource")),
            )
        })
        .collect();
    let covers = |exception: &Exception, (check, object): &(String, String)| {
        check == exception.check && object.contains(exception.on)
    };
    for (objection, check) in objections.iter().zip(failed) {
        let known = EXCEPTIONS.iter().any(|exception| covers(exception, objection));
        assert!(known, "{objection:?}: {}", check["check_name"]);
    }
    for exception in EXCEPTIONS {
        let raised = objections.iter().any(|objection| covers(exception, objection));
        assert!(
            raised,
            "nobody raises {} on {:?} any more",
            exception.check, exception.on
        );
    }
}
