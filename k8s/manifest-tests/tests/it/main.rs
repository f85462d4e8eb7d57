//! Checks the rendered manifests with tools for manifests, and against the promises of this project.

#![expect(
    clippy::unwrap_used,
    reason = "in tests and their helpers, a panic is a correct way to fail"
)]

mod chart;
mod checkov;
mod configuration;
mod ec2;
mod kustomize;
mod lookup;
mod monitoring;
mod network;
mod pods;
mod publish;
mod schemas;
mod templates;

use manifest_tests::manifests::Manifests;
use manifest_tests::render::Values;

/// Renders the chart with its defaults and these values.
#[track_caller]
fn rendered(values: &serde_json::Value) -> Manifests {
    let file = tempfile::NamedTempFile::new().unwrap();
    // JSON is YAML.
    std::fs::write(&file, values.to_string()).unwrap();
    let values = Values {
        name: "given".to_owned(),
        files: vec![file.path().to_owned()],
    };
    values.render_anew()
}
