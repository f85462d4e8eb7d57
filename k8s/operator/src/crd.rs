//! The CustomResourceDefinition that is committed and installed.

use kube::CustomResourceExt as _;

use crate::projection::Projection;

const HEAD: &str = "# Generated: cargo run -p operator -- crd > k8s/crd/projections.yaml\n";

/// The definition of `Projection`.
///
/// # Errors
/// If the definition can't be written as YAML.
pub fn yaml() -> Result<String, serde_saphyr::ser::Error> {
    let definition = serde_saphyr::to_string(&Projection::crd())?;
    Ok(format!("{HEAD}{}\n", definition.trim_end()))
}
