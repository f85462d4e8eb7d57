//! Which database server to start on this machine, and its command line.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{Error, Options, install};

/// The oldest MongoDB that Microblog works with.
const OLDEST_MONGOD: u32 = 7;
pub(crate) const REPLICA_SET: &str = "rs0";

/// A server program that exists and can be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Engine {
    /// MongoDB's own server.
    Mongod(PathBuf),
    /// The stand-in, for development and tests only.
    StandIn(PathBuf),
}

impl Engine {
    /// Finds a server, or installs the stand-in. The installation takes minutes the first time, and blocks the thread meanwhile.
    pub fn find() -> Result<Self, Error> {
        if let Some(mongod) = on_path("mongod") {
            match major_version(&mongod) {
                Some(version) if version >= OLDEST_MONGOD => return Ok(Self::Mongod(mongod)),
                version => install::say(&format!(
                    "{} is {}, and Microblog needs MongoDB {OLDEST_MONGOD} or newer. It is not used.",
                    mongod.display(),
                    version.map_or("of unknown version".to_owned(), |version| format!("version {version}")),
                )),
            }
        }
        install::stand_in().map(Self::StandIn)
    }

    /// A description for people.
    pub fn description(&self) -> String {
        match self {
            Self::Mongod(program) => format!("MongoDB ({})", program.display()),
            Self::StandIn(program) => format!("the stand-in for MongoDB ({})", program.display()),
        }
    }

    /// The folder of its files in the data directory. Each engine has its own, because neither can read the files of the other.
    pub(crate) fn folder(&self) -> &'static str {
        match self {
            Self::Mongod(_) => "mongod",
            Self::StandIn(_) => "stand-in",
        }
    }

    pub(crate) fn program(&self) -> &Path {
        match self {
            Self::Mongod(program) | Self::StandIn(program) => program,
        }
    }

    pub(crate) fn arguments(&self, options: &Options, files: &Path, port: u16) -> Vec<String> {
        let port = port.to_string();
        let files = files.display().to_string();
        let cache_mib = options.cache_mib;
        match self {
            Self::Mongod(_) => {
                let cache_gb = format!("{:.2}", (f64::from(cache_mib) / 1024.0).max(0.25));
                let mut arguments = strings(["--replSet", REPLICA_SET, "--bind_ip", "127.0.0.1", "--nounixsocket"]);
                arguments.extend(strings(["--port", &port, "--dbpath", &files]));
                arguments.extend(strings(["--wiredTigerCacheSizeGB", &cache_gb, "--oplogSize", "4096"]));
                arguments
            }
            Self::StandIn(_) => {
                let mut arguments = strings(["--host", "127.0.0.1", "--port", &port, "--storage-path", &files]);
                arguments.extend(strings([
                    "--cache-size",
                    &format!("{cache_mib}M"),
                    "--log-level",
                    "WARNING",
                ]));
                // Without this, a SIGKILL loses writes that were acknowledged as journaled.
                arguments.extend(strings(["--sync-on-commit"]));
                arguments.extend(strings([
                    "--oplog-retention-seconds",
                    &options.oplog_retention.as_secs().to_string(),
                ]));
                arguments.extend(strings(["--oplog-max-entries", &options.oplog_max_entries.to_string()]));
                arguments
            }
        }
    }
}

fn strings<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).into()
}

fn on_path(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

fn major_version(mongod: &Path) -> Option<u32> {
    let output = Command::new(mongod).arg("--version").output().ok()?;
    parse_major_version(&String::from_utf8_lossy(&output.stdout))
}

/// Reads the version from "db version v8.0.4", the first line that every `mongod` prints.
fn parse_major_version(text: &str) -> Option<u32> {
    let version = text.lines().find_map(|line| line.trim().strip_prefix("db version v"))?;
    version.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_what_mongod_prints() {
        assert_eq!(parse_major_version("db version v8.0.4\nBuild Info: {\n}"), Some(8));
        assert_eq!(parse_major_version("db version v10.1.0-rc0"), Some(10));
        assert_eq!(parse_major_version("something else"), None);
    }

    #[test]
    fn the_stand_in_always_syncs_on_commit() {
        let options = Options::new("/data");
        let arguments = Engine::StandIn("x".into()).arguments(&options, Path::new("/data/stand-in"), 27027);
        assert!(arguments.contains(&"--sync-on-commit".to_owned()), "{arguments:?}");
    }
}
