//! Runs the pinned tools that `.ci/setup` installs.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use crate::manifests::Manifests;

/// The namespace and the name that everything is rendered with: those of the kustomizations.
pub const NAMESPACE: &str = "microblog";
pub const RELEASE: &str = "microblog";

/// The oldest and the newest Kubernetes that is supported; `kubeVersion` in Chart.yaml says the same.
pub const OLDEST_KUBERNETES: &str = "1.32.0";
pub const NEWEST_KUBERNETES: &str = "1.37.0";

/// The repository that the working directory is in: not where this was compiled, which may be another clone with the same build cache.
///
/// # Panics
/// Outside of it.
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

/// A tool by its variable in `.ci/versions`.
///
/// # Panics
/// When it is not installed.
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

/// What a tool printed, and whether it was content.
#[derive(Debug)]
pub struct Ran {
    pub success: bool,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// What it printed.
    ///
    /// # Panics
    /// When it failed.
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

/// Runs a tool to its end.
///
/// # Panics
/// When it can't be started.
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

/// Values that the chart is rendered with: a name and files, later ones before earlier ones.
#[derive(Debug, Clone)]
pub struct Values {
    pub name: String,
    pub files: Vec<PathBuf>,
}

impl Values {
    /// One of `helm/microblog/ci`.
    pub fn example(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            files: vec![chart().join(format!("ci/{name}-values.yaml"))],
        }
    }

    /// All of `helm/microblog/ci`, and what the tests on a real cluster install.
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

    /// `--values FILE` for each.
    pub fn arguments(&self) -> impl Iterator<Item = String> {
        self.files.iter().map(|file| format!("--values={}", file.display()))
    }

    /// `helm template`, with further arguments.
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
        // Helm built without its release process believes in an ancient Kubernetes.
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

    /// Everything that the chart renders with these values; once for a whole run of tests.
    ///
    /// # Panics
    /// When it can't be rendered.
    #[track_caller]
    pub fn render(&self) -> Manifests {
        static RENDERED: Mutex<BTreeMap<String, Manifests>> = Mutex::new(BTreeMap::new());
        // A test that panicked while it held this has left nothing half done.
        let known = || RENDERED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rendered) = known().get(&self.name) {
            return rendered.clone();
        }
        let rendered = self.render_anew();
        known().insert(self.name.clone(), rendered.clone());
        rendered
    }

    /// The same, with what is random made anew.
    ///
    /// # Panics
    /// When it can't be rendered.
    #[track_caller]
    pub fn render_anew(&self) -> Manifests {
        Manifests::parse(&self.template(&[]).succeeded()).expect("Helm renders YAML")
    }
}
