//! Has an API server validate objects of third-party kinds, with the definitions of these kinds.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::{FutureExt as _, LocalBoxFuture};
use serde_json::{Value, json};

use crate::installation;
use crate::namespace::Namespace;
use crate::narration::{quote, say};
use crate::programs::kubectl;
use crate::suite::{Need, Scenario, Suite};

pub(crate) const CRDS: Scenario = Scenario {
    name: "crds",
    shows: "an API server that has the definitions accepts HTTPRoute, ServiceMonitor, PrometheusRule and ScaledObject",
    needs: &[Need::Definitions],
    run,
};

/// A kind, the full name of its definition, and the beginning of the name of the file with its definition.
struct Definition {
    kind: &'static str,
    name: &'static str,
    file: &'static str,
}

const DEFINITIONS: [Definition; 4] = [
    Definition {
        kind: "HTTPRoute",
        name: "httproutes.gateway.networking.k8s.io",
        file: "httproutes-",
    },
    Definition {
        kind: "ServiceMonitor",
        name: "servicemonitors.monitoring.coreos.com",
        file: "servicemonitors-",
    },
    Definition {
        kind: "PrometheusRule",
        name: "prometheusrules.monitoring.coreos.com",
        file: "prometheusrules-",
    },
    Definition {
        kind: "ScaledObject",
        name: "scaledobjects.keda.sh",
        file: "scaledobjects-",
    },
];

/// The values with which the chart renders all these kinds.
const VALUES: [&str; 6] = [
    "--set=httpRoute.enabled=true,httpRoute.parentRefs[0].name=gateway,httpRoute.hostnames[0]=microblog.example.org",
    "--set=metrics.serviceMonitor.enabled=true",
    "--set=metrics.prometheusRule.enabled=true",
    "--set=projector.keda.enabled=true",
    "--set=projector.keda.prometheus.serverAddress=http://prometheus.monitoring.svc:9090",
    "--set=mongodb.bundled.enabled=false,mongodb.uri=mongodb://db.example.org",
];

fn run(suite: &mut Suite) -> LocalBoxFuture<'_, Result<()>> {
    async move {
        let namespace = Namespace::create("microblog-test-crds").await?;
        let mut added = Vec::new();
        let outcome = judge(suite, &namespace, &mut added).await;
        namespace.delete().await?;
        // Definitions that the cluster had before are kept.
        for name in added {
            kubectl().args(["delete", "crd", name, "--wait"]).run().await?;
        }
        outcome
    }
    .boxed_local()
}

async fn judge(suite: &Suite, namespace: &Namespace, added: &mut Vec<&'static str>) -> Result<()> {
    let directory = suite.settings.crds.as_deref().context("CRDS is not set")?;
    for definition in &DEFINITIONS {
        let get = kubectl().args(["get", "crd", definition.name, "--ignore-not-found", "-o", "name"]);
        if !get.run().await?.is_empty() {
            say(format_args!("the cluster has {} already", definition.name));
            continue;
        }
        let file = find(directory, definition.file)?;
        // The definitions are too large for the annotation of a client-side apply.
        let apply = kubectl().args(["apply", "--server-side", "-f", &file.display().to_string()]);
        apply.run().await?;
        added.push(definition.name);
        let wait = kubectl().args(["wait", "--for=condition=Established", "--timeout=60s"]);
        wait.arg(format!("crd/{}", definition.name)).run().await?;
    }
    for definition in &DEFINITIONS {
        let manifests = rendered(&suite.settings.repository, namespace, definition.kind).await?;
        ensure!(!manifests.is_empty(), "the chart renders no {}", definition.kind);
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": manifests }).to_string();
        let apply = namespace
            .kubectl()
            .args(["apply", "--validate=strict", "-f", "-"])
            .input(list);
        quote(&apply.run().await?);
        is_refused_when_wrong(namespace, &manifests[0]).await?;
    }
    Ok(())
}

/// Checks that a wrong object is refused. An API server that accepts everything would prove nothing.
async fn is_refused_when_wrong(namespace: &Namespace, manifest: &Value) -> Result<()> {
    let mut wrong = manifest.clone();
    wrong["spec"] = json!("nothing of the kind");
    let apply = namespace
        .kubectl()
        .args(["apply", "--dry-run=server", "-f", "-"])
        .input(wrong.to_string());
    ensure!(apply.run().await.is_err(), "a wrong {} was accepted", manifest["kind"]);
    Ok(())
}

/// The objects of a kind that the chart renders, as kubectl reads them.
async fn rendered(repository: &Path, namespace: &Namespace, kind: &str) -> Result<Vec<Value>> {
    let all = installation::template(repository, namespace, &VALUES).await?;
    let convert = kubectl().args([
        "create",
        "--dry-run=client",
        "--validate=false",
        "-o",
        "json",
        "-f",
        "-",
    ]);
    let of_kind: Vec<&str> = all
        .split("\n---\n")
        .filter(|document| document.lines().any(|line| line == format!("kind: {kind}")))
        .collect();
    let mut manifests = Vec::new();
    for document in of_kind {
        let text = convert.clone().input(document).run().await?;
        manifests.push(serde_json::from_str(&text).with_context(|| format!("a {kind} as JSON"))?);
    }
    Ok(manifests)
}

/// The file in the directory whose name begins with `prefix`, for any version.
fn find(directory: &Path, prefix: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    let found = entries
        .flatten()
        .find(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    let found = found.with_context(|| format!("there is no {prefix}*.yaml in {}", directory.display()))?;
    Ok(found.path())
}
