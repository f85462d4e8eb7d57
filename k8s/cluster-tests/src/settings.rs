//! What differs from one cluster to the next. Nothing else in this crate knows where it runs.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Parser;

/// Test Microblog on the Kubernetes that KUBECONFIG points at
///
/// Builds the images from binaries that are there already, installs the chart in namespaces of its own (which enforce the
/// restricted Pod Security Standard and are removed at the end), and goes through the scenarios: `--list` names them. A
/// scenario that needs what this cluster has not is skipped, and says so.
///
/// It uses kubectl, helm and the Postman collection as a person would. What is special about a cluster is said by the variables below;
/// a command among them is split at spaces.
#[derive(Debug, Clone, Parser)]
#[command(version, name = "test-cluster")]
pub(crate) struct Settings {
    /// Only the scenario of this name; may be given several times
    #[arg(long, value_name = "NAME")]
    pub(crate) only: Vec<String>,

    /// Print the scenarios and do nothing
    #[arg(long)]
    pub(crate) list: bool,

    /// Leave the namespaces there, for a look
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

    /// Where the compiled programs are [default: target/debug, or what CARGO_TARGET_DIR says]
    #[arg(long, value_name = "DIRECTORY", env = "BINARIES")]
    pub(crate) binaries: Option<PathBuf>,

    /// What builds images: docker, podman or buildah [default: the first of them that is there]
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

    /// The command that loads an image, whose name is added, into the cluster: `minikube image load`, `kind load docker-image`
    #[arg(long, value_name = "COMMAND", env = "LOAD_IMAGE")]
    pub(crate) load_image: Option<String>,

    /// The command that cuts a node, whose name is added, off the network
    #[arg(long, value_name = "COMMAND", env = "CUT_NODE")]
    pub(crate) cut_node: Option<String>,

    /// The command that lets it join again
    #[arg(long, value_name = "COMMAND", env = "JOIN_NODE")]
    pub(crate) join_node: Option<String>,

    /// The command that prints the connections that the nodes have seen, one a line: protocol, source, destination, port; addresses
    /// and port of the pods, not of their Service, and without what the nodes themselves begin
    #[arg(long, value_name = "COMMAND", env = "FLOWS")]
    pub(crate) flows: Option<String>,

    /// The address under which pods reach this machine: for a database outside of the cluster that this program starts
    #[arg(long, value_name = "ADDRESS", env = "HOST_ADDRESS")]
    pub(crate) host_address: Option<IpAddr>,

    /// An image of MongoDB for the chart's own one [default: an image of the stand-in, which is built]
    #[arg(long, value_name = "IMAGE", env = "MONGODB_IMAGE")]
    pub(crate) mongodb_image: Option<String>,

    /// The programs that the scenario `helm` is run with, one after the other; all others use the `helm` on the PATH
    #[arg(
        long,
        value_name = "PROGRAM,...",
        env = "HELMS",
        value_delimiter = ',',
        default_value = "helm"
    )]
    pub(crate) helms: Vec<String>,

    /// A directory with the definitions of others' kinds that the chart uses: httproutes-*.yaml, servicemonitors-*.yaml, ...
    #[arg(long, value_name = "DIRECTORY", env = "CRDS")]
    pub(crate) crds: Option<PathBuf>,

    /// Requests a second
    #[arg(long, value_name = "N", env = "LOAD_RATE", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: u32,

    /// Where to put what was found out about a failure
    #[arg(
        long,
        value_name = "DIRECTORY",
        env = "DIAGNOSTICS",
        default_value = "target/cluster-tests"
    )]
    pub(crate) diagnostics: PathBuf,
}
