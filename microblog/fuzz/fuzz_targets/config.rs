//! Any configuration is read, or refused with a message that names the error.
//!
//! The input is a file and, after a NUL, lines of `NAME=value` for the environment.
#![no_main]

use std::fmt::Debug;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde::de::DeserializeOwned;
use service::config::{self, ConfigError, Environment};
use tempfile::TempDir;

static DIRECTORY: LazyLock<TempDir> = LazyLock::new(|| TempDir::new().expect("a directory for configuration files"));

fuzz_target!(|input: &str| {
    let (text, variables) = input.split_once('\0').unwrap_or((input, ""));
    let environment: Environment = variables.lines().filter_map(|line| line.split_once('=')).collect();
    for ending in ["toml", "yaml"] {
        let file = DIRECTORY.path().join("config").with_extension(ending);
        fs::write(&file, text).expect("the file is written");
        read::<command_svc::Config>(&file, &environment);
        read::<query_svc::Config>(&file, &environment);
        if let Some(config) = read::<projector::Config>(&file, &environment) {
            is_told(config.check());
        }
    }
});

fn read<C: DeserializeOwned + Serialize + Debug>(file: &Path, environment: &Environment) -> Option<C> {
    let config = is_told(config::load::<C>(Some(file), environment))?;
    config::print_config(&config).expect("what was read is printed");
    Some(config)
}

fn is_told<T>(outcome: Result<T, ConfigError>) -> Option<T> {
    if let Err(ConfigError::Invalid { key, reason }) = &outcome {
        assert!(!key.is_empty() && !reason.is_empty());
    }
    outcome.ok()
}
