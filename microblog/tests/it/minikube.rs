//! `minikube.sh`, with stand-ins for the programs that it calls: what it calls, when, and what it prints when something is wrong.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use manifest_tests::PROGRAMS;
use manifest_tests::render::repository;
use tempfile::TempDir;

use crate::stack::eventually;

/// The system's programs that the script may use. Nothing else is on its PATH.
const SYSTEM: [&str; 16] = [
    "bash", "cat", "cksum", "cut", "dirname", "env", "grep", "head", "mkdir", "mktemp", "mv", "ps", "rm", "sleep",
    "tail", "touch",
];
const FAKES: [&str; 8] = [
    "minikube", "kubectl", "helm", "docker", "podman", "make", "curl", "xdg-open",
];

/// A machine with these programs and no others.
struct Machine(TempDir);

/// How a run ended, its output and its calls.
#[derive(Debug)]
struct Run {
    code: Option<i32>,
    output: String,
    calls: Vec<String>,
}

impl Machine {
    /// A machine with all programs, on which Docker runs.
    fn new() -> Self {
        let machine = Self::with(&FAKES);
        machine.set("docker", "");
        machine.set("build", "first");
        machine
    }

    fn with(fakes: &[&str]) -> Self {
        let machine = Self(tempfile::tempdir().expect("a directory"));
        fs::create_dir(machine.path("bin")).expect("a directory");
        for name in SYSTEM {
            let found = std::env::split_paths(&std::env::var_os("PATH").expect("a PATH"))
                .map(|directory| directory.join(name))
                .find(|path| path.exists())
                .unwrap_or_else(|| panic!("{name} is not on the PATH"));
            symlink(found, machine.path("bin").join(name)).expect("a link");
        }
        for name in fakes {
            machine.add(name);
        }
        machine
    }

    fn add(&self, name: &str) {
        symlink(
            repository().join("microblog/tests/it/minikube/fake.sh"),
            self.path("bin").join(name),
        )
        .expect("a link");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn set(&self, name: &str, value: &str) {
        fs::write(self.path(name), value).expect("a file");
    }

    fn get(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn run(&self, words: &[&str]) -> Run {
        let _ = fs::remove_file(self.path("calls"));
        let output = Command::new(repository().join("minikube.sh"))
            .args(words)
            .env_clear()
            .env("PATH", self.path("bin"))
            .env("FAKE", self.0.path())
            .env("XDG_STATE_HOME", self.path("state"))
            .output()
            .expect("it runs");
        Run {
            code: output.status.code(),
            output: String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr),
            calls: self.get("calls").lines().map(str::to_owned).collect(),
        }
    }

    /// Runs `up` with the profile of the stand-ins, at ports that nobody else uses here.
    fn up(&self, more: &[&str]) -> Run {
        let ports = ["--command-port", "1", "--query-port", "2", "--gateway-port", "3"];
        self.run(&[&["up", "--profile", "test"], &ports[..], more].concat())
    }

    fn down(&self, more: &[&str]) -> Run {
        self.run(&[&["down", "--profile", "test"], more].concat())
    }

    /// The process that forwards a port at present.
    fn port_forward(&self, ports: &str) -> String {
        self.get(&format!("port-forward-{ports}")).trim().to_owned()
    }
}

impl Drop for Machine {
    /// Ends what a failed test has left running.
    fn drop(&mut self) {
        let _ = self.down(&[]);
    }
}

impl Run {
    #[track_caller]
    fn succeeded(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self
    }

    #[track_caller]
    fn failed_saying(self, what: &str) -> Self {
        assert_eq!(self.code, Some(1), "{self:#?}");
        assert!(self.output.contains(what), "{self:#?}");
        self
    }

    fn called(&self, what: &str) -> bool {
        self.calls.iter().any(|call| call.contains(what))
    }

    fn count(&self, what: &str) -> usize {
        self.calls.iter().filter(|call| call.contains(what)).count()
    }

