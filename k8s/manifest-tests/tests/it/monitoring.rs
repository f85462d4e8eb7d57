//! Tests alerts and dashboards: promtool accepts them, the alerts fire when they should, and the programs export the metrics in them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use local_mongodb::TestDatabase;
use manifest_tests::manifests::Manifests;
use manifest_tests::promql::{Selector, selectors};
use manifest_tests::render::{Values, repository, run, tool};
use microblog::api_client::{ApiClient, Call};
use microblog::stack::{Configs, Stack};
use serde_json::{Value, json};
use service::auth::generate_signing_key_pem;
use service::config::Environment;

/// On a busy machine, everything takes longer. If it takes longer than this, it hangs.
const DEADLINE: Duration = Duration::from_secs(120);

/// The labels that Prometheus itself adds for each target.
const OF_THE_TARGET: [&str; 4] = ["namespace", "job", "pod", "instance"];

fn rendered() -> Manifests {
    Values::example("production").render()
}

/// The alerts in Prometheus' file format. JSON is also YAML.
fn rules(manifests: &Manifests) -> Value {
    let rule = manifests
        .find("PrometheusRule", "microblog")
        .expect("the example has a PrometheusRule");
    json!({ "groups": rule["spec"]["groups"] })
}

fn alerts(manifests: &Manifests) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    rules(manifests)["groups"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap())
        .map(|rule| (text(&rule["alert"]), text(&rule["expr"])))
        .collect()
}

/// The expressions of the dashboards with their variables replaced, and the place of each expression.
fn panels(manifests: &Manifests) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for object in manifests.of_kind("ConfigMap") {
        for (file, content) in object["data"].as_object().unwrap() {
            let Ok(dashboard) = serde_json::from_str::<Value>(content.as_str().unwrap()) else {
                continue;
            };
            if !file.ends_with(".json") {
                continue;
            }
            for panel in dashboard["panels"].as_array().expect("a dashboard has panels") {
                for target in panel["targets"].as_array().expect("a panel has targets") {
                    let expression = target["expr"]
                        .as_str()
                        .unwrap()
                        .replace("$namespace", "microblog")
                        .replace("$release", "microblog")
                        .replace("$__rate_interval", "5m");
                    assert!(
                        !expression.contains('$'),
                        "{file}: this test does not know the variable in {expression}"
                    );
                    found.push((format!("{file}, {}", panel["title"].as_str().unwrap()), expression));
                }
            }
        }
    }
    assert!(found.len() > 20, "{} expressions", found.len());
    found
}

fn write(directory: &Path, name: &str, content: &Value) -> String {
    let path = directory.join(name);
    fs::write(&path, content.to_string()).unwrap();
    path.display().to_string()
}

#[test]
fn promtool_finds_every_alert_and_every_panel_right() {
    let (manifests, directory) = (rendered(), tempfile::tempdir().unwrap());
    let alerts = write(directory.path(), "alerts.yaml", &rules(&manifests));
    run(
        tool("PROMTOOL"),
        ["check", "rules", "--lint=all", "--lint-fatal", &alerts],
    )
    .succeeded();
    for (title, expression) in panels(&manifests) {
        let rule = json!({ "groups": [{ "name": "panel", "rules": [{ "record": "panel", "expr": expression }] }] });
        let path = write(directory.path(), "panel.yaml", &rule);
        let ran = run(tool("PROMTOOL"), ["check", "rules", &path]);
        assert!(ran.success, "{title}: {ran}");
    }
}

#[test]
fn alerts_fire_when_they_should() {
    let (manifests, directory) = (rendered(), tempfile::tempdir().unwrap());
    write(directory.path(), "alerts.yaml", &rules(&manifests));
    let tests = fs::read_to_string(repository().join("k8s/manifest-tests/alerts.test.yaml")).unwrap();
    let path = directory.path().join("alerts.test.yaml");
    fs::write(&path, &tests).unwrap();
    let ran = run(tool("PROMTOOL"), ["test", "rules", &path.display().to_string()]);
    assert!(ran.success, "{ran}");

    // The tests show each alert both firing and silent.
    let tests: Value = serde_saphyr::from_str(&tests).unwrap();
    let mut expected: BTreeMap<String, BTreeSet<bool>> = BTreeMap::new();
    for test in tests["tests"].as_array().unwrap() {
        for check in test["alert_rule_test"].as_array().unwrap() {
            let fires = check["exp_alerts"].as_array().is_some_and(|alerts| !alerts.is_empty());
            expected
                .entry(check["alertname"].as_str().unwrap().to_owned())
                .or_default()
                .insert(fires);
        }
    }
    for (alert, _) in alerts(&manifests) {
        assert_eq!(
            expected.get(&alert),
            Some(&[false, true].into()),
            "{alert}: it must be tested both firing (true) and silent (false)"
        );
    }
}

#[test]
fn every_alert_is_explained() {
    let explained = fs::read_to_string(repository().join("docs/RUNBOOK.md")).unwrap();
    for group in rules(&rendered())["groups"].as_array().unwrap() {
        for rule in group["rules"].as_array().unwrap() {
            let alert = rule["alert"].as_str().unwrap();
            let url = rule["annotations"]["runbook_url"].as_str().unwrap();
            let section = format!("/docs/RUNBOOK.md#{}", alert.to_lowercase());
            assert!(url.ends_with(&section), "{alert} points to {url}");
            let heading = format!("## {alert}");
            assert!(
                explained.lines().any(|line| line == heading),
                "docs/RUNBOOK.md has no {heading}"
            );
        }
    }
}

