//! The manifests as they are rendered, judged by the tools that judge manifests and by what this project promises.

#![expect(
    clippy::unwrap_used,
    reason = "in tests, what helps them included, a panic is an answer"
)]

mod chart;
mod configuration;
mod ec2;
mod kustomize;
mod monitoring;
mod network;
mod pods;
mod publish;
mod schemas;
mod scores;
