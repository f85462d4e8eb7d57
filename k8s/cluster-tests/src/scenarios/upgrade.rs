//! An upgrade to a new version and a changed configuration, and a rollback, under load.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures_util::future::{FutureExt as _, LocalBoxFuture};

use crate::images::{NEXT_TAG, TAG};
use crate::installation::{Installation, Kind};
use crate::suite::{Scenario, Suite};

pub(crate) const STEADY: Scenario = Scenario {
    name: "steady",
    shows: "nothing happens, and no request fails: the machine can handle this load",
    needs: &[],
    run: steady,
};

pub(crate) const UPGRADE: Scenario = Scenario {
    name: "upgrade",
    shows: "helm upgrade with a changed configuration and new images, and helm rollback, under load: no request fails, and no open stream loses a post",
    needs: &[],
    run: upgrade,
};

fn steady(suite: &mut Suite) -> LocalBoxFuture<'_, Result<()>> {
    async move {
        let installation = suite.installation(Kind::Bundled).await?;
        let nothing = async {
            tokio::time::sleep(Duration::from_secs(15)).await;
            Ok(())
        };
        let ((), report) = installation.under_load("undisturbed", nothing).await?;
        report.expect_no_failure()
    }
    .boxed_local()
}

fn upgrade(suite: &mut Suite) -> LocalBoxFuture<'_, Result<()>> {
    async move {
        let installation = suite.installation(Kind::Bundled).await?;
        let image = format!("image.tag={NEXT_TAG}");
        let values = [image.as_str(), "config.timelines.prev_overlap=11s"];
        let upgrade = installation.upgrade(&values);
        let ((), report) = installation.under_load("upgrade", upgrade).await?;
        expect_everywhere(installation, NEXT_TAG).await?;
        ensure!(
            configuration(installation).await?.contains("prev_overlap = \"11s\""),
            "the pods don't have the changed configuration"
        );
        report.expect_no_failure()?;

        let ((), report) = installation.under_load("rollback", installation.rollback()).await?;
        expect_everywhere(installation, TAG).await?;
        ensure!(
            configuration(installation).await?.contains("prev_overlap = \"10s\""),
            "the pods don't have the former configuration"
        );
        report.expect_no_failure()?;
        installation.community.prove_nothing_is_lost().await
    }
    .boxed_local()
}

/// Checks that no pod with another image is left.
async fn expect_everywhere(installation: &Installation, tag: &str) -> Result<()> {
    let pods = installation
        .namespace
        .get(&["pods", "-l", "app.kubernetes.io/name=microblog"])
        .await?;
    let pods = pods["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let programs = ["gateway", "command", "query", "projector", "operator"];
    let mut seen = 0;
    for pod in pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()) {
        let component = &pod["metadata"]["labels"]["app.kubernetes.io/component"];
        if programs.iter().any(|program| component == program) {
            let image = pod["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
            ensure!(
                image.ends_with(&format!(":{tag}")),
                "{} runs {image}",
                pod["metadata"]["name"]
            );
            seen += 1;
        }
    }
    ensure!(seen >= 10, "there are only {seen} pods");
    Ok(())
}

/// The configuration that a pod sees.
async fn configuration(installation: &Installation) -> Result<String> {
    let exec = installation
        .namespace
        .kubectl()
        .args(["exec", "deployment/microblog-query", "--"]);
    exec.args(["/usr/local/bin/query-svc", "--print-config"]).run().await
}
