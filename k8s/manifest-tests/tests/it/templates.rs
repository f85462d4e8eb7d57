//! Tests what the templates render from the values.

use std::collections::BTreeSet;

use manifest_tests::manifests::Manifests;
use manifest_tests::render::{NEWEST_KUBERNETES, Values, run, tool};
use serde_json::{Value, json};

use crate::rendered;

#[test]
fn values_become_what_the_programs_read() {
    let rendered = rendered(&json!({ "config": {
        "cors": { "allowed_origins": ["https://a.example", "https://b.example"] },
        "rate_limit": { "enabled": false, "read": { "burst": 1_000_000 } },
        "telemetry": { "sample_ratio": 0.05 },
        "http": { "workers": null },
        // The chart sets these itself, and `config` overrides them.
        "query": { "listen": "[::]:8082" },
        "rebuild": { "hosted": true },
    }}));
    let data = &rendered.find("ConfigMap", "microblog-config").unwrap()["data"];
    for (key, value) in [
        ("CORS__ALLOWED_ORIGINS", json!("https://a.example,https://b.example")),
        ("RATE_LIMIT__ENABLED", json!("false")),
        // Not 1e+06.
        ("RATE_LIMIT__READ__BURST", json!("1000000")),
        ("TELEMETRY__SAMPLE_RATIO", json!("0.05")),
        ("HTTP__WORKERS", Value::Null),
        ("QUERY__LISTEN", json!("[::]:8082")),
        ("REBUILD__HOSTED", json!("true")),
    ] {
        assert_eq!(data[format!("MICROBLOG__{key}")], value, "{key}");
    }
}

#[test]
fn images_come_from_where_the_values_say() {
    for (image, expected) in [
        (json!({ "tag": "dev" }), "ghcr.io/microblog/PROGRAM:dev"),
        (json!({ "registry": "", "tag": "dev" }), "microblog/PROGRAM:dev"),
        (
            json!({ "registry": "a.example.org", "repository": "b/c", "tag": "1.2" }),
            "a.example.org/b/c/PROGRAM:1.2",
        ),
    ] {
        let rendered = rendered(&json!({ "image": image })).with_nested();
        for pod in rendered.pods().filter(|pod| pod.component() != "mongodb") {
            let program = match pod.component() {
                "command" => "command-svc",
                "query" => "query-svc",
                "rebuild" | "smoke" => "microblog",
                other => other,
            };
            assert_eq!(pod.spec["containers"][0]["image"], expected.replace("PROGRAM", program));
        }
    }
    // Without a tag, the chart uses its appVersion, which is also a label.
    let defaults = Values::example("minikube").render();
    let query = defaults.find("Deployment", "microblog-query").unwrap();
    let version = query["metadata"]["labels"]["app.kubernetes.io/version"]
        .as_str()
        .unwrap();
    let image = query["spec"]["template"]["spec"]["containers"][0]["image"]
        .as_str()
        .unwrap();
    assert_eq!(image.rsplit_once(':').unwrap().1, version);
}

#[test]
fn names_leave_room_for_what_is_added_to_them() {
    let name = "a-release-with-a-name-as-long-as-helm-allows-one-53ch";
    let version = format!("--kube-version={NEWEST_KUBERNETES}");
    let rendered = run(tool("HELM"), ["template", name, "helm/microblog", &version]).succeeded();
    for object in Manifests::parse(&rendered).unwrap().iter() {
        let name = object["metadata"]["name"].as_str().unwrap();
        assert!(name.len() <= 63, "{name}");
    }
    assert!(rendered.contains(&format!("name: {}-command\n", name[..40].trim_end_matches('-'))));
}

/// All Secrets that a pod names, each with its key.
fn secrets(value: &Value) -> BTreeSet<String> {
    let inner: Vec<&Value> = match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(map) => map.values().collect(),
        _ => Vec::new(),
    };
    let secret = [&value["secretKeyRef"], &value["secret"]]
        .into_iter()
        .find(|secret| secret.is_object());
    let named = secret.map(|secret| {
        let key = secret["key"].as_str().or(secret["items"][0]["key"].as_str());
        format!("{} {}", secret["name"].as_str().unwrap(), key.unwrap())
    });
    inner.into_iter().flat_map(secrets).chain(named).collect()
}

