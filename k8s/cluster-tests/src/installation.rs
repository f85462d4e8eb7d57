//! The chart, installed in a namespace of its own, and the users of this installation.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::cluster::Node;
use crate::database::OutsideDatabase;
use crate::images;
use crate::load::{Community, Front, Load, Report};
use crate::namespace::Namespace;
use crate::narration::{say, seconds};
use crate::programs::kubectl;
use crate::settings::Settings;
use crate::waiting::{Seen, eventually};

/// The values of every installation.
const VALUES: &str = include_str!("../values.yaml");
/// The values with which the stand-in replaces the chart's own MongoDB.
const STAND_IN: &str = include_str!("../values-stand-in.yaml");
pub(crate) const RELEASE: &str = "microblog";
/// Enough for a rolling update of everything on a busy machine.
const HELM_TIMEOUT: &str = "8m";

/// The Deployments of all programs.
pub(crate) const DEPLOYMENTS: [&str; 5] = [
    "deployment/microblog-gateway",
    "deployment/microblog-command",
    "deployment/microblog-query",
    "deployment/microblog-projector",
    "deployment/microblog-operator",
];

/// Where the installation stores its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// In the chart's own MongoDB.
    Bundled,
    /// In a database outside the cluster.
    Outside,
}

/// The node ports of the Services.
#[derive(Debug, Clone, Copy)]
struct Ports {
    gateway: u64,
    command: u64,
    query: u64,
}

#[derive(Debug)]
pub(crate) struct Installation {
    pub(crate) namespace: Namespace,
    chart: String,
    ports: Ports,
    pub(crate) community: Arc<Community>,
    rate: u32,
    /// The program `microblog`.
    microblog: PathBuf,
    /// The last field, so that the database ends after everything that uses it.
    _database: Option<OutsideDatabase>,
}

impl Installation {
    /// Creates the namespace, installs the chart, waits until everything is ready, and registers users.
    pub(crate) async fn make(settings: &Settings, nodes: &[Node], kind: Kind) -> Result<Self> {
        let (suffix, database) = match kind {
            Kind::Bundled => ("bundled", None),
            Kind::Outside => {
                let address = settings.host_address.context("HOST_ADDRESS is not set")?;
                ("outside", Some(OutsideDatabase::start(address).await?))
            }
        };
        let namespace = Namespace::create(&format!("microblog-test-{suffix}")).await?;
        let flags = flags(settings, database.as_ref())?;
        let chart = settings.repository.join("helm/microblog").display().to_string();

        let begun = Instant::now();
        let install = namespace
            .helm()
            .args(["install", RELEASE, &chart, "--wait", "--timeout", HELM_TIMEOUT]);
        let install = install.args(flags.words());
        tokio::select! {
            installed = install.run() => installed.map(drop)?,
            hopeless = a_pod_crashes(&namespace) => hopeless?,
        }
        say(format_args!("helm install to ready: {}", seconds(begun.elapsed())));

        let ports = Ports {
            gateway: node_port(&namespace, "gateway").await?,
            command: node_port(&namespace, "command").await?,
            query: node_port(&namespace, "query").await?,
        };
        Ok(Self {
            namespace,
            chart,
            ports,
            community: Arc::new(Community::found(ports.front(nodes)).await?),
            rate: settings.rate,
            microblog: images::binaries(settings).join("microblog"),
            _database: database,
        })
    }

    /// All existing namespaces that this program has created.
    pub(crate) async fn namespaces() -> Result<Vec<Namespace>> {
        let listed = kubectl().args(["get", "namespaces", "-o", "name"]).run().await?;
        let ours = listed.lines().filter_map(|line| line.strip_prefix("namespace/"));
        Ok(ours
            .filter(|name| name.starts_with("microblog-test-"))
            .map(|name| Namespace { name: name.to_owned() })
            .collect())
    }

    /// Runs `helm upgrade` with further values, in the format of `--set`. Waits until all pods are new and ready.
    pub(crate) async fn upgrade(&self, set: &[&str]) -> Result<()> {
        let begun = Instant::now();
        let upgrade = self
            .namespace
            .helm()
            .args(["upgrade", RELEASE, &self.chart, "--reuse-values", "--wait"]);
        let upgrade = upgrade
            .args(["--timeout", HELM_TIMEOUT])
            .args(set.iter().map(|pair| format!("--set={pair}")));
        upgrade.run().await?;
        self.rolled_out().await?;
        say(format_args!(
            "helm upgrade with {} took {}",
            set.join(" "),
            seconds(begun.elapsed())
        ));
        Ok(())
    }

    pub(crate) async fn rollback(&self) -> Result<()> {
        let begun = Instant::now();
        let rollback = self
            .namespace
            .helm()
            .args(["rollback", RELEASE, "--wait", "--timeout", HELM_TIMEOUT]);
        rollback.run().await?;
        self.rolled_out().await?;
        say(format_args!("helm rollback took {}", seconds(begun.elapsed())));
        Ok(())
    }

