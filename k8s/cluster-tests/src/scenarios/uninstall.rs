//! What is left after `helm uninstall`.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use futures_util::future::{FutureExt as _, LocalBoxFuture};

use crate::installation::Kind;
use crate::namespace::Namespace;
use crate::narration::{quote, say};
use crate::programs::kubectl;
use crate::suite::{Scenario, Suite};

pub(crate) const UNINSTALL: Scenario = Scenario {
    name: "uninstall",
    shows: "helm uninstall keeps the keys, the passwords and the data, as it says, and nothing else",
    needs: &[],
    run,
};

/// The objects of every namespace.
const OF_KUBERNETES: [&str; 2] = ["configmap/kube-root-ca.crt", "serviceaccount/default"];
const KEPT: [&str; 3] = [
    "persistentvolumeclaim/data-microblog-mongodb-0",
    "secret/microblog-auth",
    "secret/microblog-mongodb",
];

fn run(suite: &mut Suite) -> LocalBoxFuture<'_, Result<()>> {
    async move {
        suite.installation(Kind::Bundled).await?;
        let installation = suite.take(Kind::Bundled).context("it was just made")?;
        // The Job that the tests themselves have created.
        let jobs = installation
            .namespace
            .kubectl()
            .args(["delete", "job", "verify", "--ignore-not-found", "--wait"]);
        jobs.run().await?;
        installation.uninstall().await?;
        let left = left_in(&installation.namespace).await?;
        let expected: BTreeSet<String> = KEPT.iter().chain(&OF_KUBERNETES).map(|&name| name.to_owned()).collect();
        quote(&left.iter().map(String::as_str).collect::<Vec<_>>().join("\n"));
        let surplus: Vec<_> = left.difference(&expected).collect();
        let missing: Vec<_> = expected.difference(&left).collect();
        ensure!(surplus.is_empty(), "uninstalling left {surplus:?}");
        ensure!(missing.is_empty(), "uninstalling removed {missing:?}");
        say("only what the chart says it keeps is left");
        Ok(())
    }
    .boxed_local()
}

/// Every namespaced object of every kind, except events, which only report the past, and metrics, which only report the present.
async fn left_in(namespace: &Namespace) -> Result<BTreeSet<String>> {
    let kinds = kubectl()
        .args(["api-resources", "--namespaced", "--verbs=list", "-o", "name"])
        .run()
        .await?;
    let of_objects = |kind: &&str| !kind.starts_with("events") && !kind.ends_with(".metrics.k8s.io");
    let kinds: Vec<&str> = kinds.lines().filter(of_objects).collect();
    ensure!(kinds.contains(&"pods"), "the API server lists no kinds");
    let found = namespace
        .kubectl()
        .args(["get", &kinds.join(","), "-o", "name", "--ignore-not-found"])
        .run()
        .await?;
    Ok(found.lines().map(str::to_owned).collect())
}
