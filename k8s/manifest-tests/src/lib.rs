//! Parts for the checks of the Kubernetes manifests: they render and read the manifests, and judge what NetworkPolicies allow.

pub mod manifests;
pub mod network;
pub mod promql;
pub mod render;

/// The programs of the product. Each has an image of its own.
pub const PROGRAMS: [&str; 6] = [
    "command-svc",
    "query-svc",
    "projector",
    "gateway",
    "operator",
    "microblog",
];