    /// Waits until no old pod is left. helm waits only until enough new pods are ready.
    async fn rolled_out(&self) -> Result<()> {
        for deployment in DEPLOYMENTS {
            let status = self.namespace.kubectl().args(["rollout", "status", deployment]);
            status.args(["--timeout", HELM_TIMEOUT]).run().await?;
        }
        Ok(())
    }

    pub(crate) async fn uninstall(&self) -> Result<()> {
        let begun = Instant::now();
        let uninstall = self.namespace.helm().args(["uninstall", RELEASE, "--wait"]);
        uninstall.run().await?;
        // helm waits only until the Deployments are gone. Their pods are still draining.
        let gone = self.namespace.kubectl().args(["wait", "--for=delete", "pods"]);
        gone.args(["--all", "--timeout=120s"]).run().await?;
        say(format_args!("helm uninstall took {}", seconds(begun.elapsed())));
        Ok(())
    }

    pub(crate) async fn helm_test(&self) -> Result<()> {
        let begun = Instant::now();
        let said = self
            .namespace
            .helm()
            .args(["test", RELEASE, "--timeout", "3m"])
            .run()
            .await?;
        ensure!(
            said.contains("Phase:          Succeeded"),
            "helm test ran nothing:\n{said}"
        );
        say(format_args!("helm test took {}", seconds(begun.elapsed())));
        Ok(())
    }

    /// Starts the normal load.
    pub(crate) async fn load(&self) -> Result<Load> {
        self.load_of(self.rate).await
    }

    /// Starts a load of so many requests a second.
    pub(crate) async fn load_of(&self, rate: u32) -> Result<Load> {
        Load::start(&self.community, rate, &self.microblog).await
    }

    /// Runs `act` under load. The load continues for a moment after that. Then prints the outcomes of the requests.
    pub(crate) async fn under_load<T>(&self, what: &str, act: impl Future<Output = Result<T>>) -> Result<(T, Report)> {
        let load = self.load().await?;
        let done = act.await;
        // If the end of `act` broke something, the following requests show it.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let report = load.stop(what).await;
        Ok((done?, report?))
    }

    /// A front that sends requests to these nodes only. Others continue to use their own addresses.
    pub(crate) fn front(&self, nodes: &[Node]) -> Front {
        self.ports.front(nodes)
    }

    /// Runs `microblog` in a pod until it ends, as an operator would. Returns its output.
    pub(crate) async fn microblog(&self, name: &str, arguments: &[&str]) -> Result<String> {
        let job = self.job(name, arguments);
        let delete = self
            .namespace
            .kubectl()
            .args(["delete", "job", name, "--ignore-not-found", "--wait"]);
        delete.run().await?;
        self.namespace.apply(&job).await?;
        let ended = eventually("the end of the Job", Duration::from_secs(300), async || {
            let job = self.namespace.get(&["job", name]).await?;
            let count = |outcome: &str| job["status"][outcome].as_u64().unwrap_or(0);
            if count("succeeded") + count("failed") == 0 {
                return Ok(Seen::NotYet(job["status"].to_string()));
            }
            Ok(Seen::There(count("succeeded") == 1))
        });
        let ended = ended.await;
        let log = self
            .namespace
            .kubectl()
            .args(["logs", &format!("job/{name}")])
            .output()
            .await?;
        let (succeeded, _) = ended.with_context(|| format!("microblog {} said:\n{log}", arguments.join(" ")))?;
        ensure!(succeeded, "microblog {} failed:\n{log}", arguments.join(" "));
        Ok(log)
    }

    /// Recomputes all timelines from the events, and compares them with what query-svc shows.
    pub(crate) async fn verify(&self) -> Result<()> {
        let begun = Instant::now();
        let log = self
            .microblog("verify", &["verify", "--query-url", "http://microblog-query:8082"])
            .await?;
        crate::narration::quote(&log);
        say(format_args!(
            "microblog verify found no difference ({})",
            seconds(begun.elapsed())
        ));
        Ok(())
    }

