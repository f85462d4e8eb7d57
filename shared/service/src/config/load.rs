//! Merges the layers, and says precisely which key is wrong.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};

use config::{Config, ConfigError as SourceError, File, FileFormat, Map};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Every section that some program of the product reads. A section that is not here is a typing error.
pub const SECTIONS: [&str; 26] = [
    "auth",
    "cache",
    "clock",
    "command",
    "consistency",
    "cors",
    "database",
    "follows",
    "gateway",
    "http",
    "instance",
    "lists",
    "live",
    "mongodb",
    "operator",
    "projector",
    "publisher",
    "query",
    "rate_limit",
    "rebuild",
    "shutdown",
    "subscriptions",
    "sweep",
    "telemetry",
    "timelines",
    "up",
];

const PREFIX: &str = "MICROBLOG";
const FILE_VARIABLE: &str = "MICROBLOG_CONFIG";

/// Why there is no valid configuration. Each message names the key and its environment variable.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("the configuration file {path} can't be used: {reason}", path = .path.display())]
    File { path: PathBuf, reason: String },
    #[error("the environment variable {variable} is not valid Unicode")]
    NotUnicode { variable: String },
    #[error("there is no section {section:?} in the configuration ({origin}); there are: {known}", known = SECTIONS.join(", "))]
    UnknownSection { section: String, origin: String },
    #[error("{key} ({variable}): {reason}", variable = variable(key))]
    Invalid { key: String, reason: String },
}

impl ConfigError {
    /// For errors that can be found only after loading, such as a key that is missing because of the value of another.
    pub fn invalid(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid {
            key: key.into(),
            reason: reason.into(),
        }
    }
}

/// The environment variable of a key: `timelines.window` is `MICROBLOG__TIMELINES__WINDOW`.
pub fn variable(key: &str) -> String {
    format!("{PREFIX}__{}", key.replace('.', "__").to_uppercase())
}

/// The environment variables from which a configuration is read. A test makes its own.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    not_unicode: Option<String>,
}

impl Environment {
    pub fn of_process() -> Self {
        let mut environment = Self::default();
        for (name, value) in env::vars_os() {
            let Ok(name) = name.into_string() else { continue };
            if !name.starts_with(PREFIX) {
                continue;
            }
            match value.into_string() {
                Ok(value) => {
                    environment.variables.insert(name, value);
                }
                Err(_) => environment.not_unicode = Some(name),
            }
        }
        environment
    }

    /// Sets a key, as in `set("mongodb.uri", …)`. It overrides the environment of the process.
    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        self.variables.insert(variable(key), value.into());
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// The value of a key, if this environment sets it.
    pub fn key(&self, key: &str) -> Option<&str> {
        self.get(&variable(key))
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let variables = pairs
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        Self {
            variables,
            not_unicode: None,
        }
    }
}

/// Reads a configuration: the defaults of `T`, then the file (by default that of `MICROBLOG_CONFIG`; TOML or YAML, by its extension), then
/// the environment. An empty variable counts as unset.
pub fn load<T: DeserializeOwned>(file: Option<&Path>, environment: &Environment) -> Result<T, ConfigError> {
    if let Some(variable) = &environment.not_unicode {
        return Err(ConfigError::NotUnicode {
            variable: variable.clone(),
        });
    }
    let mut builder = Config::builder();
    for section in SECTIONS {
        // Adds sections that nobody wrote, so that the error for a missing key has its full name.
        builder = builder
            .set_default(section, Map::<String, String>::new())
            .map_err(|error| unkeyed(&error))?;
    }
    let file = file
        .map(Path::to_path_buf)
        .or_else(|| environment.get(FILE_VARIABLE).map(PathBuf::from));
    if let Some(path) = &file {
        let format = match path.extension().and_then(|extension| extension.to_str()) {
            Some("toml") => FileFormat::Toml,
            Some("yaml" | "yml") => FileFormat::Yaml,
            _ => {
                let reason = "its name must end in .toml, .yaml or .yml".to_owned();
                return Err(ConfigError::File {
                    path: path.clone(),
                    reason,
                });
            }
        };
        let only = Config::builder()
            .add_source(File::from(path.as_path()).format(format))
            .build()
            .map_err(|error| ConfigError::File {
                path: path.clone(),
                reason: error.to_string(),
            })?;
        check_sections(&only, &path.display().to_string())?;
        builder = builder.add_source(only);
    }
    let variables = config::Environment::with_prefix(PREFIX)
        .prefix_separator("__")
        .separator("__")
        .ignore_empty(true)
        .source(Some(environment.variables.clone().into_iter().collect()));
    let only = Config::builder()
        .add_source(variables.clone())
        .build()
        .map_err(|error| unkeyed(&error))?;
    check_sections(&only, "environment")?;
    let merged = builder.add_source(variables).build().map_err(|error| unkeyed(&error))?;
    serde_path_to_error::deserialize(merged).map_err(|error| {
        let path = error.path().to_string();
        let reason = reason(error.inner());
        ConfigError::Invalid {
            key: full_key(&path, &reason),
            reason,
        }
    })
}

fn check_sections(source: &Config, origin: &str) -> Result<(), ConfigError> {
    let root = source.cache.clone().into_table().map_err(|error| unkeyed(&error))?;
    match root.keys().find(|section| !SECTIONS.contains(&section.as_str())) {
        Some(section) => Err(ConfigError::UnknownSection {
            section: section.clone(),
            origin: origin.to_owned(),
        }),
        None => Ok(()),
    }
}

fn unkeyed(error: &SourceError) -> ConfigError {
    ConfigError::Invalid {
        key: "configuration".to_owned(),
        reason: error.to_string(),
    }
}

/// The message alone. The path says which key it is about.
fn reason(error: &SourceError) -> String {
    match error {
        SourceError::At { error, .. } => reason(error),
        SourceError::Type {
            unexpected, expected, ..
        } => format!("{unexpected} was given, {expected} is expected"),
        SourceError::Message(message) => message.clone(),
        other => other.to_string(),
    }
}

/// The message has the name of a missing or unknown key. The path has its section.
fn full_key(path: &str, reason: &str) -> String {
    let named = ["missing field `", "missing configuration field \"", "unknown field `"]
        .iter()
        .find_map(|start| reason.strip_prefix(start))
        .and_then(|rest| rest.split(['`', '"']).next());
    let path = path.trim_matches('.');
    match named {
        Some(name) if path.is_empty() => name.to_owned(),
        Some(name) if path == name || path.ends_with(&format!(".{name}")) => path.to_owned(),
        Some(name) if name.contains('.') => name.to_owned(),
        Some(name) => format!("{path}.{name}"),
        None => path.to_owned(),
    }
}

/// The effective values as TOML, for `--print-config`. Secrets are masked by their types.
pub fn print_config<T: Serialize>(config: &T) -> Result<String, toml::ser::Error> {
    toml::to_string_pretty(config)
}
