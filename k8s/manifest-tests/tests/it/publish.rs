//! Tests `make publish` with stand-ins for the programs that push: what it refuses, and that its chart names the images that it has pushed.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::process::Command;

use manifest_tests::PROGRAMS;
use manifest_tests::manifests::Manifests;
use manifest_tests::render::{repository, run, tool};
use tempfile::TempDir;

/// Replaces buildah, helm and cargo-cyclonedx. The name by which it is called says which one.
const STAND_IN: &str = r#"#!/bin/bash
echo "${0##*/} $*" >>"$HERE/calls"
case "${0##*/} $*" in
    # The digest of an image is the digest of its name.
    "buildah push"*) echo "sha256:$(printf %s "${*: -1}" | sha256sum | cut -c 1-64)" | tr -d '\n' >"${*: -2:1}" ;;
    "helm push"*) ;;
    "helm "*) exec "$REAL_HELM" "$@" ;;
    "cargo-cyclonedx "*) for program in $PROGRAMS; do mkdir -p "$program" && echo '{}' >"$program/$program.cdx.json"; done ;;
esac
"#;

/// A clone with a commit, and tools that push nowhere.
struct Clone(TempDir);

impl Clone {
    fn new() -> Self {
        let clone = Self(tempfile::tempdir().unwrap());
        let from = repository();
        for directory in ["clone/.ci/tools", "clone/helm", "tools"] {
            fs::create_dir_all(clone.path(directory)).unwrap();
        }
        for file in [
            ".ci/publish",
            ".ci/versions",
            ".ci/requirements.txt",
            ".ci/tools/go.mod",
        ] {
            fs::copy(from.join(file), clone.path("clone").join(file)).unwrap();
        }
        let chart = [from.join("helm/microblog"), clone.path("clone/helm")];
        run("cp", [["-R".into()].as_slice(), &chart].concat()).succeeded();
        fs::write(clone.path("clone/.gitignore"), "/target\n").unwrap();
        for words in [
            ["init", "--quiet"].as_slice(),
            &["add", "--all"],
            &[
                "-c",
                "user.name=A",
                "-c",
                "user.email=a@example.org",
                "commit",
                "--quiet",
                "--message",
                "All",
            ],
        ] {
            let at = ["-C".to_owned(), clone.path("clone").display().to_string()];
            run("git", at.into_iter().chain(words.iter().map(|word| (*word).to_owned()))).succeeded();
        }

        fs::write(clone.path("stand-in"), STAND_IN).unwrap();
        fs::set_permissions(clone.path("stand-in"), fs::Permissions::from_mode(0o755)).unwrap();
        symlink(clone.path("stand-in"), clone.path("tools/buildah")).unwrap();
        // .ci/versions has the paths of the other two.
        for variable in ["HELM", "CARGO_CYCLONEDX"] {
            let script = format!(". .ci/versions; printf %s \"${variable}\"");
            let shell = Command::new("sh")
                .args(["-c", &script])
                .current_dir(clone.path("clone"))
                .env("XDG_CACHE_HOME", clone.path("cache"))
                .output()
                .unwrap();
            let path = PathBuf::from(String::from_utf8(shell.stdout).unwrap());
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            symlink(clone.path("stand-in"), path).unwrap();
        }
        clone
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn publish(&self, prefix: &str, tag: &str) -> (bool, String) {
        let output = Command::new(self.path("clone/.ci/publish"))
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("HERE", self.0.path())
            .env("REAL_HELM", tool("HELM"))
            .env("IMAGE_TOOL", self.path("tools/buildah"))
            .env("PROGRAMS", PROGRAMS.join(" "))
            .env("IMAGE_PREFIX", prefix)
            .env("IMAGE_TAG", tag)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    fn calls(&self) -> String {
        fs::read_to_string(self.path("calls")).unwrap_or_default()
    }
}

#[test]
fn the_chart_that_is_pushed_names_the_images_that_are_pushed() {
    let clone = Clone::new();
    let (success, said) = clone.publish("registry.example.org/team/microblog", "1.2.3-rc.1");
    assert!(success, "{said}");
    let out = clone.path("clone/target/publish/1.2.3-rc.1");
    let chart = out.join("microblog-1.2.3-rc.1.tgz").display().to_string();
    let rendered = run(tool("HELM"), ["template", "microblog", &chart, "--kube-version=1.32.0"]).succeeded();
    let rendered = Manifests::parse(&rendered).unwrap();
    let images: Vec<String> = rendered
        .clone()
        .with_nested()
        .pods()
        .flat_map(|pod| {
            pod.containers()
                .map(|container| container["image"].as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        })
        .filter(|image| !image.contains("mongo:"))
        .collect();
    let pushed = fs::read_to_string(out.join("images.txt")).unwrap();
    assert_eq!(pushed.lines().count(), PROGRAMS.len());
    for line in pushed.lines() {
        let (name, digest) = line.split_once('@').unwrap();
        assert!(
            images.contains(&format!("{name}:1.2.3-rc.1@{digest}")),
            "{line} is not among {images:?}"
        );
    }
    assert!(images.iter().all(|image| image.contains("@sha256:")), "{images:?}");
    // Another tag means other images, so the digests do not apply.
    let other = [
        "template",
        "microblog",
        &chart,
        "--kube-version=1.32.0",
        "--set=image.tag=other",
    ];
    assert!(!run(tool("HELM"), other).succeeded().contains("@sha256:"));

    let calls = clone.calls();
    let push = format!("helm push {chart} oci://registry.example.org/team/microblog/charts");
    assert!(calls.contains(&push), "{calls}");
    for program in PROGRAMS {
        assert!(
            out.join(format!("{program}.cdx.json")).is_file(),
            "{program} has no bill of materials"
        );
    }
}

#[test]
fn what_could_not_be_found_again_is_not_published() {
    let clone = Clone::new();
    for (prefix, tag, why) in [
        ("localhost/microblog", "1.2.3", "IMAGE_PREFIX must name a registry"),
        ("registry.example.org", "1.2.3", "IMAGE_PREFIX must be REGISTRY/PATH"),
        ("registry.example.org/microblog", "dev", "IMAGE_TAG must be a version"),
    ] {
        let (success, said) = clone.publish(prefix, tag);
        assert!(!success && said.contains(why), "{said}");
    }
    fs::write(clone.path("clone/helm/microblog/values.yaml"), "{}").unwrap();
    let (success, said) = clone.publish("registry.example.org/microblog", "1.2.3");
    assert!(!success && said.contains("uncommitted changes"), "{said}");
    assert_eq!(clone.calls(), "");
}
