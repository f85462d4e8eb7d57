//! How the command line parses values for which clap has no parser.

use std::time::Duration;

/// A duration such as `90s`, `2m` or `1h 30m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    humantime_serde::re::humantime::parse_duration(text).map_err(|error| error.to_string())
}
