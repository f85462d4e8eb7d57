//! What checks of the Kubernetes manifests are made of: rendering them, reading them, and judging what NetworkPolicies allow.

pub mod manifests;
pub mod network;
pub mod promql;
pub mod render;
