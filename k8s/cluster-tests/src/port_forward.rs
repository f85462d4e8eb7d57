//! `kubectl port-forward`, as NOTES.txt describes it.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Child;

use crate::namespace::Namespace;

/// The port forwarding ends when this is dropped.
#[derive(Debug)]
pub(crate) struct PortForward {
    /// The address of the Service on this machine.
    pub(crate) url: String,
    _child: Child,
}

impl PortForward {
    /// Forwards a free port of this machine to a port of a Service.
    pub(crate) async fn start(namespace: &Namespace, service: &str, port: u16) -> Result<Self> {
        let forward = namespace
            .kubectl()
            .args(["port-forward", &format!("service/{service}"), &format!(":{port}")]);
        let mut child = forward.command().stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().context("its output is a pipe")?;
        let line = async {
            let mut lines = BufReader::new(output).lines();
            let first = lines.next_line().await?.context("kubectl port-forward ended")?;
            // The output must be read, because kubectl writes a line for each connection.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            anyhow::Ok(first)
        };
        let line = tokio::time::timeout(Duration::from_secs(30), line)
            .await
            .context("kubectl port-forward printed nothing in time")??;
        let here = line
            .strip_prefix("Forwarding from ")
            .and_then(|rest| rest.split_whitespace().next());
        let here = here.with_context(|| format!("kubectl port-forward said: {line}"))?;
        Ok(Self {
            url: format!("http://{here}"),
            _child: child,
        })
    }
}