#[test]
fn every_program_gets_the_secrets_that_it_needs_and_no_others() {
    let tls = [
        "microblog-database-ca ca.crt",
        "microblog-database-client tls-combined.pem",
    ];
    for (example, auth, database, tls) in [
        ("minikube", "microblog-auth", "microblog-mongodb", [].as_slice()),
        ("production", "microblog-keys", "microblog-database", &tls),
    ] {
        let manifests = Values::example(example).render().with_nested();
        for pod in manifests
            .pods()
            .filter(|pod| !["mongodb", "smoke"].contains(&pod.component()))
        {
            let keys: &[&str] = match pod.component() {
                "command" => &["signing-key", "refresh-secret", "client-secret", "public-keys"],
                "gateway" => &["cookie-secret", "client-secret"],
                "query" => &["public-keys"],
                _ => &[],
            };
            let keys = keys.iter().map(|key| format!("{auth} {key}"));
            // The gateway has no database.
            let uses_it = pod.component() != "gateway";
            let addresses = ["uri", "views-uri"].map(|key| format!("{database} {key}"));
            let tls: &[&str] = if uses_it { tls } else { &[] };
            let of_database = addresses.into_iter().filter(|_| uses_it);
            let expected = keys.chain(of_database).chain(tls.iter().map(ToString::to_string));
            assert_eq!(secrets(pod.spec), expected.collect(), "{example}, {}", pod.owner);
            let mounts = pod.spec["containers"][0]["volumeMounts"]
                .as_array()
                .into_iter()
                .flatten();
            let mounted = mounts.filter(|mount| mount["mountPath"] == "/etc/mongodb-tls").count();
            assert_eq!(mounted, tls.len().min(1), "{example}, {}", pod.owner);
        }
        let made: Vec<&Value> = manifests.of_kind("Secret").collect();
        assert_eq!(made.len(), if example == "production" { 0 } else { 2 });
        // Without these Secrets, the data and all tokens would be lost.
        assert!(
            made.iter()
                .all(|secret| secret["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep")
        );
    }
    // Helm deletes this Secret together with the release, because the user can provide its content again.
    let ingress = Values::example("ingress").render();
    let address = ingress.find("Secret", "microblog-mongodb").unwrap();
    let keys: Vec<&String> = address["stringData"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["uri", "views-uri"]);
    assert!(address["metadata"]["annotations"].is_null());
}

#[test]
fn whoever_watches_secrets_finds_every_deployment() {
    let production = Values::example("production").render();
    let deployments: Vec<&Value> = production.of_kind("Deployment").collect();
    assert_eq!(deployments.len(), 5);
    for deployment in deployments {
        assert_eq!(
            deployment["metadata"]["annotations"],
            json!({ "reloader.stakater.com/auto": "true" })
        );
    }
}

/// A paused Projection has a finalizer, which only the operator removes.
#[test]
fn projections_go_before_the_operator_does() {
    let hooks = |manifests: &Manifests| -> Vec<Value> {
        let annotations = manifests.iter().map(|object| &object["metadata"]["annotations"]);
        annotations
            .filter(|annotations| annotations["helm.sh/hook"].is_string())
            .cloned()
            .collect()
    };
    let hook = |when: &str| json!({ "helm.sh/hook": when, "helm.sh/hook-delete-policy": "before-hook-creation,hook-succeeded" });
    let with = Values::example("minikube").render();
    assert_eq!(with.of_kind("Projection").count(), 2);
    assert_eq!(hooks(&with), [hook("test"), hook("pre-delete")]);
    let without = Values::example("ingress").render();
    assert_eq!(hooks(&without), [hook("test")]);
    let left = without
        .iter()
        .find(|object| object["metadata"]["labels"]["app.kubernetes.io/component"] == "operator");
    assert_eq!(left, None);
}

#[test]
fn a_service_chooses_pods_of_the_same_node_only_if_asked() {
    let rendered = rendered(&json!({ "query": { "service": { "trafficDistribution": "PreferSameNode" } } }));
    let preference = |name| &rendered.find("Service", name).unwrap()["spec"]["trafficDistribution"];
    assert_eq!(preference("microblog-query"), "PreferSameNode");
    assert!(preference("microblog-command").is_null());
}

#[test]
fn query_svc_scales_by_live_streams_only_if_asked() {
    let metrics = |autoscaling: Value| {
        let rendered = rendered(&json!({ "query": { "autoscaling": autoscaling } }));
        let scaler = rendered.find("HorizontalPodAutoscaler", "microblog-query").unwrap();
        scaler["spec"]["metrics"].as_array().unwrap().clone()
    };
    let by_cpu = metrics(json!({ "enabled": true }));
    assert_eq!(by_cpu.len(), 1);
    let by_streams = json!({ "type": "Pods", "pods": {
        "metric": { "name": "live_connections" },
        "target": { "type": "AverageValue", "averageValue": "2000" },
    }});
    assert_eq!(
        metrics(json!({ "enabled": true, "targetConnections": 2000 })),
        [by_cpu[0].clone(), by_streams]
    );
}

/// A stream is also a connection.
#[test]
fn the_alert_about_live_streams_knows_the_lower_of_two_limits() {
    for (config, limit) in [
        (json!({}), 8192),
        (json!({ "http": { "max_connections": 4096 } }), 4096),
        (json!({ "live": { "max_connections": 1_000_000 } }), 16384),
    ] {
        let rendered = rendered(&json!({ "config": config, "metrics": { "prometheusRule": { "enabled": true } } }));
        let rules = rendered.find("PrometheusRule", "microblog").unwrap().to_string();
        assert!(rules.contains(&format!(" > 0.8 * {limit}\\n")), "{config}: {rules}");
    }
}

/// The rule of the route that takes a request. An exact path wins over a prefix, a longer path over a shorter one, and paths over
/// methods.
fn routed<'a>(route: &'a Value, method: &str, path: &str) -> Option<&'a Value> {
    let rules = route["spec"]["rules"].as_array().unwrap().iter();
    let matches = rules.flat_map(|rule| rule["matches"].as_array().unwrap().iter().map(move |one| (rule, one)));
    let fitting = matches.filter_map(|(rule, one)| {
        let value = one["path"]["value"].as_str().unwrap();
        let exact = one["path"]["type"] == "Exact";
        let directory = path.strip_prefix(value.trim_end_matches('/'));
        let below = !exact && directory.is_some_and(|rest| rest.starts_with('/'));
        let fits = (path == value || below) && (one["method"].is_null() || one["method"] == method);
        fits.then_some(((exact, value.len(), !one["method"].is_null()), rule))
    });
    fitting.max_by_key(|(precedence, _)| *precedence).map(|(_, rule)| rule)
}

