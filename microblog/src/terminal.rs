//! What the commands share at a terminal: where the services are, the password of whoever uses them, and printing a line.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::Context as _;
use reqwest::Url;

/// Where the two services are.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Endpoints {
    /// Where command-svc answers
    #[arg(
        long,
        value_name = "URL",
        env = "MICROBLOG_COMMAND_URL",
        default_value = "http://127.0.0.1:8081"
    )]
    pub(crate) command_url: Url,
    /// Where query-svc answers
    #[arg(
        long,
        value_name = "URL",
        env = "MICROBLOG_QUERY_URL",
        default_value = "http://127.0.0.1:8082"
    )]
    pub(crate) query_url: Url,
}

/// The password of a user, from a file or from the environment.
pub(crate) fn password(file: Option<&Path>) -> anyhow::Result<String> {
    match file {
        Some(path) => {
            let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
            Ok(text.trim_end_matches(['\n', '\r']).to_owned())
        }
        None => std::env::var("MICROBLOG_PASSWORD")
            .context("the password is missing: set MICROBLOG_PASSWORD, or give --password-file"),
    }
}

/// Prints a line for the person at the terminal.
pub(crate) fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
