//! How the command line parses values for which clap has no parser.

use std::time::Duration;

use model::values::Handle;

/// A duration such as `90s`, `2m` or `1h 30m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    humantime_serde::re::humantime::parse_duration(text).map_err(|error| error.to_string())
}

/// A handle, with or without an @ in front.
pub(crate) fn handle(text: &str) -> Result<Handle, String> {
    Handle::parse(text.strip_prefix('@').unwrap_or(text)).map_err(|error| error.to_string())
}
