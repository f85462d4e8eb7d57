//! Runs the scenarios one after the other, each on an installation that is ready, and skips those whose needs the cluster does not meet.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use comfy_table::{Table, presets};
use futures_util::future::LocalBoxFuture;

use crate::cluster::{self, Node};
use crate::installation::{Installation, Kind};
use crate::narration::{quote, say, seconds};
use crate::programs::{Program, kubectl};
use crate::scenarios;
use crate::settings::Settings;

/// A need that not every cluster meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    TwoNodes,
    /// CUT_NODE and JOIN_NODE.
    Cutting,
    /// FLOWS.
    Flows,
    /// HOST_ADDRESS.
    OutsideDatabase,
    /// The resource metrics API, from which the autoscaler knows the CPU usage of pods.
    Metrics,
    /// npm installs newman.
    Npm,
    /// CRDS.
    Definitions,
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Need::TwoNodes => "a second node",
            Need::Cutting => "CUT_NODE and JOIN_NODE",
            Need::Flows => "FLOWS",
            Need::OutsideDatabase => "HOST_ADDRESS",
            Need::Metrics => "metrics-server",
            Need::Npm => "npm",
            Need::Definitions => "CRDS",
        })
    }
}

/// One test on the cluster.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// What it shows, in one sentence.
    pub(crate) shows: &'static str,
    pub(crate) needs: &'static [Need],
    pub(crate) run: for<'a> fn(&'a mut Suite) -> LocalBoxFuture<'a, Result<()>>,
}

#[derive(Debug)]
enum Outcome {
    Passed,
    Failed(String),
    Skipped(String),
}

/// What scenarios use.
pub(crate) struct Suite {
    pub(crate) settings: Settings,
    pub(crate) nodes: Vec<Node>,
    installations: HashMap<Kind, Installation>,
}

impl Suite {
    pub(crate) async fn new(settings: Settings) -> Result<Self> {
        let nodes = cluster::nodes().await.context("does KUBECONFIG point at a cluster?")?;
        let named: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
        say(format_args!(
            "a cluster with {} nodes for pods: {}",
            nodes.len(),
            named.join(", ")
        ));
        Ok(Self {
            settings,
            nodes,
            installations: HashMap::new(),
        })
    }

    /// The installation of this kind, which is made if it does not exist. Scenarios that leave their installation intact share it.
    pub(crate) async fn installation(&mut self, kind: Kind) -> Result<&mut Installation> {
        if !self.installations.contains_key(&kind) {
            let installation = Installation::make(&self.settings, &self.nodes, kind).await?;
            self.installations.insert(kind, installation);
        }
        self.installations.get_mut(&kind).context("it was just made")
    }

    /// Removes the installation from the suite, so that later scenarios don't use it.
    pub(crate) fn take(&mut self, kind: Kind) -> Option<Installation> {
        self.installations.remove(&kind)
    }

    async fn missing(&self, need: Need) -> bool {
        let settings = &self.settings;
        match need {
            Need::TwoNodes => self.nodes.len() < 2,
            Need::Cutting => settings.cut_node.is_none() || settings.join_node.is_none(),
            Need::Flows => settings.flows.is_none(),
            Need::OutsideDatabase => settings.host_address.is_none(),
            Need::Metrics => !runs(kubectl().args(["get", "--raw", "/apis/metrics.k8s.io/v1beta1/nodes"])).await,
            Need::Npm => !runs(Program::new("npm").arg("--version")).await,
            Need::Definitions => settings.crds.is_none(),
        }
    }

    /// Runs all chosen scenarios. True if none failed.
    pub(crate) async fn run(&mut self) -> Result<bool> {
        let mut results = Vec::new();
        for &scenario in scenarios::ALL {
            if !self.settings.only.is_empty() && !self.settings.only.iter().any(|name| name == scenario.name) {
                continue;
            }
            let begun = Instant::now();
            let outcome = self.run_one(scenario).await?;
            results.push((scenario, outcome, begun.elapsed()));
        }
        self.clean_up().await?;
        say(format_args!("\n{}", table(&results)));
        let skipped: Vec<String> = results
            .iter()
            .filter_map(|(scenario, outcome, _)| match outcome {
                Outcome::Skipped(why) => Some(format!("  {}: {}. Needs {why}.", scenario.name, scenario.shows)),
                Outcome::Passed | Outcome::Failed(_) => None,
            })
            .collect();
        if !skipped.is_empty() {
            say(format_args!(
                "NOT SHOWN, because this cluster lacks what they need:\n{}",
                skipped.join("\n")
            ));
        }
        Ok(!results
            .iter()
            .any(|(_, outcome, _)| matches!(outcome, Outcome::Failed(_))))
    }

    async fn run_one(&mut self, scenario: &Scenario) -> Result<Outcome> {
        let mut lacking = Vec::new();
        for &need in scenario.needs {
            if self.missing(need).await {
                lacking.push(need.to_string());
            }
        }
        if !lacking.is_empty() {
            say(format_args!(
                "== {}: SKIPPED, needs {}",
                scenario.name,
                lacking.join(", ")
            ));
            return Ok(Outcome::Skipped(lacking.join(", ")));
        }
        say(format_args!("== {}: {}", scenario.name, scenario.shows));
        let begun = Instant::now();
        match (scenario.run)(self).await {
            Ok(()) => {
                say(format_args!(
                    "== {}: passed in {}",
                    scenario.name,
                    seconds(begun.elapsed())
                ));
                Ok(Outcome::Passed)
            }
            Err(error) => {
                say(format_args!(
                    "== {}: FAILED after {}",
                    scenario.name,
                    seconds(begun.elapsed())
                ));
                quote(&format!("{error:#}"));
                self.give_up_installations(scenario.name).await?;
                let first = format!("{error:#}").lines().next().unwrap_or_default().to_owned();
                Ok(Outcome::Failed(first))
            }
        }
    }

    /// After a failure, collects diagnostics and cleans up, so that the next scenario starts with a new installation.
    async fn give_up_installations(&mut self, scenario: &str) -> Result<()> {
        let into = self.settings.diagnostics.join(scenario);
        for namespace in Installation::namespaces().await? {
            let directory = namespace.collect(&into).await?;
            say(format_args!("the diagnostics are in {}", directory.display()));
        }
        if self.settings.keep {
            // The next scenarios would replace what somebody wants to examine.
            anyhow::bail!("{scenario} failed, and --keep leaves everything as it is");
        }
        self.clean_up().await
    }

    /// Deletes every namespace that this program has created, unless `--keep` is set.
    pub(crate) async fn clean_up(&mut self) -> Result<()> {
        self.installations.clear();
        if self.settings.keep {
            return Ok(());
        }
        for namespace in Installation::namespaces().await? {
            namespace.delete().await?;
        }
        Ok(())
    }
}

async fn runs(program: Program) -> bool {
    program.run().await.is_ok()
}

fn table(results: &[(&Scenario, Outcome, Duration)]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_header(["scenario", "outcome", "time", ""]);
    for (scenario, outcome, took) in results {
        let (word, why) = match outcome {
            Outcome::Passed => ("passed", String::new()),
            Outcome::Failed(why) => ("FAILED", why.clone()),
            Outcome::Skipped(why) => ("skipped", format!("needs {why}")),
        };
        table.add_row([scenario.name.to_owned(), word.to_owned(), seconds(*took), why]);
    }
    table
}
