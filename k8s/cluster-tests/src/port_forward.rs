//! `kubectl port-forward`, as NOTES.txt tells people to do it.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Child;

use crate::namespace::Namespace;

/// It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct PortForward {
    /// Where the Service answers on this machine.
    pub(crate) url: String,
    _child: Child,
}

impl PortForward {
    /// To a port of a Service, from a free one here.
    pub(crate) async fn start(namespace: &Namespace, service: &str, port: u16) -> Result<Self> {
        let forward = namespace
            .kubectl()
            .args(["port-forward", &format!("service/{service}"), &format!(":{port}")]);
        let mut child = forward.command().stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().context("its output was asked to be piped")?;
        let line = async {
            let mut lines = BufReader::new(output).lines();
            let first = lines.next_line().await?.context("kubectl port-forward ended")?;
            // Somebody has to read what it says of each connection.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            anyhow::Ok(first)
        };
        let line = tokio::time::timeout(Duration::from_secs(30), line)
            .await
            .context("kubectl port-forward is silent")??;
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
