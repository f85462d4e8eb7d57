//! `terraform-ec2/install.sh`, with stand-ins for everything that it downloads and runs: what it accepts, refuses and leaves unchanged.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::process::Command;

use manifest_tests::render::repository;
use tempfile::TempDir;

/// Stands in for the programs that the script calls or downloads. It acts by the name under which it is called.
const STAND_IN: &str = r#"#!/bin/bash
name=${0##*/}
echo "$name $*" >>"$MACHINE/calls"
case "$name $*" in
    # Whatever is downloaded is the file of that name.
    curl*) url=${*: -1} && cp "$MACHINE/elsewhere/${url##*/}" "${*: -2:1}" ;;
    "helm version"*) cat "$MACHINE/helm-version" ;;
    "k3s kubectl apply"*) cat >>"$MACHINE/applied" ;;
    "helm test"*) [ ! -e "$MACHINE/broken" ] ;;
    git*) mkdir -p "${*: -1}/helm/microblog" ;;
    # A disk is a file, which holds the UUID of its file system.
    "blkid --match-tag"*) cat "${*: -1}" ;;
    blkid*) [ -s "$1" ] ;;
    mkfs.xfs*) echo "made-here" >"${*: -1}" ;;
    "mountpoint"*) [ -e "$MACHINE/mounted" ] ;;
    "mount "*) touch "$MACHINE/mounted" ;;
esac
"#;

/// The attached disk, under the name that the system gives it.
const DISK: &str = "disks/nvme-Amazon_Elastic_Block_Store_vol0123";

/// A machine before its first start.
struct Machine(TempDir);

impl Machine {
    fn new(chart: &str) -> Self {
        let machine = Self(tempfile::tempdir().expect("a directory"));
        for directory in [
            "stand-ins",
            "bin",
            "elsewhere",
            "disks",
            "etc/microblog",
            "etc/systemd/system",
        ] {
            fs::create_dir_all(machine.path(directory)).expect("a directory");
        }
        machine.write("stand-in", STAND_IN);
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(machine.path("stand-in"), executable).expect("it is ours");
        for name in [
            "curl",
            "systemctl",
            "git",
            "dnf",
            "blkid",
            "mkfs.xfs",
            "mount",
            "mountpoint",
        ] {
            symlink(machine.path("stand-in"), machine.path("stand-ins").join(name)).expect("a link");
        }
        machine.publish("v1.35.8+k3s1", "v3.21.3");
        machine.set("CHART", chart);
        machine.set("CHART_VERSION", "0.1.0");
        machine.set("DATA_VOLUME", "vol-0123");
        machine.write(DISK, "");
        machine.write("etc/microblog/values-0.yaml", "{}");
        machine.write("etc/microblog/values-1.yaml", "{}");
        machine
    }

    /// Makes releases that can be downloaded, and settings that name them.
    fn publish(&self, k3s: &str, helm: &str) {
        let k3s_program = format!("{STAND_IN}# {k3s}\n");
        let (k3s_name, architecture) = match std::env::consts::ARCH {
            "aarch64" => ("k3s-arm64", "arm64"),
            _ => ("k3s", "amd64"),
        };
        self.write(&format!("elsewhere/{k3s_name}"), &k3s_program);
        let directory = format!("linux-{architecture}");
        let archive = format!("helm-{helm}-linux-{architecture}.tar.gz");
        fs::create_dir_all(self.path(&directory)).expect("a directory");
        self.write(&format!("{directory}/helm"), STAND_IN);
        let tar = Command::new("tar")
            .args(["-C", self.text(), "-czf"])
            .arg(self.path("elsewhere").join(&archive))
            .arg(format!("{directory}/helm"))
            .status();
        assert!(tar.expect("tar").success());
        self.write("helm-version", helm);
        self.set("K3S_VERSION", k3s);
        self.set("HELM_VERSION", helm);
        self.set("K3S_SHA256", &self.sha256(&format!("elsewhere/{k3s_name}")));
        self.set("HELM_SHA256", &self.sha256(&format!("elsewhere/{archive}")));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self) -> &str {
        self.0.path().to_str().expect("text")
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a file");
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Writes a setting. The last value of a name counts.
    fn set(&self, name: &str, value: &str) {
        let settings = self.read("etc/microblog/settings");
        self.write("etc/microblog/settings", &format!("{settings}{name}={value}\n"));
    }

    fn sha256(&self, name: &str) -> String {
        let sum = Command::new("sha256sum")
            .arg(self.path(name))
            .output()
            .expect("sha256sum");
        String::from_utf8(sum.stdout).expect("text")[..64].to_owned()
    }

    /// Whether the script succeeded, which programs it called, and its error output.
    fn install(&self) -> (bool, Vec<String>, String) {
        let _ = fs::remove_file(self.path("calls"));
        let path = std::env::var("PATH").expect("a PATH");
        let output = Command::new(repository().join("terraform-ec2/install.sh"))
            .env("PATH", format!("{}:{path}", self.path("stand-ins").display()))
            .env("MACHINE", self.0.path())
            .env("BIN", self.path("bin"))
            .env("ETC", self.path("etc"))
            .env("DISKS", self.path("disks"))
            .env("DISK_WITHIN", "0")
            .env("DATA", self.path("data"))
            .env("MANIFESTS", self.path("manifests"))
            .output()
            .expect("it runs");
        let calls = self.read("calls").lines().map(str::to_owned).collect();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), calls, said)
    }

    #[track_caller]
    fn installed(&self) -> Vec<String> {
        let (success, calls, said) = self.install();
        assert!(success, "{said}{calls:#?}");
        calls
    }
}

