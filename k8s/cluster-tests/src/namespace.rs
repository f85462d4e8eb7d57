//! A namespace for one installation.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::narration::{say, seconds};
use crate::programs::{Program, helm, kubectl};

const GONE_WITHIN: Duration = Duration::from_secs(180);

#[derive(Debug, Clone)]
pub(crate) struct Namespace {
    pub(crate) name: String,
}

impl Namespace {
    /// Creates the namespace, after it has removed what an interrupted run left of it. The namespace only admits pods that comply with the
    /// restricted Pod Security Standard.
    pub(crate) async fn create(name: &str) -> Result<Self> {
        let namespace = Self { name: name.to_owned() };
        namespace.delete().await?;
        let manifest = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": { "name": name, "labels": {
                "pod-security.kubernetes.io/enforce": "restricted",
                "pod-security.kubernetes.io/enforce-version": "latest",
            } },
        });
        kubectl()
            .args(["apply", "-f", "-"])
            .input(manifest.to_string())
            .run()
            .await?;
        Ok(namespace)
    }

    /// Deletes the namespace quickly. It serves nobody any more, so no pod is drained, and no operator removes the finalizers.
    pub(crate) async fn delete(&self) -> Result<()> {
        let projections = self
            .kubectl()
            .args(["get", "projections", "-o", "name"])
            .output()
            .await?;
        for projection in projections.lines().filter(|line| line.starts_with("projection.")) {
            let free = self.kubectl().args([
                "patch",
                projection,
                "--type=merge",
                "-p",
                "{\"metadata\":{\"finalizers\":null}}",
            ]);
            free.output().await?;
        }
        let begun = Instant::now();
        let delete = kubectl().args(["delete", "namespace", &self.name, "--ignore-not-found"]);
        let said = delete.clone().arg("--wait=false").run().await?;
        // From here on, nothing new is created in the namespace.
        self.kubectl()
            .args(["delete", "pods", "--all", "--grace-period=1", "--wait=false"])
            .output()
            .await?;
        delete.arg("--wait").within(GONE_WITHIN).run().await?;
        if !said.is_empty() {
            say(format_args!(
                "removed namespace {} in {}",
                self.name,
                seconds(begun.elapsed())
            ));
        }
        Ok(())
    }

    pub(crate) fn kubectl(&self) -> Program {
        kubectl().args(["--namespace", &self.name])
    }

    pub(crate) fn helm(&self) -> Program {
        helm().args(["--namespace", &self.name])
    }

    pub(crate) async fn apply(&self, manifest: &Value) -> Result<()> {
        let apply = self.kubectl().args(["apply", "-f", "-"]).input(manifest.to_string());
        apply.run().await.map(drop)
    }

    pub(crate) async fn get(&self, words: &[&str]) -> Result<Value> {
        let text = self
            .kubectl()
            .arg("get")
            .args(words.iter().copied())
            .args(["-o", "json"])
            .run()
            .await?;
        serde_json::from_str(&text).with_context(|| format!("kubectl get {}", words.join(" ")))
    }

    /// The names of a component's pods, without pods that are terminating.
    pub(crate) async fn pods(&self, component: &str) -> Result<Vec<String>> {
        let selector = format!("app.kubernetes.io/component={component}");
        let listed = self.get(&["pods", "-l", &selector]).await?;
        let items = listed["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        let alive = items
            .iter()
            .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        Ok(alive
            .filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned))
            .collect())
    }

    /// Writes everything that helps to find the cause of a failure into files.
    pub(crate) async fn collect(&self, into: &Path) -> Result<PathBuf> {
        let directory = into.join(&self.name);
        fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
        let looks = [
            (
                "objects",
                self.kubectl().args([
                    "get",
                    "all,cm,secret,pvc,ingress,networkpolicy,pdb,hpa,endpointslices",
                    "-o",
                    "wide",
                ]),
            ),
            ("pods.describe", self.kubectl().args(["describe", "pods"])),
            (
                "workloads.describe",
                self.kubectl()
                    .args(["describe", "deployments,statefulsets,jobs,hpa,pdb"]),
            ),
            (
                "projections.yaml",
                self.kubectl().args(["get", "projections", "-o", "yaml"]),
            ),
            (
                "events",
                self.kubectl()
                    .args(["get", "events", "--sort-by=.metadata.creationTimestamp"]),
            ),
            ("nodes.describe", kubectl().args(["describe", "nodes"])),
            ("helm", self.helm().args(["history", "microblog"])),
        ];
        for (name, look) in looks {
            let file = directory.join(name);
            fs::write(&file, look.output().await?).with_context(|| file.display().to_string())?;
        }
        let pods = self.kubectl().args(["get", "pods", "-o", "name"]).output().await?;
        for pod in pods.lines().filter_map(|line| line.strip_prefix("pod/")) {
            for (suffix, flags) in [("log", [].as_slice()), ("previous.log", ["--previous"].as_slice())] {
                let logs = self.kubectl().args(["logs", pod, "--all-containers", "--timestamps"]);
                let text = logs.args(flags.iter().copied()).output().await?;
                fs::write(directory.join(format!("{pod}.{suffix}")), text)?;
            }
        }
        Ok(directory)
    }
}