    /// Checks that these calls were made in this order. Other calls may lie between them.
    #[track_caller]
    fn in_order(&self, expected: &[&str]) {
        let mut calls = self.calls.iter();
        for what in expected {
            assert!(
                calls.any(|call| call.contains(what)),
                "{what:?} is not called, or too early: {self:#?}"
            );
        }
    }

    /// The image tag with which Microblog was installed.
    #[track_caller]
    fn tag(&self) -> String {
        let upgrade = self
            .calls
            .iter()
            .find(|call| call.contains(" upgrade "))
            .expect("it is installed");
        let (_, tag) = upgrade.split_once("image.tag=").expect("a tag");
        tag.split_whitespace().next().expect("a tag").to_owned()
    }
}

#[test]
fn up_goes_from_nothing_to_everything() {
    let machine = Machine::new();
    let up = machine
        .up(&["--cpus", "6", "--memory", "9g", "--", "--set", "query.replicas=2"])
        .succeeded();
    up.in_order(&[
        "minikube --profile test start --cpus 6 --memory 9g",
        "minikube --profile test addons enable metrics-server",
        "images IMAGE_TOOL=docker IMAGE_PREFIX=localhost/microblog IMAGE_TAG=dev",
        "minikube --profile test image load",
        "kubectl --context test create namespace microblog --dry-run=client --output yaml",
        "kubectl --context test label namespace microblog --overwrite pod-security.kubernetes.io/enforce=restricted",
        "helm --kube-context test --namespace microblog upgrade --install microblog",
        "kubectl --context test --namespace microblog port-forward --address 127.0.0.1 service/microblog-gateway 3:8080",
        "kubectl --context test --namespace microblog port-forward --address 127.0.0.1 service/microblog-command 1:8081",
        "kubectl --context test --namespace microblog port-forward --address 127.0.0.1 service/microblog-query 2:8082",
        "helm --kube-context test --namespace microblog test microblog",
    ]);
    let tag = up.tag();
    assert_eq!(up.count("docker save --output"), PROGRAMS.len(), "{up:#?}");
    for program in PROGRAMS {
        assert!(
            machine
                .get("images")
                .contains(&format!("localhost/microblog/{program}:{tag}\n")),
            "{up:#?}"
        );
    }
    let upgrade = up
        .calls
        .iter()
        .find(|call| call.contains(" upgrade "))
        .expect("it is installed");
    for part in [
        "/helm/microblog/ci/minikube-values.yaml",
        "image.registry=localhost,image.repository=microblog,",
        " --wait ",
        " --set query.replicas=2",
    ] {
        assert!(upgrade.contains(part), "{part:?} is not in {upgrade:?}");
    }
    for address in [
        "http://127.0.0.1:3/ ",
        "http://127.0.0.1:1/docs",
        "--query-url http://127.0.0.1:3\n",
    ] {
        assert!(up.output.contains(address), "{address}: {up:#?}");
    }
    assert!(!up.called("xdg-open"), "{up:#?}");
    assert!(up.output.contains("./minikube.sh down --profile test\n"), "{up:#?}");
    assert!(
        up.output
            .contains("postman/run minikube --env-var commandUrl=http://127.0.0.1:1"),
        "{up:#?}"
    );
}

#[test]
fn a_browser_is_opened_only_if_asked() {
    let machine = Machine::new();
    machine
        .up(&["--open"])
        .succeeded()
        .in_order(&[" test microblog", "xdg-open http://127.0.0.1:3/"]);
    let without = Machine::with(&FAKES[..7]);
    without.set("docker", "");
    without.set("build", "first");
    without
        .up(&["--open"])
        .failed_saying("open http://127.0.0.1:3/ yourself");
}

#[test]
fn up_again_does_only_what_is_to_be_done() {
    let machine = Machine::new();
    let first = machine.up(&[]).succeeded();
    let again = machine.up(&[]).succeeded();
    assert!(!again.called(" start"), "{again:#?}");
    assert!(!again.called("image load"), "{again:#?}");
    assert_eq!(
        first.tag(),
        again.tag(),
        "the same images have the same name: no pod is replaced"
    );

    machine.set("build", "second");
    let changed = machine.up(&[]).succeeded();
    assert_eq!(changed.count("image load"), PROGRAMS.len(), "{changed:#?}");
    assert_ne!(first.tag(), changed.tag(), "pods are replaced by what is new");
    let images = machine.get("images");
    assert_eq!(
        images.lines().count(),
        PROGRAMS.len(),
        "the former images are gone: {images}"
    );
    assert!(images.lines().all(|image| image.ends_with(&changed.tag())), "{images}");
}

#[test]
fn a_profile_that_was_stopped_is_started_with_the_size_it_has() {
    let machine = Machine::new();
    machine.set("profile", "");
    let up = machine.up(&[]).succeeded();
    assert!(
        up.calls.contains(&"minikube --profile test start".to_owned()),
        "{up:#?}"
    );
}

#[tokio::test]
async fn ports_are_forwarded_until_down() {
    let machine = Machine::new();
    machine.up(&[]).succeeded();
    let first = machine.port_forward("1:8081");
    assert!(is_alive(&first));

    // The pod disappears, and kubectl with it.
    kill(&first);
    let second = eventually("the port is forwarded again", || async {
        Some(machine.port_forward("1:8081")).filter(|pid| *pid != first && is_alive(pid))
    })
    .await;
    assert_eq!(
        machine
            .run(&["status", "--profile", "test"])
            .succeeded()
            .count("get deployments"),
        1
    );

    machine.up(&[]).succeeded();
    let third = machine.port_forward("1:8081");
    assert!(is_alive(&third));
    assert!(!is_alive(&second), "it may have led to a pod that is gone");

    let down = machine.down(&[]).succeeded();
    assert!(
        down.calls.contains(&"minikube --profile test stop".to_owned()),
        "{down:#?}"
    );
    for pid in [third, machine.port_forward("2:8082"), machine.port_forward("3:8080")] {
        assert!(!is_alive(&pid), "{pid} still runs");
    }
}

#[test]
fn down_deletes_only_when_it_is_told_to() {
    let machine = Machine::new();
    machine.up(&[]).succeeded();
    assert!(!machine.down(&[]).succeeded().called(" delete"));
    machine.up(&[]).succeeded();
    let down = machine.down(&["--delete"]).succeeded();
    assert!(
        down.calls.contains(&"minikube --profile test delete".to_owned()),
        "{down:#?}"
    );
}

#[test]
fn all_that_is_missing_is_named_at_once() {
    let machine = Machine::with(&["docker", "make"]);
    let up = machine
        .up(&[])
        .failed_saying("minikube   https://minikube.sigs.k8s.io/docs/start/");
    for url in [
        "https://kubernetes.io/docs/tasks/tools/",
        "https://helm.sh/docs/intro/install/",
        "curl",
    ] {
        assert!(up.output.contains(url), "{up:#?}");
    }
    assert_eq!(up.calls, Vec::<String>::new(), "nothing is begun");
}

#[test]
fn podman_builds_where_docker_is_not_there() {
    let machine = Machine::with(&["minikube", "kubectl", "helm", "make", "curl"]);
    machine.set("build", "first");
    machine.up(&[]).failed_saying("https://podman.io/docs/installation");

    machine.add("podman");
    machine.set("podman", "");
    let up = machine.up(&[]).succeeded();
    assert!(up.called("IMAGE_TOOL=podman"), "{up:#?}");
    assert_eq!(up.count("podman save"), PROGRAMS.len(), "{up:#?}");
}

#[test]
fn a_docker_that_does_not_answer_is_told_from_one_that_is_not_there() {
    let machine = Machine::with(&["minikube", "kubectl", "helm", "make", "curl", "docker"]);
    machine
        .up(&[])
        .failed_saying("docker is installed, but does not answer");
}

#[test]
fn images_that_exist_are_not_built() {
    let machine = Machine::with(&["minikube", "kubectl", "helm", "curl"]);
    let up = machine
        .up(&["--images", "localhost:5000/a/microblog:1.2.3"])
        .succeeded();
    assert!(
        up.called("image.registry=localhost:5000,image.repository=a/microblog,image.tag=1.2.3"),
        "{up:#?}"
    );
    assert!(!up.called(" image "), "{up:#?}");
}

#[test]
fn what_does_not_become_ready_is_shown() {
    let machine = Machine::new();
    machine.set("unready", "");
    let up = machine.up(&[]).failed_saying("did not become ready");
    assert!(
        up.output.contains("context deadline exceeded") && up.output.contains("pods and such"),
        "{up:#?}"
    );
    assert!(!up.called("port-forward"), "{up:#?}");
}

#[test]
fn what_does_not_work_is_no_success() {
    let machine = Machine::new();
    machine.set("broken", "");
    let up = machine.up(&[]).failed_saying("It is installed, but does not work");
    assert!(up.called("logs microblog-smoke"), "{up:#?}");
}

#[test]
fn a_port_that_nothing_answers_on_is_no_success() {
    let machine = Machine::new();
    machine.set("silent", "");
    machine.up(&[]).failed_saying("nothing answers on port 3");
}

#[test]
fn a_port_that_is_taken_is_not_mistaken_for_ours() {
    let other = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = other.local_addr().expect("an address").port().to_string();
    let machine = Machine::new();
    let up = machine
        .up(&["--query-port", &port])
        .failed_saying(&format!("port {port} is taken"));
    assert!(up.output.contains("--query-port"), "{up:#?}");
}

#[test]
fn status_says_what_is_to_be_done() {
    let status = ["status", "--profile", "test"];
    let machine = Machine::new();
    machine.run(&status).failed_saying("Minikube does not run");
    machine.set("running", "");
    machine.run(&status).failed_saying("Microblog is not installed");
    machine.set("installed", "");
    machine.run(&status).failed_saying("gateway is not forwarded");
    machine.up(&[]).succeeded();
    let well = machine.run(&status).succeeded();
    assert!(
        well.output.contains("STATUS: deployed") && well.output.contains("query is forwarded"),
        "{well:#?}"
    );
    machine.set("unready", "");
    assert_eq!(machine.run(&status).code, Some(1));
}

#[test]
fn logs_are_those_of_one_program_or_of_all() {
    let machine = Machine::new();
    let all = machine.run(&["logs", "--profile", "test"]).succeeded();
    assert!(
        all.called("logs --selector app.kubernetes.io/instance=microblog --all-containers"),
        "{all:#?}"
    );
    let one = machine
        .run(&["logs", "query", "--profile", "test", "--", "--follow"])
        .succeeded();
    let selector = "--selector app.kubernetes.io/instance=microblog,app.kubernetes.io/component=query ";
    assert!(one.called(selector) && one.called(" --follow"), "{one:#?}");
}

#[test]
fn wrong_words_are_told_from_right_ones() {
    let machine = Machine::new();
    for words in [
        &["upp"][..],
        &["up", "--cpu", "3"],
        &["up", "now"],
        &["down", "--profile"],
        &["up", "--images", "microblog"],
    ] {
        let run = machine.run(words);
        assert_eq!(run.code, Some(64), "{words:?}: {run:#?}");
        assert!(run.output.contains("Usage: ./minikube.sh"), "{run:#?}");
    }
    let help = machine.run(&["help"]).succeeded();
    assert!(help.output.starts_with("Usage: ./minikube.sh"), "{help:#?}");
    assert_eq!(help.calls, Vec::<String>::new());
}

/// A process that has ended, but whose parent has not waited for it, is not alive.
fn is_alive(pid: &str) -> bool {
    assert!(!pid.is_empty(), "nothing was forwarded");
    let state = Command::new("ps")
        .args(["-o", "stat=", "-p", pid])
        .output()
        .expect("ps")
        .stdout;
    !state.is_empty() && !state.starts_with(b"Z")
}

fn kill(pid: &str) {
    assert!(Command::new("kill").arg(pid).status().expect("kill").success());
}
