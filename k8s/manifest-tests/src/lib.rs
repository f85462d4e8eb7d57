//! Parts for the checks of the Kubernetes manifests: they render and read the manifests, and judge what NetworkPolicies allow.

pub mod manifests;
pub mod network;
pub mod promql;
pub mod render;
