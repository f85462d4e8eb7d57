//! The first installation, until it is ready, and first checks.

use anyhow::{Result, bail, ensure};
use futures_util::future::{FutureExt as _, LocalBoxFuture};
use serde_json::json;

use crate::installation::Kind;
use crate::namespace::Namespace;
use crate::narration::quote;
use crate::port_forward::PortForward;
use crate::programs::Program;
use crate::suite::{Need, Scenario, Suite};

pub(crate) const INSTALL: Scenario = Scenario {
    name: "install",
    shows: "helm install to ready, helm test; only restricted pods are admitted",
    needs: &[],
    run: install,
};

pub(crate) const POSTMAN: Scenario = Scenario {
    name: "postman",
    shows: "the Postman collection passes through kubectl port-forward",
    needs: &[Need::Npm],
    run: postman,
};

fn install(suite: &mut Suite) -> LocalBoxFuture<'_, Result<()>> {
    async move {
        let installation = suite.installation(Kind::Bundled).await?;
        refuses_root(&installation.namespace).await?;
        let kinds = "deployments,statefulsets,pods,services,poddisruptionbudgets,networkpolicies";
        quote(&installation.namespace.kubectl().args(["get", kinds]).run().await?);
        quote(
            &installation
                .namespace
                .kubectl()
                .args(["get", "projections"])
                .output()
                .await?,
        );
        installation.helm_test().await
    }
    .boxed_local()
}

/// Checks that the namespace refuses a pod that runs as root. Otherwise it would mean nothing that all pods were admitted.
async fn refuses_root(namespace: &Namespace) -> Result<()> {
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": "as-root" },
        "spec": { "containers": [{ "name": "any", "image": "any", "securityContext": { "runAsUser": 0 } }] },
    });
    let apply = namespace
        .kubectl()
        .args(["apply", "--dry-run=server", "-f", "-"])
        .input(pod.to_string());
    match apply.run().await {
        Ok(_) => bail!("the namespace admits a pod that runs as root"),
        Err(error) => {
            let refusal = error.to_string();
            ensure!(refusal.contains("violates PodSecurity \"restricted"), "{refusal}");
            Ok(())
        }
    }
}

/// The useful part of a failure: the list of failures, or the end of the output if there is no list.
fn tail_of<'a>(told: &'a str, failures: &'a str) -> &'a str {
    if failures.is_empty() {
        &told[told.floor_char_boundary(told.len().saturating_sub(2_000))..]
    } else {
        failures
    }
}

fn postman(suite: &mut Suite) -> LocalBoxFuture<'_, Result<()>> {
    async move {
        let settings = suite.settings.clone();
        let namespace = suite.installation(Kind::Bundled).await?.namespace.clone();
        let command = PortForward::start(&namespace, "microblog-command", 8081).await?;
        let query = PortForward::start(&namespace, "microblog-query", 8082).await?;
        let program = |name: &str| Program::new(&settings.repository.join("postman").join(name).display().to_string());
        program("install").run().await?;
        let newman = program("run")
            .args(["minikube", "--env-var", &format!("commandUrl={}", command.url)])
            .args(["--env-var", &format!("queryUrl={}", query.url)])
            .args(["--color", "off", "--disable-unicode"]);
        let told = newman.output().await?;
        // The summary, and the list of failures if there are any.
        let failures = told.find("#  failure").map_or("", |at| &told[at..]);
        let summary = told.lines().filter(|line| line.starts_with('|'));
        quote(&summary.collect::<Vec<_>>().join("\n"));
        ensure!(
            told.contains("assertions") && failures.is_empty(),
            "newman failed:\n{}",
            tail_of(&told, failures)
        );
        Ok(())
    }
    .boxed_local()
}
