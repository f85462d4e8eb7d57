//! `operator release`: lets every Projection of the namespace go, while there still is an operator that undoes what they did. The
//! chart runs it before it is uninstalled.

use anyhow::Context as _;
use kube::api::DeleteParams;
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client, ResourceExt as _};

use crate::projection::Projection;

/// Deletes them and waits until they are gone.
///
/// # Errors
/// When Kubernetes refuses, or does not answer.
pub async fn release(client: Client, namespace: &str) -> anyhow::Result<()> {
    let projections: Api<Projection> = Api::namespaced(client, namespace);
    for projection in projections.list(&kube::api::ListParams::default()).await? {
        let (name, uid) = (projection.name_any(), projection.uid().unwrap_or_default());
        match projections.delete(&name, &DeleteParams::default()).await {
            Ok(_) => {}
            // It was deleted meanwhile.
            Err(kube::Error::Api(status)) if status.code == 404 => continue,
            Err(error) => return Err(error).with_context(|| format!("can't delete the projection {name}")),
        }
        await_condition(projections.clone(), &name, conditions::is_deleted(&uid))
            .await
            .with_context(|| format!("can't see whether the projection {name} is gone"))?;
        tracing::info!(projection = name, "is gone");
    }
    Ok(())
}
