//! Tests which flows the rendered NetworkPolicies allow, and which flows they deny.

use std::net::IpAddr;

use manifest_tests::manifests::Manifests;
use manifest_tests::network::{Flow, Peer, Pod, Policies, Protocol, Verdict};
use manifest_tests::render::{NAMESPACE, RELEASE, Values};

const INTERNET: &str = "203.0.113.7";
const API_SERVER: &str = "10.96.0.1";

fn ours(component: &str) -> Peer {
    Peer::Pod(Pod::new(
        NAMESPACE,
        [
            ("app.kubernetes.io/name", "microblog"),
            ("app.kubernetes.io/instance", RELEASE),
            ("app.kubernetes.io/component", component),
        ],
    ))
}

fn pod(namespace: &str) -> Peer {
    Peer::Pod(Pod::new(namespace, [("app", "any")]))
}

fn dns() -> Peer {
    Peer::Pod(Pod::new("kube-system", [("k8s-app", "kube-dns")]))
}

fn address(text: &str) -> Peer {
    Peer::Address(text.parse::<IpAddr>().unwrap())
}

fn tcp(from: Peer, to: Peer, port: u16) -> Flow {
    Flow {
        from,
        to,
        protocol: Protocol::Tcp,
        port,
    }
}

fn policies(manifests: &Manifests) -> Policies {
    Policies::parse(manifests.iter()).unwrap()
}

#[track_caller]
fn judge(values: &str, allowed: Vec<Flow>, denied: Vec<Flow>) {
    let manifests = Values::example(values).render().with_nested();
    let policies = policies(&manifests);
    // All components in the flows must be components of the chart's pods.
    let components: Vec<&str> = manifests.pods().map(|pod| pod.component()).collect();
    for flow in allowed.iter().chain(&denied) {
        for peer in [&flow.from, &flow.to] {
            if let Peer::Pod(pod) = peer
                && let Some(component) = pod.labels.get("app.kubernetes.io/component")
            {
                assert!(
                    components.contains(&component.as_str()) || component == "mongodb",
                    "{values} has no component {component}"
                );
            }
        }
    }
    for flow in allowed {
        assert_eq!(policies.judge(&flow), Verdict::Allowed, "{values}: {flow:?}");
    }
    for flow in denied {
        assert_ne!(policies.judge(&flow), Verdict::Allowed, "{values} allows {flow:?}");
    }
}

/// The flows that are the same for all releases: allowed ones and denied ones.
fn always(workers: &[&str]) -> (Vec<Flow>, Vec<Flow>) {
    let mut allowed = vec![
        tcp(pod("monitoring"), ours("gateway"), 8080),
        tcp(pod("monitoring"), ours("command"), 8081),
        tcp(pod("monitoring"), ours("query"), 8082),
        tcp(pod("monitoring"), ours("projector"), 8083),
        tcp(pod("monitoring"), ours("operator"), 8084),
        tcp(ours("smoke"), ours("gateway"), 8080),
        tcp(ours("gateway"), ours("command"), 8081),
        tcp(ours("gateway"), ours("query"), 8082),
        tcp(ours("operator"), address(API_SERVER), 443),
        tcp(ours("operator"), address(API_SERVER), 6443),
    ];
    for component in [
        "gateway",
        "command",
        "query",
        "projector",
        "operator",
        "rebuild",
        "smoke",
    ] {
        for protocol in [Protocol::Udp, Protocol::Tcp] {
            allowed.push(Flow {
                from: ours(component),
                to: dns(),
                protocol,
                port: 53,
            });
            // NodeLocal DNSCache. Its address is not the address of a pod.
            allowed.push(Flow {
                from: ours(component),
                to: address("169.254.20.10"),
                protocol,
                port: 53,
            });
        }
    }
    let mut denied = vec![
        // command-svc and query-svc share only events.
        tcp(ours("query"), ours("command"), 8081),
        tcp(ours("command"), ours("query"), 8082),
        // They know nothing of the gateway, and it knows nothing but them.
        tcp(ours("query"), ours("gateway"), 8080),
        tcp(ours("command"), ours("gateway"), 8080),
        tcp(ours("gateway"), ours("command"), 8082),
        tcp(ours("gateway"), ours("projector"), 8083),
        tcp(ours("gateway"), ours("operator"), 8084),
        tcp(ours("gateway"), ours("mongodb"), 27017),
        // Nobody may call a component that has no API.
        tcp(ours("command"), ours("projector"), 8083),
        tcp(ours("operator"), ours("projector"), 8083),
        tcp(pod("default"), ours("projector"), 8083),
        tcp(pod("default"), ours("operator"), 8084),
        tcp(address(INTERNET), ours("projector"), 8083),
        tcp(address(INTERNET), ours("operator"), 8084),
        tcp(pod("monitoring"), ours("rebuild"), 8083),
        tcp(pod("monitoring"), ours("smoke"), 8081),
        // Other ports of components that have an allowed port.
        tcp(pod("monitoring"), ours("projector"), 22),
        tcp(address(INTERNET), ours("command"), 8082),
        // The smoke test is a client of the gateway.
        tcp(ours("smoke"), ours("command"), 8081),
        tcp(ours("smoke"), address(API_SERVER), 443),
    ];
    for component in workers {
        denied.push(tcp(ours(component), address(INTERNET), 443));
        denied.push(tcp(ours(component), address(INTERNET), 80));
        denied.push(tcp(ours(component), pod("default"), 8080));
    }
    for component in ["gateway", "command", "query", "projector", "rebuild", "smoke"] {
        denied.push(tcp(ours(component), address(API_SERVER), 443));
        denied.push(tcp(ours(component), address(API_SERVER), 6443));
    }
    (allowed, denied)
}

