//! Nodes that go away: by a drain, and by a node failure.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::{FutureExt as _, LocalBoxFuture};

use super::faults::wait_for;
use crate::cluster::{self, Node};
use crate::installation::{DEPLOYMENTS, Installation, Kind};
use crate::narration::{quote, say, seconds};
use crate::suite::{Need, Scenario, Suite};
use crate::waiting::{Seen, eventually};

pub(crate) const DRAIN: Scenario = Scenario {
    name: "drain",
    shows: "either node is drained under load, with the database outside both nodes: no request fails, and no open stream loses a post",
    needs: &[Need::TwoNodes, Need::OutsideDatabase],
    run: drain,
};

pub(crate) const CUT: Scenario = Scenario {
    name: "cut",
    shows: "a node is cut off and comes back: commands and reads continue within 30 s, nothing acknowledged is lost, also on open streams, and no view differs",
    needs: &[Need::TwoNodes, Need::OutsideDatabase, Need::Cutting],
    run: cut,
};

const GOES_ON_WITHIN: Duration = Duration::from_secs(30);

fn drain(suite: &mut Suite) -> LocalBoxFuture<'_, Result<()>> {
    async move {
        let nodes = suite.nodes.clone();
        let installation = suite.installation(Kind::Outside).await?;
        for node in nodes {
            let act = async {
                let begun = Instant::now();
                let drained = cluster::drain(&node).await;
                let waited = wait_for_all(installation).await;
                // The node is uncordoned in any case, even after a failure.
                cluster::uncordon(&node).await?;
                drained.and(waited)?;
                say(format_args!(
                    "{} was drained in {}",
                    node.name,
                    seconds(begun.elapsed())
                ));
                Ok(())
            };
            let ((), report) = installation.under_load(&format!("draining {}", node.name), act).await?;
            report.expect_no_failure()?;
        }
        installation.community.prove_nothing_is_lost().await
    }
    .boxed_local()
}

fn cut(suite: &mut Suite) -> LocalBoxFuture<'_, Result<()>> {
    async move {
        let settings = suite.settings.clone();
        let (lost, others) = suite
            .nodes
            .clone()
            .split_last()
            .map(|(last, others)| (last.clone(), others.to_vec()))
            .context("a cluster has nodes")?;
        let installation = suite.installation(Kind::Outside).await?;
        // Otherwise Services send requests to lost pods until the control plane has noticed the node failure. That takes as long as
        // `--node-monitor-grace-period` says, which is 50 s by default.
        installation
            .upgrade(&[
                "gateway.service.trafficDistribution=PreferSameNode",
                "command.service.trafficDistribution=PreferSameNode",
                "query.service.trafficDistribution=PreferSameNode",
            ])
            .await?;
        // A client that knows only the address of the lost node can't reach anything. In production, a load balancer solves that. So the
        // load uses the other nodes only.
        let front = installation.front(&others);
        Arc::get_mut(&mut installation.community)
            .context("no load is running")?
            .front = front;
        spread(installation, &lost).await?;

        let load = installation.load().await?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let cut_at = Instant::now();
        cluster::cut(&settings, &lost).await?;
        let act = async {
            eventually("the node not ready", Duration::from_secs(90), async || {
                is_not_ready(&lost).await
            })
            .await?;
            say(format_args!(
                "the control plane noticed after {}",
                seconds(cut_at.elapsed())
            ));
            tokio::time::sleep((GOES_ON_WITHIN + Duration::from_secs(15)).saturating_sub(cut_at.elapsed())).await;
            anyhow::Ok(())
        };
        let noticed = act.await;
        cluster::join(&settings, &lost).await?;
        noticed?;
        for workload in DEPLOYMENTS {
            wait_for(installation, workload).await?;
        }
        let report = load.stop("while a node was lost").await?;
        if let Some(last) = report.last_failure_since(cut_at) {
            let failing = last.ended() - cut_at;
            say(format_args!(
                "the last failure ended {} after the cut",
                seconds(failing)
            ));
            ensure!(
                failing <= GOES_ON_WITHIN,
                "requests failed for {}, the last {last}",
                seconds(failing)
            );
        }
        ensure!(
            report.succeeded_since(cut_at + GOES_ON_WITHIN) > 100,
            "too few requests succeeded afterwards"
        );

        installation.community.prove_nothing_is_lost().await?;
        installation.verify().await
    }
    .boxed_local()
}

async fn is_not_ready(node: &Node) -> Result<Seen<()>> {
    let get = crate::programs::kubectl().args(["get", "node", &node.name]);
    let status = get
        .arg("-o=jsonpath={.status.conditions[?(@.type==\"Ready\")].status}")
        .run()
        .await?;
    Ok(match status.as_str() {
        "True" => Seen::NotYet(status),
        _ => Seen::There(()),
    })
}

/// Restarts everything, so that both nodes have pods of each program, and the loss of one node has an effect.
async fn spread(installation: &Installation, lost: &Node) -> Result<()> {
    let restart = installation.namespace.kubectl().args(["rollout", "restart"]);
    restart.args(DEPLOYMENTS).run().await?;
    for workload in DEPLOYMENTS {
        let status = installation
            .namespace
            .kubectl()
            .args(["rollout", "status", "--timeout=180s", workload]);
        status.run().await?;
    }
    wait_for_all(installation).await?;
    let (pods, _) = eventually("the end of the old pods", Duration::from_secs(90), async || {
        let pods = running_pods(installation).await?;
        Ok(if pods.contains("Terminating") {
            Seen::NotYet(pods)
        } else {
            Seen::There(pods)
        })
    })
    .await?;
    quote(&pods);
    for program in ["gateway", "command", "query", "projector"] {
        let there = || {
            pods.lines()
                .filter(|line| line.starts_with(&format!("microblog-{program}-")))
        };
        let on_lost = there().filter(|line| line.contains(&lost.name)).count();
        ensure!(
            on_lost >= 1,
            "no {program} runs on {}, so the loss of that node would show nothing",
            lost.name
        );
        ensure!(
            on_lost < there().count(),
            "every {program} runs on {}, so the pods are not spread",
            lost.name
        );
    }
    Ok(())
}

async fn running_pods(installation: &Installation) -> Result<String> {
    let get = installation.namespace.kubectl().args(["get", "pods", "-o", "wide"]);
    get.arg("--field-selector=status.phase=Running").run().await
}

async fn wait_for_all(installation: &Installation) -> Result<()> {
    for workload in DEPLOYMENTS {
        wait_for(installation, workload).await?;
    }
    Ok(())
}