#[test]
fn one_host_is_enough_with_the_gateway_past_it_and_without_it() {
    let (command, query) = (Some("microblog-command:8081"), Some("microblog-query:8082"));
    let gateway = Some("microblog-gateway:8080");
    let route = |key: &str, value: Value| json!({ "enabled": true, "parentRefs": [{ "name": "public" }], key: value });
    let without = |documentation: &str| {
        let route = route("documentation", documentation.into());
        json!({ "gateway": { "enabled": false }, "httpRoute": route })
    };
    let with = |bypass: bool| json!({ "httpRoute": route("bypassGateway", bypass.into()) });
    for (values, writes, reads, documentation, streams_documentation, rest) in [
        (with(false), gateway, gateway, gateway, gateway, gateway),
        (with(true), command, query, gateway, gateway, gateway),
        (without("command"), command, query, command, query, None),
        (without("query"), command, query, query, query, None),
        (without("none"), command, query, None, None, None),
    ] {
        let rendered = rendered(&values);
        let route = rendered.find("HTTPRoute", "microblog").unwrap();
        for method in ["POST", "PUT", "PATCH", "DELETE", "GET", "HEAD", "OPTIONS"] {
            let by_method = if ["GET", "HEAD", "OPTIONS"].contains(&method) {
                reads
            } else {
                writes
            };
            for (path, service) in [
                ("/v1/posts", by_method),
                ("/v1/users/me/posts", by_method),
                ("/v1/streams", by_method),
                ("/v1/streams/home", by_method),
                ("/v1/streams/tickets", by_method),
                // The views do not contain accounts and sessions, and command-svc, which signs the tokens, has the public keys.
                ("/v1/users/me", writes),
                ("/v1/sessions/1", writes),
                ("/.well-known/jwks.json", writes),
                ("/docs", documentation),
                ("/openapi.json", documentation),
                ("/asyncapi.json", streams_documentation),
                // The gateway answers probes and metrics to nobody who comes through a proxy.
                ("/metrics", rest),
                ("/readyz", rest),
                ("/", rest),
                ("/@somebody", rest),
            ] {
                let at = format!("{}: {method} {path}", values["httpRoute"]);
                let rule = routed(route, method, path);
                let backend = rule.map(|rule| &rule["backendRefs"][0]);
                let found = backend.map(|to| format!("{}:{}", to["name"].as_str().unwrap(), to["port"]));
                assert_eq!(found.as_deref(), service, "{at}");
                // Streams, and nothing else, may take as long as they like.
                let endless = path.starts_with("/v1/streams") && method == "GET";
                let expected = endless.then(|| json!({ "request": "0s", "backendRequest": "0s" }));
                assert_eq!(rule.and_then(|rule| rule.get("timeouts")), expected.as_ref(), "{at}");
            }
        }
    }
}

