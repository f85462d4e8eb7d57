//! Compares the NetworkPolicies with the actual connections. A cluster that does not enforce the policies shows both: which connections
//! programs really make, and whether the policies would allow them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::future::{FutureExt as _, LocalBoxFuture};
use manifest_tests::network::{Flow, Labels, Peer, Pod, Policies, Protocol, Verdict};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::projection;
use crate::cluster::{self, Node};
use crate::installation::{Installation, Kind};
use crate::narration::{quote, say};
use crate::programs::{Program, kubectl};
use crate::suite::{Need, Scenario, Suite};

pub(crate) const POLICIES: Scenario = Scenario {
    name: "policies",
    shows: "the NetworkPolicies allow every connection that the pods were seen to make",
    needs: &[Need::Flows],
    run,
};

const BETWEEN_LOOKS: Duration = Duration::from_secs(1);
/// Address, whether it is the node's address, namespace, labels. Not separated by tabs, because kubectl turns them into columns.
const PODS_AS_LINES: &str =
    r#"jsonpath={.status.podIP}|{.spec.hostNetwork}|{.metadata.namespace}|{.metadata.labels}{"\n"}"#;
/// Connections that must be among those that were seen. A record without them is incomplete. Only the pods that start during the record
/// resolve names meanwhile.
const EXPECTED: [&str; 10] = [
    "command -> mongodb:27017",
    "query -> mongodb:27017",
    "projector -> mongodb:27017",
    "operator -> mongodb:27017",
    "rebuild -> mongodb:27017",
    "smoke -> gateway:8080",
    "gateway -> command:8081",
    "gateway -> query:8082",
    "rebuild -> dns:53",
    "smoke -> dns:53",
];

fn run(suite: &mut Suite) -> LocalBoxFuture<'_, Result<()>> {
    async move {
        let flows = suite.settings.flows.clone().context("FLOWS is not set")?;
        let nodes = suite.nodes.clone();
        let installation = suite.installation(Kind::Bundled).await?;
        let mut record = Record::new(&nodes).await?;
        // Everything that the installation does in normal operation, and the Jobs that come and go.
        let act = async {
            let (_, report) = installation
                .under_load("normal operation", async {
                    installation.helm_test().await?;
                    projection::rebuild(installation).await
                })
                .await?;
            report.expect_no_failure()
        };
        tokio::select! {
            acted = act => acted?,
            failed = record.keep(&flows) => failed?,
        }
        judge(installation, &record).await
    }
    .boxed_local()
}

async fn judge(installation: &Installation, record: &Record) -> Result<()> {
    let policies = installation.namespace.get(&["networkpolicies"]).await?;
    let policies = Policies::parse(policies["items"].as_array().into_iter().flatten())?;
    let mut seen: BTreeMap<String, Verdict> = BTreeMap::new();
    for flow in record.flows() {
        if concerns(&flow, &installation.namespace.name) {
            let verdict = policies.judge(&flow);
            let name = format!("{} -> {}:{}", name(&flow.from), name(&flow.to), flow.port);
            // Another connection between the same two peers must not hide a denial.
            seen.entry(name)
                .and_modify(|before| {
                    if *before == Verdict::Allowed {
                        *before = verdict.clone()
                    }
                })
                .or_insert(verdict);
        }
    }
    let mut denied = Vec::new();
    for (name, verdict) in &seen {
        match verdict {
            Verdict::Allowed => quote(&format!("allowed  {name}")),
            Verdict::Denied { direction, by } => {
                quote(&format!("DENIED   {name}: {direction:?} by {}", by.join(", ")));
                denied.push(name);
            }
        }
    }
    let missing: Vec<_> = EXPECTED.iter().filter(|name| !seen.contains_key(**name)).collect();
    ensure!(denied.is_empty(), "the policies would have denied {denied:?}");
    ensure!(missing.is_empty(), "these connections were not seen: {missing:?}");
    say(format_args!("{} connections, all allowed", seen.len()));
    Ok(())
}

fn concerns(flow: &Flow, namespace: &str) -> bool {
    [&flow.from, &flow.to]
        .into_iter()
        .any(|peer| matches!(peer, Peer::Pod(pod) if pod.namespace == namespace))
}

fn name(peer: &Peer) -> String {
    match peer {
        Peer::Pod(pod) if *pod == dns() => "dns".to_owned(),
        Peer::Pod(pod) => {
            let component = pod.labels.get("app.kubernetes.io/component");
            component
                .cloned()
                .unwrap_or_else(|| format!("a pod of {}", pod.namespace))
        }
        Peer::Address(address) => address.to_string(),
    }
}

/// The pods that resolve names, as the chart's default describes them.
fn dns() -> Pod {
    Pod::new("kube-system", [("k8s-app", "kube-dns")])
}