    fn job(&self, name: &str, arguments: &[&str]) -> Value {
        let secret = |variable: &str, secret: &str, key: &str, optional: bool| {
            let reference = json!({ "name": secret, "key": key, "optional": optional });
            json!({ "name": variable, "valueFrom": { "secretKeyRef": reference } })
        };
        json!({
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": { "name": name },
            "spec": { "backoffLimit": 0, "template": {
                // The labels by which the NetworkPolicies recognise a Job of the installation.
                "metadata": { "labels": {
                    "app.kubernetes.io/name": "microblog",
                    "app.kubernetes.io/instance": RELEASE,
                    "app.kubernetes.io/component": "job",
                } },
                "spec": {
                    "restartPolicy": "Never",
                    "automountServiceAccountToken": false,
                    "securityContext": { "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } },
                    "containers": [{
                        "name": "microblog",
                        "image": format!("{}/{}/microblog:{}", images::REGISTRY, images::REPOSITORY, images::TAG),
                        "args": arguments,
                        "env": [
                            secret("MICROBLOG__MONGODB__URI", "microblog-mongodb", "uri", false),
                            secret("MICROBLOG__MONGODB__VIEWS_URI", "microblog-mongodb", "views-uri", true),
                            secret("MICROBLOG__AUTH__SIGNING_KEY", "microblog-auth", "signing-key", false),
                        ],
                        "securityContext": {
                            "allowPrivilegeEscalation": false,
                            "readOnlyRootFilesystem": true,
                            "capabilities": { "drop": ["ALL"] },
                        },
                    }],
                },
            } },
        })
    }
}

/// The values of an installation, as flags for Helm.
#[derive(Debug)]
pub(crate) struct Flags {
    words: Vec<String>,
    /// The files are deleted when this is dropped.
    _files: Vec<NamedTempFile>,
}

impl Flags {
    pub(crate) fn words(&self) -> impl Iterator<Item = &str> {
        self.words.iter().map(String::as_str)
    }
}

/// The flags of an installation. `database` replaces the chart's own MongoDB, which is the stand-in unless the settings name an image.
pub(crate) fn flags(settings: &Settings, database: Option<&OutsideDatabase>) -> Result<Flags> {
    let mut files = vec![file_of(VALUES)?];
    let mut words = Vec::new();
    match (database, &settings.mongodb_image) {
        (None, None) => files.push(file_of(STAND_IN)?),
        (None, Some(image)) => words.push(format!("--set=mongodb.bundled.image={image}")),
        (Some(database), _) => words.extend([
            "--set=mongodb.bundled.enabled=false".to_owned(),
            format!("--set=mongodb.uri={}", database.uri.replace(',', "\\,")),
        ]),
    }
    words.extend(settings.set.iter().map(|pair| format!("--set={pair}")));
    let values = files.iter().map(|file| format!("--values={}", file.path().display()));
    Ok(Flags {
        words: values.chain(words).collect(),
        _files: files,
    })
}

/// The output of `helm template` for the defaults and further flags, for the cluster's version.
pub(crate) async fn template(repository: &Path, namespace: &Namespace, flags: &[&str]) -> Result<String> {
    let versions: Value = serde_json::from_str(&kubectl().args(["version", "-o", "json"]).run().await?)?;
    let version = versions["serverVersion"]["gitVersion"]
        .as_str()
        .context("the server's version")?;
    let chart = repository.join("helm/microblog").display().to_string();
    let template = namespace
        .helm()
        .args(["template", RELEASE, &chart, "--kube-version", version]);
    template.args(flags.iter().copied()).run().await
}

fn file_of(text: &str) -> Result<NamedTempFile> {
    let mut file = NamedTempFile::with_suffix(".yaml")?;
    file.write_all(text.as_bytes())?;
    Ok(file)
}

impl Ports {
    /// Every second address is that of the gateway, whichever service is meant. So half of all requests and streams go through it.
    fn front(self, nodes: &[Node]) -> Front {
        let at = |port: u64| {
            let both = |node: &Node| [port, self.gateway].map(|port| format!("{}:{port}", node.address));
            nodes.iter().flat_map(both).collect()
        };
        Front::new(at(self.command), at(self.query))
    }
}

/// Returns an error when a pod has crashed too often to wait for it. One or two crashes are normal while the database starts.
async fn a_pod_crashes(namespace: &Namespace) -> Result<()> {
    const OFTEN: u64 = 4;
    loop {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let pods = namespace.get(&["pods"]).await?;
        for pod in pods["items"].as_array().into_iter().flatten() {
            let restarts = |container: &Value| container["restartCount"].as_u64().unwrap_or(0);
            let containers = pod["status"]["containerStatuses"].as_array();
            if containers
                .into_iter()
                .flatten()
                .any(|container| restarts(container) >= OFTEN)
            {
                let name = pod["metadata"]["name"].as_str().unwrap_or_default();
                let logs = namespace
                    .kubectl()
                    .args(["logs", name, "--all-containers", "--previous", "--tail=5"]);
                bail!("{name} crashes again and again:\n{}", logs.output().await?);
            }
        }
    }
}

async fn node_port(namespace: &Namespace, component: &str) -> Result<u64> {
    let service = namespace.get(&["service", &format!("{RELEASE}-{component}")]).await?;
    let port = service["spec"]["ports"][0]["nodePort"].as_u64();
    port.with_context(|| format!("the Service of {component} has no node port"))
}
