//! Judges what NetworkPolicies allow, by the rules of `networking.k8s.io/v1`. If no policy selects a pod in a direction, all traffic in
//! that direction is allowed. Otherwise, the traffic is allowed if any of the policies that select the pod allows it.
//!
//! The policies may be rendered, or listed from a cluster. The flows may be declared in a test, or observed.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Deserialize;
use serde_json::Value;

pub type Labels = BTreeMap<String, String>;

/// One end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    Pod(Pod),
    /// Everything that is not a pod of the cluster: a client, an external database, the API server.
    Address(IpAddr),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    pub namespace: String,
    pub namespace_labels: Labels,
    pub labels: Labels,
    /// The address, if it is known. A policy may give its peers as IP blocks.
    pub address: Option<IpAddr>,
}

impl Pod {
    /// A pod in a namespace with only the label that Kubernetes itself sets.
    pub fn new<'a>(namespace: &str, labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let text = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        Self {
            namespace: namespace.to_owned(),
            namespace_labels: [text(("kubernetes.io/metadata.name", namespace))].into(),
            labels: labels.into_iter().map(text).collect(),
            address: None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Protocol {
    #[serde(rename = "TCP")]
    Tcp,
    #[serde(rename = "UDP")]
    Udp,
    #[serde(rename = "SCTP")]
    Sctp,
}

/// The first packet of a connection. The port is the pod's port, not the Service's, because policies are enforced behind Services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    pub from: Peer,
    pub to: Peer,
    pub protocol: Protocol,
    pub port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Allowed,
    /// The policies that select the pod in this direction. None of them allows the flow.
    Denied {
        direction: Direction,
        by: Vec<String>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Direction {
    Ingress,
    Egress,
}

/// NetworkPolicies. This module refuses fields that it does not know; it does not ignore them.
#[derive(Debug, Clone)]
pub struct Policies(Vec<Policy>);

impl Policies {
    /// Takes the policies from a list of objects, and leaves out objects of other kinds.
    ///
    /// # Errors
    /// If a policy has a field that this module does not know.
    pub fn parse<'a>(objects: impl IntoIterator<Item = &'a Value>) -> Result<Self, serde_json::Error> {
        let policies = objects.into_iter().filter(|object| object["kind"] == "NetworkPolicy");
        policies
            .cloned()
            .map(serde_json::from_value)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    pub fn judge(&self, flow: &Flow) -> Verdict {
        let directions = [
            (Direction::Egress, &flow.from, &flow.to),
            (Direction::Ingress, &flow.to, &flow.from),
        ];
        for (direction, subject, other) in directions {
            let Peer::Pod(subject) = subject else { continue };
            let selecting: Vec<&Policy> = self
                .0
                .iter()
                .filter(|policy| policy.concerns(direction) && policy.selects(subject))
                .collect();
            if !selecting.is_empty() && !selecting.iter().any(|policy| policy.allows(direction, other, flow)) {
                let by = selecting.iter().map(|policy| policy.metadata.name.clone()).collect();
                return Verdict::Denied { direction, by };
            }
        }
        Verdict::Allowed
    }
}

#[derive(Debug, Clone, Deserialize)]
struct Policy {
    metadata: Metadata,
    spec: Spec,
}

#[derive(Debug, Clone, Deserialize)]
struct Metadata {
    name: String,
    namespace: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Spec {
    #[serde(default)]
    pod_selector: Selector,
    policy_types: Option<Vec<Direction>>,
    #[serde(default)]
    ingress: Vec<Rule>,
    #[serde(default)]
    egress: Vec<Rule>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    /// An empty list means all peers.
    #[serde(default, alias = "from", alias = "to")]
    peers: Vec<PeerRule>,
    /// An empty list means all ports.
    #[serde(default)]
    ports: Vec<PortRule>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PeerRule {
    pod_selector: Option<Selector>,
    namespace_selector: Option<Selector>,
    ip_block: Option<Block>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Block {
    cidr: Cidr,
    #[serde(default)]
    except: Vec<Cidr>,
}

/// Ports by number. A named port could only be resolved with the containers of the pod, and our policies use numbers.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PortRule {
    #[serde(default = "tcp")]
    protocol: Protocol,
    port: Option<u16>,
    end_port: Option<u16>,
}

fn tcp() -> Protocol {
    Protocol::Tcp
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Selector {
    #[serde(default)]
    match_labels: Labels,
    #[serde(default)]
    match_expressions: Vec<Expression>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expression {
    key: String,
    operator: Operator,
    #[serde(default)]
    values: Vec<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

impl Policy {
    fn concerns(&self, direction: Direction) -> bool {
        match (&self.spec.policy_types, direction) {
            (Some(types), direction) => types.contains(&direction),
            (None, Direction::Ingress) => true,
            (None, Direction::Egress) => !self.spec.egress.is_empty(),
        }
    }

    fn selects(&self, pod: &Pod) -> bool {
        pod.namespace == self.metadata.namespace && self.spec.pod_selector.matches(&pod.labels)
    }

    fn allows(&self, direction: Direction, other: &Peer, flow: &Flow) -> bool {
        let rules = match direction {
            Direction::Ingress => &self.spec.ingress,
            Direction::Egress => &self.spec.egress,
        };
        rules.iter().any(|rule| {
            let peer = rule.peers.is_empty()
                || rule
                    .peers
                    .iter()
                    .any(|peer| peer.matches(other, &self.metadata.namespace));
            peer && (rule.ports.is_empty() || rule.ports.iter().any(|port| port.matches(flow)))
        })
    }
}

impl PeerRule {
    fn matches(&self, peer: &Peer, own_namespace: &str) -> bool {
        if let Some(block) = &self.ip_block {
            let address = match peer {
                Peer::Address(address) => Some(*address),
                Peer::Pod(pod) => pod.address,
            };
            return address.is_some_and(|address| {
                block.cidr.contains(address) && !block.except.iter().any(|except| except.contains(address))
            });
        }
        let Peer::Pod(pod) = peer else { return false };
        let namespace = match &self.namespace_selector {
            Some(selector) => selector.matches(&pod.namespace_labels),
            None => pod.namespace == own_namespace,
        };
        namespace
            && self
                .pod_selector
                .as_ref()
                .is_none_or(|selector| selector.matches(&pod.labels))
    }
}

impl PortRule {
    fn matches(&self, flow: &Flow) -> bool {
        self.protocol == flow.protocol
            && self
                .port
                .is_none_or(|port| (port..=self.end_port.unwrap_or(port)).contains(&flow.port))
    }
}

impl Selector {
    /// An empty selector matches everything.
    fn matches(&self, labels: &Labels) -> bool {
        self.match_labels
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value))
            && self
                .match_expressions
                .iter()
                .all(|expression| expression.matches(labels))
    }
}

impl Expression {
    fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        match self.operator {
            Operator::In => value.is_some_and(|value| self.values.contains(value)),
            Operator::NotIn => value.is_none_or(|value| !self.values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
struct Cidr {
    network: IpAddr,
    prefix: u32,
}

impl TryFrom<String> for Cidr {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parsed = text.split_once('/').and_then(|(network, prefix)| {
            let network: IpAddr = network.parse().ok()?;
            let prefix = prefix.parse().ok()?;
            let longest = if network.is_ipv4() { 32 } else { 128 };
            (prefix <= longest).then_some(Self { network, prefix })
        });
        parsed.ok_or_else(|| format!("{text:?} is not an IP block"))
    }
}

impl Cidr {
    fn contains(self, address: IpAddr) -> bool {
        match (self.network, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let shift = 32 - self.prefix;
                u32::from(network).checked_shr(shift) == u32::from(address).checked_shr(shift)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let shift = 128 - self.prefix;
                u128::from(network).checked_shr(shift) == u128::from(address).checked_shr(shift)
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policies(spec: Value) -> Policies {
        let object = json!({
            "kind": "NetworkPolicy", "metadata": { "name": "it", "namespace": "here" }, "spec": spec,
        });
        Policies::parse([&object]).unwrap()
    }

    fn pod(namespace: &str, app: &str) -> Peer {
        Peer::Pod(Pod::new(namespace, [("app", app)]))
    }

    fn flow(from: Peer, to: Peer, port: u16) -> Flow {
        Flow {
            from,
            to,
            protocol: Protocol::Tcp,
            port,
        }
    }

    #[test]
    fn who_is_not_selected_is_free_and_who_is_selected_needs_a_rule() {
        let deny = policies(json!({ "podSelector": { "matchLabels": { "app": "a" } }, "policyTypes": ["Ingress"] }));
        assert_eq!(
            deny.judge(&flow(pod("here", "b"), pod("here", "c"), 1)),
            Verdict::Allowed
        );
        assert_eq!(
            deny.judge(&flow(pod("here", "a"), pod("here", "b"), 1)),
            Verdict::Allowed
        );
        assert_eq!(
            deny.judge(&flow(pod("here", "b"), pod("there", "a"), 1)),
            Verdict::Allowed
        );
        let denied = Verdict::Denied {
            direction: Direction::Ingress,
            by: vec!["it".to_owned()],
        };
        assert_eq!(deny.judge(&flow(pod("here", "b"), pod("here", "a"), 1)), denied);
    }

    #[test]
    fn a_selector_of_pods_alone_means_the_own_namespace() {
        let rule = |peer: Value| policies(json!({ "podSelector": {}, "ingress": [{ "from": [peer] }] }));
        let own = rule(json!({ "podSelector": { "matchLabels": { "app": "b" } } }));
        assert_eq!(
            own.judge(&flow(pod("here", "b"), pod("here", "a"), 1)),
            Verdict::Allowed
        );
        assert_ne!(
            own.judge(&flow(pod("there", "b"), pod("here", "a"), 1)),
            Verdict::Allowed
        );
        let both = rule(json!({
            "podSelector": { "matchExpressions": [{ "key": "app", "operator": "NotIn", "values": ["c"] }] },
            "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "there" } },
        }));
        assert_eq!(
            both.judge(&flow(pod("there", "b"), pod("here", "a"), 1)),
            Verdict::Allowed
        );
        assert_ne!(
            both.judge(&flow(pod("there", "c"), pod("here", "a"), 1)),
            Verdict::Allowed
        );
        assert_ne!(
            both.judge(&flow(pod("here", "b"), pod("here", "a"), 1)),
            Verdict::Allowed
        );
    }

    #[test]
    fn ports_and_blocks_have_ends() {
        let egress = policies(json!({
            "podSelector": {},
            "policyTypes": ["Egress"],
            "egress": [{
                "to": [{ "ipBlock": { "cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"] } }],
                "ports": [{ "port": 80, "endPort": 90 }],
            }],
        }));
        let to = |address: &str, port| flow(pod("here", "a"), Peer::Address(address.parse().unwrap()), port);
        assert_eq!(egress.judge(&to("10.2.3.4", 90)), Verdict::Allowed);
        for refused in [
            to("10.2.3.4", 91),
            to("10.1.3.4", 80),
            to("11.0.0.1", 80),
            to("::1", 80),
        ] {
            assert_ne!(egress.judge(&refused), Verdict::Allowed, "{refused:?}");
        }
        let udp = Flow {
            protocol: Protocol::Udp,
            ..to("10.2.3.4", 80)
        };
        assert_ne!(egress.judge(&udp), Verdict::Allowed);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let object = json!({
            "kind": "NetworkPolicy", "metadata": { "name": "it", "namespace": "here" },
            "spec": { "podSelector": {}, "ingres": [] },
        });
        assert!(Policies::parse([&object]).unwrap_err().to_string().contains("ingres"));
    }
}
