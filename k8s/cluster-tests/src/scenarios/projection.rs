//! The operator rebuilds and pauses the views.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::future::{FutureExt as _, LocalBoxFuture};
use serde_json::{Value, json};

use crate::installation::{Installation, Kind};
use crate::namespace::Namespace;
use crate::narration::{quote, say, seconds};
use crate::suite::{Scenario, Suite};
use crate::waiting::{Seen, eventually};

pub(crate) const PROJECTION: Scenario = Scenario {
    name: "projection",
    shows: "a raised generation rebuilds the views under load while the operator is killed: no failed or stale read; pause and resume",
    needs: &[],
    run,
};

const REBUILT_WITHIN: Duration = Duration::from_secs(240);
const NOTICED_WITHIN: Duration = Duration::from_secs(90);

fn run(suite: &mut Suite) -> LocalBoxFuture<'_, Result<()>> {
    async move {
        let installation = suite.installation(Kind::Bundled).await?;
        let rebuild = rebuild_with(installation, kill_the_leader(installation));
        let ((), report) = installation.under_load("rebuild", rebuild).await?;
        report.expect_no_failure()?;
        installation.community.prove_nothing_is_lost().await?;
        installation.verify().await?;

        pause_and_go_on(installation).await?;
        installation.community.prove_nothing_is_lost().await
    }
    .boxed_local()
}

/// Raises the generation, and waits until the new generation is read.
pub(super) async fn rebuild(installation: &Installation) -> Result<()> {
    rebuild_with(installation, async { Ok(()) }).await
}

/// The same, but runs `meanwhile` during the rebuild.
async fn rebuild_with(installation: &Installation, meanwhile: impl Future<Output = Result<()>>) -> Result<()> {
    let before = settled(&installation.namespace).await?;
    let next = before["status"]["generation"]
        .as_u64()
        .context("the status has no generation")?
        + 1;
    show(&installation.namespace).await?;
    patch(&installation.namespace, &json!({ "generation": next })).await?;
    let (_, took) = eventually("the rebuild's Job", NOTICED_WITHIN, async || {
        a_job_runs(installation).await
    })
    .await?;
    say(format_args!("a Job rebuilds after {}", seconds(took)));
    show(&installation.namespace).await?;
    meanwhile.await?;
    let (_, took) = eventually("the new generation", REBUILT_WITHIN, async || {
        let projection = get(&installation.namespace).await?;
        let status = &projection["status"];
        let is_active = status["generation"].as_u64() == Some(next) && is_settled(&projection);
        Ok(if is_active {
            Seen::There(())
        } else {
            Seen::NotYet(status.to_string())
        })
    })
    .await?;
    say(format_args!(
        "{} later, generation {next} is read and the previous one is gone",
        seconds(took)
    ));
    show(&installation.namespace).await
}

/// While the projection is paused, commands are accepted and nothing new is shown. Afterwards the views catch up.
async fn pause_and_go_on(installation: &Installation) -> Result<()> {
    patch(&installation.namespace, &json!({ "paused": true })).await?;
    wait_for_phase(&installation.namespace, "Paused").await?;
    show(&installation.namespace).await?;
    let community = &installation.community;
    // The projectors pause within about a second after the operator has told them.
    let (unseen, _) = eventually("posts that no query shows", NOTICED_WITHIN, async || {
        let posts = community.everybody_posts().await?;
        Ok(match community.shown(&posts).await {
            0 => Seen::There(posts),
            shown => Seen::NotYet(format!("{shown} of {} posts are still shown", posts.len())),
        })
    })
    .await?;
    community.everybody_posts().await?;
    ensure!(
        community.shown(&unseen).await == 0,
        "a paused projection shows new posts"
    );

    patch(&installation.namespace, &json!({ "paused": false })).await?;
    settled(&installation.namespace).await?;
    let (_, took) = eventually("the posts of the pause", NOTICED_WITHIN, async || {
        Ok(match community.shown(&unseen).await {
            shown if shown == unseen.len() => Seen::There(()),
            shown => Seen::NotYet(format!("{shown} of {} posts are shown", unseen.len())),
        })
    })
    .await?;
    say(format_args!(
        "the posts of the pause are shown {} after the projection resumed",
        seconds(took)
    ));
    show(&installation.namespace).await
}

pub(super) async fn get(namespace: &Namespace) -> Result<Value> {
    namespace.get(&["projection", "views"]).await
}

async fn show(namespace: &Namespace) -> Result<()> {
    quote(&namespace.kubectl().args(["get", "projections"]).run().await?);
    Ok(())
}

pub(super) async fn patch(namespace: &Namespace, spec: &Value) -> Result<()> {
    say(format_args!("projection views: {spec}"));
    let patch = json!({ "spec": spec }).to_string();
    let kubectl = namespace
        .kubectl()
        .args(["patch", "projection", "views", "--type=merge", "--patch", &patch]);
    kubectl.run().await.map(drop)
}

fn is_settled(projection: &Value) -> bool {
    projection["status"]["phase"] == "Following"
        && projection["status"]["observedGeneration"] == projection["metadata"]["generation"]
}

pub(super) async fn settled(namespace: &Namespace) -> Result<Value> {
    let (projection, _) = eventually("the projection ready", NOTICED_WITHIN, async || {
        let projection = get(namespace).await?;
        Ok(if is_settled(&projection) {
            Seen::There(projection)
        } else {
            Seen::NotYet(projection["status"].to_string())
        })
    })
    .await?;
    Ok(projection)
}

pub(super) async fn wait_for_phase(namespace: &Namespace, phase: &str) -> Result<()> {
    let (_, took) = eventually(phase, NOTICED_WITHIN, async || {
        let projection = get(namespace).await?;
        let status = &projection["status"];
        Ok(if status["phase"] == phase {
            Seen::There(())
        } else {
            Seen::NotYet(status.to_string())
        })
    })
    .await?;
    say(format_args!("{phase} after {}", seconds(took)));
    Ok(())
}

async fn a_job_runs(installation: &Installation) -> Result<Seen<()>> {
    let jobs = installation
        .namespace
        .get(&["jobs", "-l", "app.kubernetes.io/component=rebuild"])
        .await?;
    let items = jobs["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let active = items
        .iter()
        .any(|job| job["status"]["active"].as_u64().unwrap_or(0) > 0);
    Ok(if active {
        Seen::There(())
    } else {
        Seen::NotYet(format!("{} Jobs, none active", items.len()))
    })
}

/// Kills the pod that holds the Lease, without a chance to release it.
async fn kill_the_leader(installation: &Installation) -> Result<()> {
    let lease = installation.namespace.get(&["lease", "microblog-operator"]).await?;
    let holder = lease["spec"]["holderIdentity"]
        .as_str()
        .context("nobody holds the operator's lease")?;
    let pods = installation.namespace.pods("operator").await?;
    let pod = pods.iter().find(|pod| holder.contains(pod.as_str()));
    let pod = pod.with_context(|| format!("{holder} is not a pod"))?;
    say(format_args!("killing {pod}, which is the leader"));
    let delete = installation
        .namespace
        .kubectl()
        .args(["delete", "pod", pod, "--grace-period=0", "--force"]);
    delete.run().await.map(drop)
}
