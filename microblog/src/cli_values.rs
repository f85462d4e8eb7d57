//! How the command line reads values that clap does not know.

use std::time::Duration;

/// As in `90s`, `2m` or `1h 30m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    humantime_serde::re::humantime::parse_duration(text).map_err(|error| error.to_string())
}
