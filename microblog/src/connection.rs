//! How the tools find the databases and the keys: by the same configuration as the services, or else by what `microblog up` keeps on this
//! machine.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use service::config::{self, Environment};

use crate::installation::Installation;

/// Where the installation is, for tools that do not use its API.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Connection {
    /// Where `microblog up` keeps data and keys. Used if MICROBLOG__MONGODB__URI or MICROBLOG__AUTH__SIGNING_KEY is not set [default:
    /// ~/.local/share/microblog]
    #[arg(long, value_name = "DIRECTORY", env = "MICROBLOG_DATA_DIR")]
    data_dir: Option<PathBuf>,
}

/// The sections that the tools read.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Config {
    pub(crate) mongodb: event_log::mongo::MongoDb,
    pub(crate) auth: config::Auth,
}

impl Connection {
    pub(crate) fn config(&self) -> anyhow::Result<Config> {
        self.load()
    }

    /// The configuration of any program, with the database and the keys of the installation.
    pub(crate) fn load<T: DeserializeOwned>(&self) -> anyhow::Result<T> {
        let mut environment = Environment::of_process();
        let given: BTreeMap<String, BTreeMap<String, IgnoredAny>> = config::load(None, &environment)?;
        let has = |section: &str, key: &str| given.get(section).is_some_and(|keys| keys.contains_key(key));
        let directory = match &self.data_dir {
            Some(directory) => directory.clone(),
            None => Installation::default_directory()?,
        };
        // Never makes an installation: one that does not exist has no database and no keys.
        if directory.is_dir() {
            let installation = Installation::open(&directory)?;
            if !has("mongodb", "uri")
                && let Some(port) = installation.database_port()
            {
                environment.set(
                    "mongodb.uri",
                    format!("mongodb://127.0.0.1:{port}/?directConnection=true"),
                );
            }
            if !has("auth", "signing_key") && installation.has_signing_key() {
                environment.set("auth.signing_key", installation.signing_key()?.display().to_string());
            }
        }
        Ok(config::load(None, &environment)?)
    }
}