/// The connections and pods that were seen over some time.
struct Record {
    pods: HashMap<IpAddr, Pod>,
    connections: BTreeSet<(String, IpAddr, IpAddr, u16)>,
    nodes: Vec<IpAddr>,
    /// The name servers that the kubelets configure in pods, if they are not pods.
    nameservers: Vec<IpAddr>,
}

impl Record {
    async fn new(nodes: &[Node]) -> Result<Self> {
        let mut nameservers = Vec::new();
        for node in nodes {
            nameservers.extend(cluster::nameservers(node).await?);
        }
        Ok(Self {
            pods: HashMap::new(),
            connections: BTreeSet::new(),
            nodes: nodes.iter().filter_map(|node| node.address.parse().ok()).collect(),
            nameservers,
        })
    }

    /// Records until it is dropped or fails. It watches the pods instead of polling, because some pods live only for a second.
    async fn keep(&mut self, flows: &str) -> Result<()> {
        let watch = kubectl().args(["get", "pods", "--all-namespaces", "--watch", "--output", PODS_AS_LINES]);
        let mut watch = watch.command().stdout(Stdio::piped()).spawn()?;
        let output = watch.stdout.take().context("its output is a pipe")?;
        let mut lines = BufReader::new(output).lines();
        let mut looks = tokio::time::interval(BETWEEN_LOOKS);
        loop {
            tokio::select! {
                line = lines.next_line() => {
                    let line = line?.context("kubectl has stopped watching")?;
                    self.pods.extend(pod_of(&line));
                }
                _ = looks.tick() => self.look(flows).await?,
            }
        }
    }

    async fn look(&mut self, flows: &str) -> Result<()> {
        let printed = Program::of_words(flows)?.run().await?;
        for line in printed.lines() {
            let connection = parse(line);
            let connection =
                connection.with_context(|| format!("FLOWS printed {line:?}, not PROTOCOL SOURCE DESTINATION PORT"))?;
            self.connections.insert(connection);
        }
        Ok(())
    }

    /// The flows that pods began. A connection from a node's address comes from the kubelet, which no policy blocks. Or it got that address
    /// on its way, and was seen with its own address where it began.
    fn flows(&self) -> impl Iterator<Item = Flow> {
        let connections = self.connections.iter();
        connections
            .filter(|(_, from, ..)| !self.nodes.contains(from))
            .map(|(protocol, from, to, port)| Flow {
                from: self.peer(*from),
                to: self.peer(*to),
                protocol: if protocol == "udp" {
                    Protocol::Udp
                } else {
                    Protocol::Tcp
                },
                port: *port,
            })
    }

    fn peer(&self, address: IpAddr) -> Peer {
        match self.pods.get(&address) {
            Some(pod) => Peer::Pod(pod.clone()),
            None if self.nameservers.contains(&address) => Peer::Pod(dns()),
            None => Peer::Address(address),
        }
    }
}

/// Parses a line of [`PODS_AS_LINES`]. None for a pod that has no address of its own, or none yet.
fn pod_of(line: &str) -> Option<(IpAddr, Pod)> {
    let mut fields = line.splitn(4, '|');
    let address: IpAddr = fields.next()?.parse().ok()?;
    // Pods in the host network count as nodes.
    if fields.next()? == "true" {
        return None;
    }
    let namespace = fields.next()?;
    let labels: Labels = serde_json::from_str(fields.next()?).unwrap_or_default();
    let pod = Pod {
        labels,
        address: Some(address),
        ..Pod::new(namespace, [])
    };
    Some((address, pod))
}

fn parse(line: &str) -> Option<(String, IpAddr, IpAddr, u16)> {
    let mut words = line.split_whitespace();
    let protocol = words.next().filter(|protocol| matches!(*protocol, "tcp" | "udp"))?;
    let (from, to) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let port = words.next()?.parse().ok()?;
    words.next().is_none().then(|| (protocol.to_owned(), from, to, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_known_by_its_own_address_only() {
        let (address, pod) = pod_of("10.0.0.1||here|{\"app\":\"a\"}").unwrap();
        assert_eq!(Some(address), pod.address);
        assert_eq!((pod.namespace.as_str(), pod.labels["app"].as_str()), ("here", "a"));
        assert_eq!(pod_of("||here|{}"), None);
        assert_eq!(pod_of("10.0.0.1|true|here|{}"), None);
    }

    #[test]
    fn a_line_is_protocol_source_destination_and_port() {
        let expected = (
            "tcp".to_owned(),
            "10.0.0.1".parse().unwrap(),
            "10.0.0.2".parse().unwrap(),
            27017,
        );
        assert_eq!(parse("tcp 10.0.0.1 10.0.0.2 27017"), Some(expected));
        for wrong in [
            "",
            "tcp 10.0.0.1 10.0.0.2",
            "icmp 10.0.0.1 10.0.0.2 0",
            "tcp a b 1",
            "tcp 10.0.0.1 10.0.0.2 1 2",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
