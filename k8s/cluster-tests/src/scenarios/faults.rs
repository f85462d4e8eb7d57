//! Ordinary faults: of a projector, and of the database.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::{FutureExt as _, LocalBoxFuture};

use crate::installation::{Installation, Kind};
use crate::narration::{say, seconds};
use crate::suite::{Scenario, Suite};
use crate::waiting::{Seen, eventually};

pub(crate) const FAULTS: Scenario = Scenario {
    name: "faults",
    shows: "projectors are deleted at random and MongoDB's pod restarts, under load: afterwards verify finds no difference",
    needs: &[],
    run,
};

/// How soon everything must continue after MongoDB is ready again.
const BACK_WITHIN: Duration = Duration::from_secs(30);
const READY_WITHIN: Duration = Duration::from_secs(180);

fn run(suite: &mut Suite) -> LocalBoxFuture<'_, Result<()>> {
    async move {
        let installation = suite.installation(Kind::Bundled).await?;
        let load = installation.load().await?;
        for (round, crash) in [false, true, true].into_iter().enumerate() {
            tokio::time::sleep(at_random(Duration::from_secs(6))).await;
            delete_a_projector(installation, round, crash).await?;
        }
        wait_for(installation, "deployment/microblog-projector").await?;
        load.stop("while projectors were deleted").await?;

        let load = installation.load().await?;
        tokio::time::sleep(at_random(Duration::from_secs(3))).await;
        let pods = installation.namespace.pods("mongodb").await?;
        let pod = pods.first().context("MongoDB has no pod")?;
        say(format_args!("deleting {pod}"));
        let delete = installation.namespace.kubectl().args(["delete", "pod", pod, "--wait"]);
        delete.run().await?;
        wait_for(installation, "statefulset/microblog-mongodb").await?;
        let back = Instant::now();
        // Wait until the posts of all users are shown again, so that all their partitions of the views have caught up.
        let community = &installation.community;
        let (_, took) = eventually("the posts of all users", BACK_WITHIN, async || {
            let posts = community.everybody_posts().await?;
            Ok(match community.shown(&posts).await {
                shown if shown == posts.len() => Seen::There(()),
                shown => Seen::NotYet(format!("{shown} of {} posts are shown", posts.len())),
            })
        })
        .await?;
        say(format_args!(
            "the posts of all users are shown {} after MongoDB was ready again",
            seconds(took)
        ));
        let all_well = Instant::now();
        // The load continues for this long after that.
        tokio::time::sleep(Duration::from_secs(10)).await;
        let report = load.stop("while MongoDB was restarted").await?;
        if let Some(last) = report.last_failure_since(back) {
            let failing = last.ended() - back;
            say(format_args!(
                "the last failure ended {} after MongoDB was ready again",
                seconds(failing)
            ));
            ensure!(
                failing <= BACK_WITHIN,
                "a request still failed {} later: {last}",
                seconds(failing)
            );
        }
        report.expect_no_failure_since(all_well, "after everything had recovered")?;
        ensure!(
            report.succeeded_since(all_well) > 100,
            "too few requests succeeded afterwards"
        );

        installation.community.prove_nothing_is_lost().await?;
        installation.verify().await
    }
    .boxed_local()
}

async fn delete_a_projector(installation: &Installation, round: usize, crash: bool) -> Result<()> {
    let pods = installation.namespace.pods("projector").await?;
    let pod = pods.get(round % pods.len().max(1)).context("there is no projector")?;
    let delete = installation
        .namespace
        .kubectl()
        .args(["delete", "pod", pod, "--wait=false"]);
    if crash {
        say(format_args!("killing {pod}"));
        delete.args(["--grace-period=0", "--force"]).run().await?;
    } else {
        say(format_args!("deleting {pod}"));
        delete.run().await?;
    }
    Ok(())
}

/// Waits until all replicas are ready.
pub(super) async fn wait_for(installation: &Installation, workload: &str) -> Result<()> {
    let (_, took) = eventually(workload, READY_WITHIN, async || {
        let found = installation.namespace.get(&[workload]).await?;
        let (wanted, status) = (&found["spec"]["replicas"], &found["status"]);
        if status["readyReplicas"] == *wanted && status["replicas"] == *wanted {
            return Ok(Seen::There(()));
        }
        Ok(Seen::NotYet(format!("{status}")))
    })
    .await?;
    say(format_args!("{workload} is ready after {}", seconds(took)));
    Ok(())
}

/// A time up to `longest`, which should differ in each run.
fn at_random(longest: Duration) -> Duration {
    let nanoseconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let random = nanoseconds.unwrap_or_default().subsec_micros() % 1000;
    longest * random / 1000
}
