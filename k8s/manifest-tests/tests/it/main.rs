//! The manifests as they are rendered, judged by the tools that judge manifests and by what this project promises.

#![expect(
    clippy::unwrap_used,
    reason = "in tests, what helps them included, a panic is an answer"
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

/// What the chart renders with its defaults and these values.
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
