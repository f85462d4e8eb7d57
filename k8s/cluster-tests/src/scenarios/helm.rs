//! What people do with Helm and a Projection that they have patched, with each version of Helm. Helm 3 does a three-way merge on the
//! client. Helm 4 applies on the server, and waits for every condition.

use anyhow::{Context as _, Result, ensure};
use futures_util::future::{FutureExt as _, LocalBoxFuture};
use serde_json::json;

use super::projection::{get, patch, settled, wait_for_phase};
use crate::installation::{self, Flags};
use crate::namespace::Namespace;
use crate::narration::say;
use crate::programs::Program;
use crate::suite::{Scenario, Suite};

pub(crate) const HELM: Scenario = Scenario {
    name: "helm",
    shows: "with each Helm: a release that can't start is uninstalled; upgrade and rollback keep documented patches, also in a pause",
    needs: &[],
    run,
};

fn run(suite: &mut Suite) -> LocalBoxFuture<'_, Result<()>> {
    async move {
        let settings = suite.settings.clone();
        ensure!(!settings.helms.is_empty(), "HELMS names no Helm");
        for helm in &settings.helms {
            let version = Program::new(helm).args(["version", "--template", "{{.Version}}"]);
            say(format_args!("Helm {}", version.run().await?));
            let namespace = Namespace::create("microblog-test-helm").await?;
            let chart = settings.repository.join("helm/microblog").display().to_string();
            let release = Release {
                helm,
                chart: &chart,
                namespace: &namespace,
                flags: installation::flags(&settings, None)?,
            };
            release.without_images().await?;
            release.with_patches().await?;
            namespace.delete().await?;
        }
        Ok(())
    }
    .boxed_local()
}

struct Release<'a> {
    helm: &'a str,
    chart: &'a str,
    namespace: &'a Namespace,
    flags: Flags,
}

impl Release<'_> {
    fn helm(&self, words: &[&str]) -> Program {
        let helm = Program::new(self.helm).args(["--namespace", &self.namespace.name]);
        helm.args(words.iter().copied())
    }

    async fn install(&self, further: &[&str]) -> Result<()> {
        let install = self.helm(&["install", installation::RELEASE, self.chart]);
        // One replica of everything is enough for these tests.
        let once =
            ["gateway", "command", "query", "projector", "operator"].map(|name| format!("--set={name}.replicas=1"));
        let install = install
            .args(self.flags.words())
            .args(once)
            .args(further.iter().copied());
        install.run().await.map(drop)
    }

    /// Uninstalls, and checks that no Projection is left. The finalizer of a Projection would block the deletion of the namespace forever.
    async fn uninstall(&self) -> Result<()> {
        let uninstall = self.helm(&["uninstall", installation::RELEASE, "--wait", "--timeout", "2m"]);
        uninstall.run().await?;
        let left = self.namespace.kubectl().args(["get", "projections", "-o", "name"]);
        let left = left.run().await?;
        ensure!(left.is_empty(), "uninstalling left {left}");
        Ok(())
    }

    /// Simulates a first installation whose images are not published.
    async fn without_images(&self) -> Result<()> {
        self.install(&["--set=image.tag=absent"]).await?;
        self.uninstall().await?;
        say("a release without any image was uninstalled");
        Ok(())
    }

    async fn with_patches(&self) -> Result<()> {
        self.install(&["--wait", "--timeout", "5m"]).await?;
        settled(self.namespace).await?;
        patch(self.namespace, &json!({ "generation": 2 })).await?;
        // Helm 4 waits for the rebuild, because the projection is not ready before it has ended.
        self.upgrade("one").await?;
        settled(self.namespace).await?;
        self.expect(json!({ "generation": 2, "paused": false })).await?;

        patch(self.namespace, &json!({ "paused": true })).await?;
        wait_for_phase(self.namespace, "Paused").await?;
        self.upgrade("two").await?;
        self.expect(json!({ "generation": 2, "paused": true })).await?;
        let rollback = self.helm(&["rollback", installation::RELEASE, "1", "--wait", "--timeout", "3m"]);
        rollback.run().await?;
        self.expect(json!({ "generation": 2, "paused": true })).await?;
        say("an upgrade and a rollback, both with --wait, have kept the patches of the paused projection");
        self.uninstall().await
    }

    /// Upgrades with a value that restarts no pod.
    async fn upgrade(&self, value: &str) -> Result<()> {
        let upgrade = self.helm(&["upgrade", installation::RELEASE, self.chart, "--reuse-values"]);
        let set = format!("--set=query.service.annotations.step={value}");
        let upgrade = upgrade.args([set.as_str(), "--wait", "--timeout", "3m"]);
        upgrade.run().await.map(drop)
    }

    async fn expect(&self, spec: serde_json::Value) -> Result<()> {
        let projection = get(self.namespace).await?;
        ensure!(projection["spec"] == spec, "the projection is {}", projection["spec"]);
        let read = projection["status"]["generation"].as_i64();
        ensure!(read == Some(2), "generation {read:?} is read");
        let ready = projection["status"]["conditions"].as_array().context("conditions")?;
        let ready = ready.iter().find(|condition| condition["type"] == "Ready");
        ensure!(
            ready.is_some_and(|condition| condition["status"] == "True"),
            "the projection is not ready: {ready:?}"
        );
        Ok(())
    }
}
