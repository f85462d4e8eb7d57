//! Autoscaling: more pods while there is more load.

use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::future::{FutureExt as _, LocalBoxFuture};

use crate::installation::{Installation, Kind};
use crate::narration::{quote, say, seconds};
use crate::suite::{Need, Scenario, Suite};
use crate::waiting::{Seen, eventually};

pub(crate) const AUTOSCALING: Scenario = Scenario {
    name: "autoscaling",
    shows: "the HorizontalPodAutoscaler of query-svc adds pods under load and removes them afterwards; no request fails",
    needs: &[Need::Metrics],
    run,
};

/// Requests a second. Two processors can handle this many beside a cluster and the database.
const BUSY: u32 = 60;
const QUIET: u32 = 4;
/// The metrics are up to 15 s old, and a pod needs time to start.
const UP_WITHIN: Duration = Duration::from_secs(150);
const DOWN_WITHIN: Duration = Duration::from_secs(240);

fn run(suite: &mut Suite) -> LocalBoxFuture<'_, Result<()>> {
    async move {
        let installation = suite.installation(Kind::Bundled).await?;
        installation
            .upgrade(&[
                "query.autoscaling.enabled=true",
                "query.autoscaling.minReplicas=2",
                "query.autoscaling.maxReplicas=4",
                // The target is 30 millicores a pod. The busy load takes twice as much, and the quiet one a third. So the scenario works on
                // machines that are half or twice as fast.
                "query.resources.requests.cpu=25m",
                "query.autoscaling.targetCPUUtilizationPercentage=120",
                "query.autoscaling.behavior.scaleUp.stabilizationWindowSeconds=0",
                "query.autoscaling.behavior.scaleDown.stabilizationWindowSeconds=15",
            ])
            .await?;
        wait_for_replicas(installation, "2 pods at the beginning", UP_WITHIN, |ready| ready == 2).await?;

        let load = installation.load_of(BUSY).await?;
        let scaled = wait_for_replicas(installation, "more than 2 ready pods", UP_WITHIN, |ready| ready > 2).await;
        let report = load.stop("scaling up").await;
        show(installation).await?;
        scaled?;
        report?.expect_no_failure()?;

        // Pods that are removed under load must drain as well as in an upgrade.
        let load = installation.load_of(QUIET).await?;
        let scaled = wait_for_replicas(installation, "2 pods again", DOWN_WITHIN, |ready| ready == 2).await;
        let report = load.stop("scaling down").await;
        show(installation).await?;
        scaled?;
        report?.expect_no_failure()
    }
    .boxed_local()
}

async fn wait_for_replicas(
    installation: &Installation,
    what: &str,
    within: Duration,
    enough: impl Fn(u64) -> bool,
) -> Result<()> {
    let (ready, took) = eventually(what, within, async || {
        let deployment = installation.namespace.get(&["deployment", "microblog-query"]).await?;
        let wanted = deployment["spec"]["replicas"].as_u64().context("replicas")?;
        let there = deployment["status"]["replicas"].as_u64().unwrap_or(0);
        let ready = deployment["status"]["readyReplicas"].as_u64().unwrap_or(0);
        if enough(ready) && there == wanted {
            return Ok(Seen::There(ready));
        }
        Ok(Seen::NotYet(format!("{ready} of {wanted} are ready, {there} exist")))
    })
    .await?;
    say(format_args!("{what}: {ready} after {}", seconds(took)));
    Ok(())
}

async fn show(installation: &Installation) -> Result<()> {
    let get = installation
        .namespace
        .kubectl()
        .args(["get", "horizontalpodautoscalers"]);
    quote(&get.output().await?);
    Ok(())
}
