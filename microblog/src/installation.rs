//! What `microblog up` keeps between its runs: one directory with the files of the database and the keys.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use etcetera::base_strategy::{BaseStrategy as _, Xdg};
use uuid::Uuid;

const LOCK: &str = "lock";
const SIGNING_KEY: &str = "signing-key.pem";
const REFRESH_SECRET: &str = "refresh-secret";
const CLIENT_SECRET: &str = "client-secret";
const COOKIE_SECRET: &str = "cookie-secret";
const DATABASE_PORT: &str = "database-port";

/// The directory of one installation.
#[derive(Debug)]
pub(crate) struct Installation {
    directory: PathBuf,
}

/// While it is held, nobody else starts a database on the same files. It is held until it is dropped or the process ends.
#[derive(Debug)]
#[must_use = "dropping it releases the lock"]
pub(crate) struct DatabaseLock(#[expect(dead_code, reason = "the lock is the open file")] File);

impl Installation {
    /// Opens the directory, and makes it if it does not exist.
    pub(crate) fn open(directory: &Path) -> anyhow::Result<Self> {
        // The directory holds keys and everything that people wrote.
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .with_context(|| describe(directory))?;
        Ok(Self {
            directory: directory.to_owned(),
        })
    }

    /// Refuses a second `up` that would run a database on the same files.
    pub(crate) fn lock_database(&self) -> anyhow::Result<DatabaseLock> {
        let path = self.directory.join(LOCK);
        let lock = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| describe(&path))?;
        match lock.try_lock() {
            Ok(()) => Ok(DatabaseLock(lock)),
            Err(TryLockError::WouldBlock) => bail!(
                "another `microblog up` is using {}; stop it, or give this one a --data-dir of its own",
                self.directory.display()
            ),
            Err(TryLockError::Error(error)) => Err(error).with_context(|| describe(&path)),
        }
    }

    /// `$XDG_DATA_HOME/microblog`, by default `~/.local/share/microblog`.
    pub(crate) fn default_directory() -> anyhow::Result<PathBuf> {
        let base = Xdg::new().context("please give a --data-dir")?;
        Ok(base.data_dir().join("microblog"))
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn database_directory(&self) -> PathBuf {
        self.directory.join("mongodb")
    }

    /// The path of the key that signs access tokens. The key is made once. It is for development: nobody rotates it.
    pub(crate) fn signing_key(&self) -> anyhow::Result<PathBuf> {
        self.kept_secret(SIGNING_KEY, service::auth::generate_signing_key_pem)
    }

    pub(crate) fn has_signing_key(&self) -> bool {
        self.directory.join(SIGNING_KEY).exists()
    }

    /// The secret from which refresh tokens are derived. It is made once.
    pub(crate) fn refresh_secret(&self) -> anyhow::Result<String> {
        self.random_secret(REFRESH_SECRET)
    }

    /// The secret that encrypts the cookies of the web pages. It is made once.
    pub(crate) fn cookie_secret(&self) -> anyhow::Result<String> {
        self.random_secret(COOKIE_SECRET)
    }

    /// The secret with which the gateway proves itself to command-svc. It is made once.
    pub(crate) fn client_secret(&self) -> anyhow::Result<String> {
        self.random_secret(CLIENT_SECRET)
    }

    fn random_secret(&self, name: &str) -> anyhow::Result<String> {
        let path = self.kept_secret(name, || {
            format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
        })?;
        fs::read_to_string(&path).with_context(|| describe(&path))
    }

    /// The port that the database had in the last run, so that its address stays the same.
    pub(crate) fn database_port(&self) -> Option<u16> {
        fs::read_to_string(self.directory.join(DATABASE_PORT))
            .ok()?
            .trim()
            .parse()
            .ok()
    }

    pub(crate) fn remember_database_port(&self, port: u16) -> anyhow::Result<()> {
        let path = self.directory.join(DATABASE_PORT);
        fs::write(&path, port.to_string()).with_context(|| describe(&path))
    }

    /// A file that only its owner can read. It is either complete or not there. If two processes make it at the same time, one wins.
    fn kept_secret(&self, name: &str, make: impl FnOnce() -> String) -> anyhow::Result<PathBuf> {
        let path = self.directory.join(name);
        if !path.exists() {
            let mut draft = tempfile::NamedTempFile::new_in(&self.directory).with_context(|| describe(&path))?;
            draft.write_all(make().as_bytes()).with_context(|| describe(&path))?;
            draft.as_file().sync_all().with_context(|| describe(&path))?;
            match draft.persist_noclobber(&path) {
                Err(refused) if refused.error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(refused.error).with_context(|| describe(&path));
                }
                _ => {}
            }
        }
        Ok(path)
    }
}

fn describe(path: &Path) -> String {
    format!("cannot use {}", path.display())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn keys_are_made_once_and_are_their_owners_alone() {
        let directory = tempfile::tempdir().unwrap();
        let installation = Installation::open(directory.path()).unwrap();
        let path = installation.signing_key().unwrap();
        let key = fs::read_to_string(&path).unwrap();
        assert!(key.starts_with("-----BEGIN PRIVATE KEY-----"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let secret = installation.refresh_secret().unwrap();
        assert_eq!(secret.len(), 64);

        drop(installation);
        let again = Installation::open(directory.path()).unwrap();
        assert_eq!(fs::read_to_string(again.signing_key().unwrap()).unwrap(), key);
        assert_eq!(again.refresh_secret().unwrap(), secret);
    }

    #[test]
    fn a_database_serves_one_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let installation = Installation::open(directory.path()).unwrap();
        let lock = installation.lock_database().unwrap();
        let refusal = installation.lock_database().unwrap_err().to_string();
        assert!(refusal.contains("another `microblog up`"), "{refusal}");
        drop(lock);
        assert!(installation.lock_database().is_ok());
    }
}
