//! The settings that differ between clusters. Nothing else in this crate knows where it runs.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Parser;

/// Test Microblog on the Kubernetes cluster that KUBECONFIG points at
///
/// Builds the images from compiled binaries, installs the chart in namespaces of its own, and runs the scenarios. `--list` prints the
/// scenarios. The namespaces enforce the restricted Pod Security Standard, and are deleted at the end. A scenario whose needs the cluster
/// does not meet is skipped, and the output says so.
///
/// It uses kubectl, helm and the Postman collection, as a person would. The variables below describe what is special about a cluster. A
/// command in a variable is split at spaces.
#[derive(Debug, Clone, Parser)]
#[command(version, name = "test-cluster")]
pub(crate) struct Settings {
    /// Run only the scenario with this name; may be given several times
    #[arg(long, value_name = "NAME")]
    pub(crate) only: Vec<String>,

    /// Print the scenarios and do nothing
    #[arg(long)]
    pub(crate) list: bool,

    /// Keep the namespaces, so that they can be examined
    #[arg(long)]
    pub(crate) keep: bool,

    /// Use the images that an earlier run has built and loaded
    #[arg(long)]
    pub(crate) skip_images: bool,

    /// A further value for the chart; may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,

    /// The repository
    #[arg(long, value_name = "DIRECTORY", default_value = ".")]
    pub(crate) repository: PathBuf,

    /// The directory with the compiled programs [default: target/debug, or debug in CARGO_TARGET_DIR]
    #[arg(long, value_name = "DIRECTORY", env = "BINARIES")]
    pub(crate) binaries: Option<PathBuf>,

    /// The program that builds images: docker, podman or buildah [default: the first of them that is installed]
    #[arg(long, value_name = "PROGRAM", env = "IMAGE_TOOL")]
    pub(crate) image_tool: Option<String>,

    /// Further flags for building images
    #[arg(
        long,
        value_name = "FLAGS",
        env = "IMAGE_FLAGS",
        default_value = "",
        allow_hyphen_values = true
    )]
    pub(crate) image_flags: String,

    /// The command that loads an image into the cluster; the name of the image is appended: `minikube image load`, `kind load docker-image`
    #[arg(long, value_name = "COMMAND", env = "LOAD_IMAGE")]
    pub(crate) load_image: Option<String>,

    /// The command that cuts a node off the network; the name of the node is appended
    #[arg(long, value_name = "COMMAND", env = "CUT_NODE")]
    pub(crate) cut_node: Option<String>,

    /// The command that lets the node join again; the name of the node is appended
    #[arg(long, value_name = "COMMAND", env = "JOIN_NODE")]
    pub(crate) join_node: Option<String>,

    /// The command that prints the connections that the nodes have seen, one on each line: protocol, source, destination, port. Address and
    /// port are those of the pods, not of their Service. Connections that the nodes themselves begin are left out
    #[arg(long, value_name = "COMMAND", env = "FLOWS")]
    pub(crate) flows: Option<String>,

    /// The address at which pods reach this machine, for a database outside the cluster that this program starts
    #[arg(long, value_name = "ADDRESS", env = "HOST_ADDRESS")]
    pub(crate) host_address: Option<IpAddr>,

    /// The image for the chart's own MongoDB [default: an image of the stand-in, which this program builds]
    #[arg(long, value_name = "IMAGE", env = "MONGODB_IMAGE")]
    pub(crate) mongodb_image: Option<String>,

    /// The Helm programs with which the scenario `helm` runs, one after the other; all other scenarios use the `helm` on the PATH
    #[arg(
        long,
        value_name = "PROGRAM,...",
        env = "HELMS",
        value_delimiter = ',',
        default_value = "helm"
    )]
    pub(crate) helms: Vec<String>,

    /// A directory with the definitions of the third-party kinds that the chart uses: httproutes-*.yaml, servicemonitors-*.yaml, ...
    #[arg(long, value_name = "DIRECTORY", env = "CRDS")]
    pub(crate) crds: Option<PathBuf>,

    /// Requests a second
    #[arg(long, value_name = "N", env = "LOAD_RATE", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: u32,

    /// The directory for the diagnostics of a failure
    #[arg(
        long,
        value_name = "DIRECTORY",
        env = "DIAGNOSTICS",
        default_value = "target/cluster-tests"
    )]
    pub(crate) diagnostics: PathBuf,
}