fn any(calls: &[String], what: &str) -> bool {
    calls.iter().any(|call| call.contains(what))
}

#[test]
fn the_first_start_installs_everything_and_tries_it() {
    let machine = Machine::new("oci://registry.example.org/charts/microblog");
    let calls = machine.installed();
    for needed in [
        "https://github.com/k3s-io/k3s/releases/download/v1.35.8%2Bk3s1/k3s",
        "systemctl enable k3s.service",
        "https://get.helm.sh/helm-v3.21.3-linux-",
        "helm upgrade --install microblog oci://registry.example.org/charts/microblog --version 0.1.0 --namespace microblog",
        "values-0.yaml --values",
        "helm test microblog",
    ] {
        assert!(any(&calls, needed), "{needed:?} is not called: {calls:#?}");
    }
    assert!(
        machine
            .read("applied")
            .contains("pod-security.kubernetes.io/enforce: restricted")
    );
    assert!(
        machine
            .read("etc/systemd/system/k3s.service")
            .contains("/bin/k3s server")
    );
    assert!(
        machine
            .read("manifests/traefik-config.yaml")
            .contains("externalTrafficPolicy: Local")
    );
}

#[test]
fn the_data_are_on_a_disk_of_their_own_that_another_machine_finds_again() {
    let machine = Machine::new("oci://registry.example.org/charts/microblog");
    machine.installed();
    let data = machine.path("data").display().to_string();
    let fstab = machine.read("etc/fstab");
    assert!(fstab.starts_with(&format!("UUID=made-here {data} xfs ")), "{fstab}");
    assert!(
        machine
            .read("etc/systemd/system/k3s.service")
            .contains(&format!("RequiresMountsFor={data}\n"))
    );
    // The node keeps its name and its password, whatever machine it runs on.
    assert!(
        machine
            .read("etc/rancher/k3s/config.yaml")
            .contains("node-name: microblog\n")
    );
    assert_eq!(
        fs::read_link(machine.path("etc/rancher/node")).expect("a link"),
        machine.path("data/node")
    );
    let again = machine.installed();
    assert!(!any(&again, "mkfs") && !any(&again, "mount /"), "{again:#?}");
    assert_eq!(machine.read("etc/fstab"), fstab);

    let another = Machine::new("oci://registry.example.org/charts/microblog");
    another.write(DISK, "made-before");
    let calls = another.installed();
    assert!(!any(&calls, "mkfs") && any(&calls, "mount /"), "{calls:#?}");
    assert!(another.read("etc/fstab").starts_with("UUID=made-before "));
}

#[test]
fn without_its_disk_nothing_is_installed() {
    let machine = Machine::new("oci://registry.example.org/charts/microblog");
    fs::remove_file(machine.path(DISK)).expect("it is there");
    let (success, calls, said) = machine.install();
    assert!(
        !success && said.contains("vol-0123 is not attached"),
        "{said}{calls:#?}"
    );
    assert!(!any(&calls, "k3s"), "{calls:#?}");
}

#[test]
fn what_has_another_checksum_is_refused() {
    for program in ["K3S_SHA256", "HELM_SHA256"] {
        let machine = Machine::new("oci://registry.example.org/charts/microblog");
        machine.set(program, &"0".repeat(64));
        let (success, calls, said) = machine.install();
        assert!(!success && said.contains("has another checksum"), "{said}{calls:#?}");
        assert!(!any(&calls, "helm upgrade"), "{calls:#?}");
        if program == "K3S_SHA256" {
            assert!(
                !machine.path("bin/k3s").exists() && !any(&calls, "systemctl"),
                "{calls:#?}"
            );
        } else {
            assert!(!machine.path("bin/helm").exists(), "{calls:#?}");
        }
    }
}

#[test]
fn once_more_downloads_nothing_and_restarts_nothing_until_there_is_a_reason() {
    let machine = Machine::new("oci://registry.example.org/charts/microblog");
    machine.installed();
    let again = machine.installed();
    assert!(!any(&again, "curl") && !any(&again, "systemctl"), "{again:#?}");
    assert!(any(&again, "helm upgrade"), "{again:#?}");

    machine.write("helm-version", "v3.21.3");
    machine.publish("v1.35.9+k3s1", "v3.21.3");
    let upgraded = machine.installed();
    assert!(
        any(&upgraded, "v1.35.9%2Bk3s1") && any(&upgraded, "systemctl restart k3s.service"),
        "{upgraded:#?}"
    );
    assert!(!any(&upgraded, "get.helm.sh"), "{upgraded:#?}");
}

#[test]
fn a_chart_may_be_an_archive_or_in_a_repository() {
    let archive = Machine::new("https://example.org/microblog-0.1.0.tgz").installed();
    assert!(
        any(
            &archive,
            "microblog https://example.org/microblog-0.1.0.tgz --namespace"
        ),
        "{archive:#?}"
    );
    let repository = Machine::new("https://example.org/microblog.git").installed();
    assert!(
        any(
            &repository,
            "clone --quiet --depth 1 --branch 0.1.0 https://example.org/microblog.git"
        ),
        "{repository:#?}"
    );
    assert!(
        any(&repository, "/repository/helm/microblog --namespace"),
        "{repository:#?}"
    );
}

#[test]
fn what_does_not_work_is_no_success() {
    let machine = Machine::new("oci://registry.example.org/charts/microblog");
    machine.write("broken", "");
    let (success, calls, said) = machine.install();
    assert!(!success && any(&calls, "helm test"), "{said}{calls:#?}");
}
