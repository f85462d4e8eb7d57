//! The nodes, and operations on them.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::narration::say;
use crate::programs::{Program, kubectl};
use crate::settings::Settings;
use crate::waiting::{Seen, eventually};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) address: String,
}

/// How long it may take until the nodes of a started cluster are healthy.
const IN_ORDER_WITHIN: Duration = Duration::from_secs(120);

/// All nodes on which pods may run.
pub(crate) async fn nodes() -> Result<Vec<Node>> {
    let (listed, _) = eventually("every node is healthy", IN_ORDER_WITHIN, async || {
        let listed: Value = serde_json::from_str(&kubectl().args(["get", "nodes", "-o", "json"]).run().await?)?;
        let items = listed["items"].as_array().context("a list of nodes")?;
        let conditions: Vec<&Value> = items.iter().flat_map(taints).filter(|taint| passes(taint)).collect();
        Ok(if conditions.is_empty() {
            Seen::There(listed)
        } else {
            Seen::NotYet(format!("{conditions:?}"))
        })
    })
    .await?;
    let items = listed["items"].as_array().context("a list of nodes")?;
    let of = |item: &Value| -> Option<Node> {
        let addresses = item["status"]["addresses"].as_array()?;
        let internal = addresses.iter().find(|address| address["type"] == "InternalIP")?;
        Some(Node {
            name: item["metadata"]["name"].as_str()?.to_owned(),
            address: internal["address"].as_str()?.to_owned(),
        })
    };
    Ok(items.iter().filter(|item| takes_pods(item)).filter_map(of).collect())
}

fn taints(node: &Value) -> &[Value] {
    node["spec"]["taints"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Whether Kubernetes itself removes the taint when the node is healthy. It does not remove the taint of a cordon.
fn passes(taint: &Value) -> bool {
    let key = taint["key"].as_str().unwrap_or_default();
    key.starts_with("node.kubernetes.io/") && key != "node.kubernetes.io/unschedulable"
}

fn takes_pods(node: &Value) -> bool {
    let refuses = |taint: &Value| taint["effect"] != "PreferNoSchedule";
    node["spec"]["unschedulable"] != true && !taints(node).iter().any(refuses)
}

/// The name servers that the kubelet of a node configures in pods.
pub(crate) async fn nameservers(node: &Node) -> Result<Vec<IpAddr>> {
    let path = format!("/api/v1/nodes/{}/proxy/configz", node.name);
    let told: Value = serde_json::from_str(&kubectl().args(["get", "--raw", &path]).run().await?)?;
    let listed = told["kubeletconfig"]["clusterDNS"].as_array().context("clusterDNS")?;
    Ok(listed
        .iter()
        .filter_map(|address| address.as_str()?.parse().ok())
        .collect())
}

/// Evicts all pods from a node and waits until they are gone, as before a reboot.
pub(crate) async fn drain(node: &Node) -> Result<()> {
    let drain = kubectl().args([
        "drain",
        &node.name,
        "--ignore-daemonsets",
        "--delete-emptydir-data",
        "--timeout=300s",
    ]);
    drain.run().await.map(drop)
}

pub(crate) async fn uncordon(node: &Node) -> Result<()> {
    kubectl().args(["uncordon", &node.name]).run().await.map(drop)
}

/// Cuts a node off the network, until it joins again.
pub(crate) async fn cut(settings: &Settings, node: &Node) -> Result<()> {
    let command = settings.cut_node.as_deref().context("CUT_NODE is not set")?;
    say(format_args!("cutting {} off the network", node.name));
    Program::of_words(command)?.arg(&node.name).run().await.map(drop)
}

pub(crate) async fn join(settings: &Settings, node: &Node) -> Result<()> {
    let command = settings.join_node.as_deref().context("JOIN_NODE is not set")?;
    Program::of_words(command)?.arg(&node.name).run().await?;
    let (_, took) = eventually("the node ready again", Duration::from_secs(120), async || {
        let wait = kubectl().args(["wait", "--for=condition=Ready", "--timeout=1s"]);
        wait.arg(format!("node/{}", node.name)).run().await.map(Seen::There)
    })
    .await?;
    say(format_args!(
        "{} has joined again and is ready after {}",
        node.name,
        crate::narration::seconds(took)
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_control_plane_that_takes_no_pods_is_no_node_of_ours() {
        let taints = |effect: &str| json!({ "spec": { "taints": [{ "key": "node-role", "effect": effect }] } });
        assert!(takes_pods(&json!({ "spec": {} })));
        assert!(takes_pods(&taints("PreferNoSchedule")));
        assert!(!takes_pods(&taints("NoSchedule")));
        assert!(!takes_pods(&json!({ "spec": { "unschedulable": true } })));
    }
}
