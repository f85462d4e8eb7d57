//! Tests the whole operator, with a database and the part of an API server that it uses.

#![expect(clippy::unwrap_used, reason = "a test may panic on an error")]

mod api_server;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use local_mongodb::TestDatabase;
use model::clock::SystemClock;
use operator::{App, Config, Place};
use serde_json::{Value, json};
use service::config::{Environment, load};
use tokio_util::sync::CancellationToken;
use views::generation::Generations;

use crate::api_server::{ApiServer, Permission};

const DEADLINE: Duration = Duration::from_secs(60);

/// The manifests that every installation has, without the additions of Helm or kustomize.
fn manifests() -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../base/operator.yaml");
    serde_saphyr::from_multiple(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn of_kind(kind: &str) -> Value {
    manifests().into_iter().find(|object| object["kind"] == kind).unwrap()
}

/// The permissions of the Role.
fn allowed() -> BTreeSet<Permission> {
    let texts = |value: &Value| -> Vec<String> { serde_json::from_value(value.clone()).unwrap() };
    let mut allowed = BTreeSet::new();
    for rule in of_kind("Role")["rules"].as_array().unwrap() {
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                for verb in texts(&rule["verbs"]) {
                    allowed.insert((group.clone(), resource.clone(), verb));
                }
            }
        }
    }
    allowed
}

fn projection(spec: Value) -> Value {
    json!({ "apiVersion": "microblog.dev/v1alpha1", "kind": "Projection", "metadata": { "name": "views" }, "spec": spec })
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(DEADLINE, wait)
        .await
        .unwrap_or_else(|_| panic!("{what}: never"));
}

struct Running {
    server: ApiServer,
    generations: Generations,
    address: SocketAddr,
    _database: TestDatabase,
    _files: tempfile::TempDir,
}

impl Running {
    async fn start(stop: &CancellationToken) -> (Self, tokio::task::JoinHandle<()>) {
        event_log::crypto::install_provider();
        let database = TestDatabase::new().await;
        let files = tempfile::tempdir().unwrap();
        let template: PathBuf = files.path().join("rebuild-job.yaml");
        let config_maps = manifests().into_iter().find_map(|object| {
            let text = object["data"]["rebuild-job.yaml"].as_str();
            text.map(str::to_owned)
        });
        std::fs::write(&template, config_maps.unwrap()).unwrap();
        let mut environment = Environment::default();
        for (key, value) in [
            ("mongodb.uri", database.uri()),
            ("mongodb.events_database", database.events_database()),
            ("mongodb.views_database", database.views_database()),
            ("operator.listen", "127.0.0.1:0"),
            ("operator.job_template", &template.display().to_string()),
            ("operator.lease_duration", "3s"),
            ("operator.renew_every", "200ms"),
            ("operator.look_every", "200ms"),
            ("operator.look_at_rebuild_every", "200ms"),
            ("shutdown.grace", "1s"),
        ] {
            environment.set(key, value);
        }
        let config: Config = load(None, &environment).unwrap();
        let generations = Generations::new(
            database.client().await.database(database.views_database()),
            SystemClock::shared(),
        );
        generations.ensure_first().await.unwrap();
        let server = ApiServer::new();
        server.put("leases", of_kind("Lease"));
        server.put("projections", projection(json!({})));
        let place = Place {
            namespace: "blog".to_owned(),
            identity: "one".to_owned(),
        };
        let app = App::build(config, server.client(), place, SystemClock::shared())
            .await
            .unwrap();
        let running = Self {
            server,
            generations,
            address: app.local_addr(),
            _database: database,
            _files: files,
        };
        let stop = stop.clone();
        let task = tokio::spawn(async move { app.run_until_stopped(stop).await.unwrap() });
        (running, task)
    }

    async fn metrics(&self) -> String {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = client
            .get(format!("http://{}/metrics", self.address))
            .send()
            .await
            .unwrap();
        answer.text().await.unwrap()
    }

    async fn tells(&self, sample: &str) -> bool {
        self.metrics().await.lines().any(|line| line.starts_with(sample))
    }

    fn ask_for(&self, spec: Value) {
        let mut present = self.server.get("projections", "views").unwrap();
        present["spec"] = spec;
        self.server.put("projections", present);
    }

    async fn paused(&self) -> bool {
        self.generations.current().await.unwrap().unwrap().paused
    }

    fn status(&self) -> Value {
        self.server.get("projections", "views").unwrap()["status"].clone()
    }
}

/// This is one long test, because each step is a state that the next one needs: pauses, a rebuild that can't start, a projection that is
/// deleted, a Lease that is lost. The operator requests exactly what its Role allows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_asks_for_what_it_may_and_tells_of_nothing_that_is_gone() {
    let stop = CancellationToken::new();
    let (running, task) = Running::start(&stop).await;
    until("the metrics show the projection", async || {
        running.tells("projection_generation{projection=\"views\"} 1").await
    })
    .await;

    // The pause happens twice, so that an event is repeated.
    for paused in [true, false, true, false] {
        running.ask_for(json!({ "paused": paused }));
        until("the pause", async || running.paused().await == paused).await;
    }

    running.ask_for(json!({ "generation": 2 }));
    until("the Job", async || {
        running.server.get("jobs", "views-rebuild-2").is_some()
    })
    .await;
    let waiting = json!({ "waiting": { "reason": "ImagePullBackOff", "message": "no such image" } });
    running.server.put(
        "pods",
        json!({ "metadata": { "name": "views-rebuild-2-x" }, "status": { "phase": "Pending", "containerStatuses": [{
            "name": "rebuild", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": waiting,
        }] } }),
    );
    until("why it can't start", async || {
        running.status()["progress"] == "can't start: ImagePullBackOff"
    })
    .await;
    assert!(running.tells("projection_rebuild_standstill_seconds{").await);

    // It has no finalizer, so it is deleted at once, and nothing triggers a reconcile.
    running.server.remove("projections", "views");
    until("the metrics of the projection are gone", async || {
        !running.tells("projection_").await
    })
    .await;

    running
        .server
        .put("projections", projection(json!({ "generation": 2 })));
    until("the metrics show the new projection", async || {
        running.tells("projection_generation{").await
    })
    .await;
    let mut lease = running.server.get("leases", "microblog-operator").unwrap();
    lease["spec"]["holderIdentity"] = json!("another");
    lease["spec"]["leaseDurationSeconds"] = json!(3600);
    running.server.put("leases", lease);
    until("the Lease is lost", async || running.tells("operator_leading 0").await).await;
    until(
        "an operator that is not the leader has no projection metrics",
        async || !running.tells("projection_").await,
    )
    .await;

    stop.cancel();
    task.await.unwrap();
    let mut asked = running.server.asked();
    // Kubernetes itself needs this permission if OwnerReferencesPermissionEnforcement is enabled.
    asked.insert(
        ["microblog.dev", "projections/finalizers", "update"]
            .map(str::to_owned)
            .into(),
    );
    assert_eq!(asked, allowed());
}