#[test]
fn on_minikube() {
    let (mut allowed, mut denied) = always(&["gateway", "command", "query", "projector", "rebuild", "mongodb"]);
    for component in ["command", "query", "projector", "operator", "rebuild"] {
        allowed.push(tcp(ours(component), ours("mongodb"), 27017));
        denied.push(tcp(ours(component), address(INTERNET), 27017));
    }
    for client in [address(INTERNET), pod("default"), pod(NAMESPACE)] {
        allowed.push(tcp(client.clone(), ours("gateway"), 8080));
        allowed.push(tcp(client.clone(), ours("command"), 8081));
        allowed.push(tcp(client.clone(), ours("query"), 8082));
        denied.push(tcp(client, ours("mongodb"), 27017));
    }
    allowed.push(Flow {
        from: ours("mongodb"),
        to: dns(),
        protocol: Protocol::Udp,
        port: 53,
    });
    denied.push(tcp(ours("smoke"), ours("mongodb"), 27017));
    denied.push(tcp(pod("monitoring"), ours("mongodb"), 27017));
    denied.push(tcp(ours("mongodb"), ours("command"), 8081));
    judge("minikube", allowed, denied);
}

#[test]
fn in_production() {
    let (mut allowed, mut denied) = always(&["gateway", "command", "query", "projector", "operator", "rebuild"]);
    for component in ["command", "query", "projector", "operator", "rebuild"] {
        allowed.push(tcp(ours(component), address("10.20.0.5"), 27017));
        allowed.push(tcp(ours(component), pod("monitoring"), 4317));
        denied.push(tcp(ours(component), address("10.21.0.5"), 27017));
        denied.push(tcp(ours(component), pod("monitoring"), 9090));
        denied.push(tcp(ours(component), pod("default"), 4317));
    }
    allowed.push(tcp(ours("gateway"), pod("monitoring"), 4317));
    denied.push(tcp(ours("gateway"), address("10.20.0.5"), 27017));
    for component in ["gateway", "command", "query", "projector", "operator", "rebuild"] {
        // This example restricts the DNS servers.
        denied.push(tcp(ours(component), address(INTERNET), 53));
    }
    allowed.push(tcp(pod("gateways"), ours("gateway"), 8080));
    allowed.push(tcp(pod("gateways"), ours("command"), 8081));
    allowed.push(tcp(pod("gateways"), ours("query"), 8082));
    for stranger in [address(INTERNET), pod("default"), pod(NAMESPACE)] {
        denied.push(tcp(stranger.clone(), ours("gateway"), 8080));
        denied.push(tcp(stranger.clone(), ours("command"), 8081));
        denied.push(tcp(stranger, ours("query"), 8082));
    }
    // Of the namespaces `gateways` and `monitoring`, only `monitoring` may connect to the projector.
    denied.push(tcp(pod("gateways"), ours("projector"), 8083));
    denied.push(tcp(ours("operator"), address(INTERNET), 443));
    judge("production", allowed, denied);
}

/// For each component there is a policy that selects its pods. So none of our pods is without a policy.
#[test]
fn every_pod_has_a_policy_of_its_own() {
    for values in Values::all() {
        let manifests = values.render().with_nested();
        if manifests.of_kind("NetworkPolicy").next().is_none() {
            assert_eq!(values.name, "ingress", "only that example disables the NetworkPolicies");
            continue;
        }
        for pod in manifests.pods() {
            let name = format!("microblog-{}", pod.component());
            let policy = manifests
                .find("NetworkPolicy", &name)
                .unwrap_or_else(|| panic!("{}: the NetworkPolicy {name} does not exist", values.name));
            let selector = policy["spec"]["podSelector"]["matchLabels"].as_object().unwrap();
            assert!(
                selector
                    .iter()
                    .all(|(key, value)| pod.metadata["labels"][key] == *value),
                "{}: {name}",
                values.name
            );
        }
    }
}
