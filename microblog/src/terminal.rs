//! What the commands share at a terminal: where the services are, and printing a line.

use std::io::{self, Write as _};

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

/// Prints a line for the person at the terminal.
pub(crate) fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
