//! Runs the pinned tools that `.ci/setup` installs.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use crate::manifests::Manifests;

/// The namespace and the release name for all rendered manifests. The kustomizations use the same.
pub const NAMESPACE: &str = "microblog";
pub const RELEASE: &str = "microblog";

/// The oldest and the newest Kubernetes version that is supported. `kubeVersion` in Chart.yaml has the oldest, too.
pub const OLDEST_KUBERNETES: &str = "1.32.0";
pub const NEWEST_KUBERNETES: &str = "1.37.0";

/// The repository that contains the working directory. This is not always the clone where this code was compiled, because clones can share
/// a build cache.
///
/// # Panics
/// If the working directory is not in the repository.
pub fn repository() -> PathBuf {
    let here = env::current_dir().expect("there is a working directory");
    let repository = here
        .ancestors()
        .find(|directory| directory.join(".ci/versions").is_file());
    repository
        .unwrap_or_else(|| panic!("{} is not in the repository", here.display()))
        .to_owned()
}

pub fn chart() -> PathBuf {
    repository().join("helm/microblog")
}

/// The path of a tool, by its variable in `.ci/versions`.
///
/// # Panics
/// If the tool is not installed.
pub fn tool(variable: &str) -> PathBuf {
    let output = Command::new("sh")
        .args(["-c", &format!(". .ci/versions; printf %s \"${variable}\"")])
        .current_dir(repository())
        .output()
        .expect("there is a shell");
    let path = PathBuf::from(String::from_utf8(output.stdout).expect("a path in UTF-8"));
    assert!(
        path.exists(),
        "{variable} is not installed ({}): please run .ci/setup",
        path.display()
    );
    path
}

/// What a tool printed, and whether it succeeded.
#[derive(Debug)]
pub struct Ran {
    pub success: bool,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// The standard output of the tool.
    ///
    /// # Panics
    /// If the tool failed.
    #[track_caller]
    pub fn succeeded(self) -> String {
        assert!(self.success, "{self}");
        self.stdout
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.stdout, self.stderr)
    }
}

/// Runs a tool, and waits until it ends.
///
/// # Panics
/// If the tool can't be started.
pub fn run(program: impl AsRef<Path>, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Ran {
    let program = program.as_ref();
    let output = Command::new(program)
        .args(arguments)
        .current_dir(repository())
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ran {
        success: output.status.success(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

/// Values for rendering the chart: a name and a list of files. Later files override earlier ones.
#[derive(Debug, Clone)]
pub struct Values {
    pub name: String,
    pub files: Vec<PathBuf>,
}

impl Values {
    /// An example from `helm/microblog/ci`.
    pub fn example(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            files: vec![chart().join(format!("ci/{name}-values.yaml"))],
        }
    }

    /// All examples from `helm/microblog/ci`, and the values of the tests on a real cluster.
    pub fn all() -> Vec<Self> {
        let directory = chart().join("ci");
        let mut all: Vec<Self> = std::fs::read_dir(&directory)
            .expect("the chart has examples of its values")
            .map(|entry| entry.expect("a directory can be read").file_name())
            .map(|name| name.into_string().expect("names are UTF-8"))
            .map(|name| Self::example(name.strip_suffix("-values.yaml").expect("examples end in -values.yaml")))
            .collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all.push(Self {
            name: "cluster-tests".to_owned(),
            files: ["values.yaml", "values-stand-in.yaml"]
                .map(|file| repository().join("k8s/cluster-tests").join(file))
                .to_vec(),
        });
        all
    }

    /// `--values=FILE` for each file.
    pub fn arguments(&self) -> impl Iterator<Item = String> {
        self.files.iter().map(|file| format!("--values={}", file.display()))
    }

    /// Runs `helm template` with these values and additional arguments.
    pub fn template(&self, further: &[&str]) -> Ran {
        let chart = chart();
        let fixed = [
            "template",
            RELEASE,
            &chart.display().to_string(),
            "--namespace",
            NAMESPACE,
        ]
        .map(str::to_owned);
        // A Helm that was not built by its release process assumes a very old Kubernetes version.
        let version = format!("--kube-version={NEWEST_KUBERNETES}");
        let further = further.iter().copied().map(str::to_owned);
        run(
            tool("HELM"),
            fixed
                .into_iter()
                .chain([version])
                .chain(self.arguments())
                .chain(further),
        )
    }

    /// Renders the chart with these values, only once for a whole run of tests.
    ///
    /// # Panics
    /// If rendering fails.
    #[track_caller]
    pub fn render(&self) -> Manifests {
        static RENDERED: Mutex<BTreeMap<String, Manifests>> = Mutex::new(BTreeMap::new());
        // If a test panicked while it held this lock, the map is still consistent.
        let known = || RENDERED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rendered) = known().get(&self.name) {
            return rendered.clone();
        }
        let rendered = self.render_anew();
        known().insert(self.name.clone(), rendered.clone());
        rendered
    }

    /// Renders the chart again, with new random values.
    ///
    /// # Panics
    /// If rendering fails.
    #[track_caller]
    pub fn render_anew(&self) -> Manifests {
        Manifests::parse(&self.template(&[]).succeeded()).expect("Helm renders YAML")
    }
}