/// Collects the samples in the text of `/metrics`: the name of each sample, with its labels.
fn samples(text: &str, into: &mut BTreeMap<String, BTreeSet<String>>) {
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((series, _value)) = line.rsplit_once(' ') else {
            continue;
        };
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let known = into.entry(name.to_owned()).or_default();
        // None of our label values contains a quote followed by a comma.
        known.extend(
            labels
                .trim_end_matches('}')
                .split("\",")
                .filter_map(|label| Some(label.split_once('=')?.0.to_owned())),
        );
    }
}

/// The metrics that the three programs export after somebody has used them.
async fn exported() -> BTreeMap<String, BTreeSet<String>> {
    event_log::crypto::install_provider();
    let database = TestDatabase::new().await;
    let mut environment = Environment::default();
    for (key, value) in [
        ("mongodb.uri", database.uri()),
        ("mongodb.events_database", database.events_database()),
        ("mongodb.views_database", database.views_database()),
        ("mongodb.operation_timeout", "25s"),
        ("mongodb.server_selection_timeout", "20s"),
        ("auth.signing_key", &generate_signing_key_pem()),
        ("auth.refresh_secret", "a secret for the tests of metrics"),
        ("gateway.listen", "127.0.0.1:0"),
        ("command.listen", "127.0.0.1:0"),
        ("query.listen", "127.0.0.1:0"),
        ("projector.listen", "127.0.0.1:0"),
        ("command.deadline", "30s"),
        ("http.workers", "1"),
        ("rate_limit.login.burst", "1"),
        ("rate_limit.login.per_minute", "1"),
        ("shutdown.drain_delay", "0s"),
    ] {
        environment.set(key, value);
    }
    let mut stack = Stack::start(Configs::load(&environment).unwrap(), DEADLINE)
        .await
        .unwrap();
    stack.wait_until_ready(DEADLINE).await.unwrap();

    let command = ApiClient::new(&stack.command_url().parse().unwrap(), DEADLINE).unwrap();
    let query = ApiClient::new(&stack.query_url().parse().unwrap(), DEADLINE).unwrap();
    let registration = json!({ "handle": "ada", "email": "ada@metrics.example", "password": "a good password" });
    command
        .call(&Call::post("/v1/users", registration))
        .await
        .unwrap()
        .success::<Value>()
        .unwrap();
    let login = json!({ "handle": "ada", "password": "a good password" });
    let session: Value = command
        .call(&Call::post("/v1/sessions", login.clone()))
        .await
        .unwrap()
        .success()
        .unwrap();
    let token = session["access_token"].as_str().unwrap();
    let post = Call::post("/v1/posts", json!({ "text": "How many?" }))
        .bearer(token)
        .idempotency_key("one");
    let posted = command.call(&post).await.unwrap();
    let seen = posted.consistency_token.clone().unwrap();
    let home = Call::get("/v1/timelines/home").bearer(token).consistency_token(&seen);
    query.call(&home).await.unwrap().success::<Value>().unwrap();
    // Only one login per minute is allowed, so this one is refused.
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let refused = http
        .post(format!("{}/v1/sessions", stack.command_url()))
        .json(&login)
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status().as_u16(), 429);

    let mut found = BTreeMap::new();
    for url in [stack.command_url(), stack.query_url(), stack.projector_url()] {
        let shown = http
            .get(format!("{url}/metrics"))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        samples(&shown, &mut found);
    }
    stack.stop().await.unwrap();
    found
}

/// The names of the metrics that a source file registers, each also with the suffix of counters.
fn registered(source: &'static str) -> impl Iterator<Item = String> {
    let literals = source
        .split("register(")
        .skip(1)
        .filter_map(|call| call.trim_start().strip_prefix('"')?.split('"').next());
    literals.flat_map(|name| [name.to_owned(), format!("{name}_total")])
}

/// Adds metrics that this test can't produce: those that a subscription exports only after a failure, and those of the operator, which runs
/// only in a cluster. Their names come from the source files that register them.
fn seen_only_elsewhere(into: &mut BTreeMap<String, BTreeSet<String>>) {
    let labels = into["subscription_lag_seconds"].clone();
    for name in registered(include_str!("../../../../shared/event-log/src/subscription/metrics.rs")) {
        into.entry(format!("subscription_{name}"))
            .or_insert_with(|| labels.clone());
    }
    for name in registered(include_str!("../../../operator/src/metrics.rs")) {
        into.entry(name).or_insert_with(|| ["projection".to_owned()].into());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_alerts_and_panels_name_is_exported() {
    let mut exported = exported().await;
    seen_only_elsewhere(&mut exported);
    exported.insert("up".to_owned(), BTreeSet::new());
    let manifests = rendered();
    let scaler = manifests.find("ScaledObject", "microblog-projector").unwrap();
    let scaler = scaler["spec"]["triggers"][0]["metadata"]["query"].as_str().unwrap();
    let mut wrong = Vec::new();
    let all = alerts(&manifests)
        .into_iter()
        .chain(panels(&manifests))
        .chain([("KEDA".to_owned(), scaler.to_owned())]);
    for (title, expression) in all {
        for Selector { metric, labels } in selectors(&expression) {
            let Some(known) = exported.get(&metric) else {
                wrong.push(format!("{title}: no program exports {metric}"));
                continue;
            };
            for label in labels {
                if !known.contains(&label) && !OF_THE_TARGET.contains(&label.as_str()) {
                    wrong.push(format!("{title}: {metric} has no label {label}; it has {known:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
