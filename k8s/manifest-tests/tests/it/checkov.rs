//! Checks the manifests with checkov. The exceptions are listed here, each with its reason.

use std::fs;

use manifest_tests::render::{Values, run, tool};
use serde_json::Value;

/// A check that some objects may fail: those whose file and name contain the text `on`.
struct Exception {
    check: &'static str,
    on: &'static str,
    #[expect(dead_code, reason = "only for readers of the code")]
    because: &'static str,
}

const fn except(check: &'static str, on: &'static str, because: &'static str) -> Exception {
    Exception { check, on, because }
}

const NO_CPU_LIMIT: &str =
    "a CPU limit would throttle and add latency; CPU requests share the CPU fairly, and memory is limited";
const TAGS_STAY: &str =
    "tags are versions and are never moved; images that were loaded into a cluster have no registry";
const OFFICIAL_MONGO: &str = "the user of the official image is 999; the database is for development";

const EXCEPTIONS: &[Exception] = &[
    except("CKV_K8S_11", "", NO_CPU_LIMIT),
    except("CKV_K8S_15", "", TAGS_STAY),
    except(
        "CKV_K8S_43",
        "",
        "six images share one version; with digests, each update would have to set six of them",
    ),
    except(
        "CKV_K8S_35",
        "",
        "the programs read environment variables; the images have no shell, and who can see a pod's environment can also see its files",
    ),
    except("CKV_K8S_38", "microblog-operator", "the operator uses the API server"),
    except("CKV_K8S_40", "microblog-mongodb", OFFICIAL_MONGO),
    except(
        "CKV_K8S_8",
        "microblog-mongodb",
        "the sidecar that creates the replica set only sleeps afterwards",
    ),
    except(
        "CKV_K8S_8",
        "Pod.microblog.microblog-smoke",
        "it ends after a few seconds",
    ),
    except("CKV_K8S_9", "Pod.microblog.microblog-smoke", "nobody connects to it"),
];

#[test]
fn it_finds_nothing_else() {
    // checkov skips hidden directories.
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
            "checkov no longer reports {} on {:?}",
            exception.check, exception.on
        );
    }
}