#[test]
fn an_ingress_leads_to_the_gateway_and_to_services_that_have_a_host() {
    let hosts = |values: Value| -> Vec<String> {
        let rendered = rendered(&values);
        let rules = rendered.find("Ingress", "microblog").unwrap()["spec"]["rules"].clone();
        let rules = rules.as_array().unwrap().iter();
        let first = |rule: &Value| rule["http"]["paths"][0].clone();
        rules
            .map(|rule| {
                let (path, service) = (&first(rule)["path"], &first(rule)["backend"]["service"]["name"]);
                [&rule["host"], path, service].map(|it| it.as_str().unwrap()).join(" ")
            })
            .collect()
    };
    let gateway = "microblog.local / microblog-gateway";
    assert_eq!(hosts(json!({ "ingress": { "enabled": true } })), [gateway]);
    let writing = json!({ "enabled": true, "commandHost": "write.example.org" });
    let expected = [gateway, "write.example.org /v1 microblog-command"];
    assert_eq!(hosts(json!({ "ingress": writing })), expected);
    let nowhere = ["--set=ingress.enabled=true,gateway.enabled=false"];
    let refused = Values::example("minikube").template(&nowhere);
    assert!(!refused.success);
    assert!(
        refused.stderr.contains("the Ingress needs ingress.commandHost"),
        "{refused}"
    );
}

#[test]
fn each_service_has_a_host_of_its_own_without_the_gateway() {
    let rendered = Values::example("ingress").render();
    let rules = rendered.find("Ingress", "microblog").unwrap()["spec"]["rules"]
        .as_array()
        .unwrap();
    let shared = ["/v1", "/docs", "/openapi.json"];
    // Probes and metrics are not routed.
    let expected = [
        ("command", [shared.as_slice(), &["/.well-known"]].concat()),
        ("query", [shared.as_slice(), &["/asyncapi.json"]].concat()),
    ];
    assert_eq!(rules.len(), expected.len());
    for (rule, (service, expected)) in rules.iter().zip(expected) {
        assert_eq!(rule["host"], format!("{service}.example.org"));
        let paths = rule["http"]["paths"].as_array().unwrap();
        let found: BTreeSet<&str> = paths.iter().map(|path| path["path"].as_str().unwrap()).collect();
        assert_eq!(found, expected.into_iter().collect());
        assert!(
            paths
                .iter()
                .all(|path| path["backend"]["service"]["name"] == format!("microblog-{service}"))
        );
    }
    let defaults = Values::example("minikube").render();
    assert!(
        ["Ingress", "HTTPRoute"]
            .iter()
            .all(|kind| defaults.of_kind(kind).next().is_none())
    );
}
