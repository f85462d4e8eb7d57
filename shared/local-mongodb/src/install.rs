//! Builds the pinned stand-in for MongoDB once, if there is no `mongod`.

use std::{
    env,
    fs::{self, File, OpenOptions, TryLockError},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use etcetera::base_strategy::{BaseStrategy as _, Xdg};

use crate::Error;

const CRATE: &str = "secantus-mdb";
/// Pinned, because the tests rely on the observed behaviour of exactly this version.
const VERSION: &str = "0.5.3-beta.196";
const BINARY: &str = "secantusd-rs";

/// Returns the path of the stand-in's program. If it does not exist yet, it is built first, which takes minutes.
///
/// If two processes need it at the same time, it is built once: the second process waits for the first.
pub(crate) fn stand_in() -> Result<PathBuf, Error> {
    let cache = cache_directory()?;
    let root = cache.join(format!("{CRATE}-{VERSION}"));
    let program = root.join("bin").join(BINARY);
    // Cargo moves the finished program here as its last step. So a program that exists is complete.
    if program.is_file() {
        return Ok(program);
    }
    fs::create_dir_all(&cache).map_err(|source| Error::io(&cache, source))?;
    let _lock = lock(&cache.join(format!("{CRATE}-{VERSION}.lock")))?;
    if program.is_file() {
        return Ok(program);
    }
    build(&cache, &root)?;
    if program.is_file() {
        Ok(program)
    } else {
        Err(Error::Install(format!("cargo install left no {}", program.display())))
    }
}

fn build(cache: &Path, root: &Path) -> Result<(), Error> {
    say(&format!(
        "No mongod on the PATH: installing {CRATE} {VERSION}, a MongoDB-compatible server for development, into {}.\n\
         This happens once, and takes five to eight minutes on two cores.",
        root.display()
    ));
    let tools = Command::new("sh")
        .arg("-c")
        .arg(include_str!("build-tools.sh"))
        .status();
    if !tools.map_err(|source| Error::io(Path::new("sh"), source))?.success() {
        return Err(Error::Install(
            "the build of the stand-in needs a tool that is missing; see above".to_owned(),
        ));
    }
    // The build has its own target directory, so that it neither waits for a running build of the workspace nor invalidates it. An
    // interrupted build continues there.
    let target = cache.join(format!("{CRATE}-{VERSION}-build"));
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        // --ignore-rust-version: the crate asks for a newer Rust than it needs.
        .args([
            "install",
            CRATE,
            "--version",
            VERSION,
            "--locked",
            "--ignore-rust-version",
            "--root",
        ])
        .arg(root)
        .env("CARGO_TARGET_DIR", &target)
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .current_dir(cache)
        .stdin(Stdio::null())
        // The progress goes to standard error. The output of a program must not contain any of it.
        .stdout(Stdio::null())
        .status()
        .map_err(|source| Error::io(Path::new("cargo"), source))?;
    if !status.success() {
        return Err(Error::Install(format!(
            "cargo install {CRATE} ended with {status}; see above"
        )));
    }
    // Two gigabytes that nothing needs any more. It does no harm if some of it remains.
    if let Err(error) = fs::remove_dir_all(&target) {
        say(&format!("could not remove {}: {error}", target.display()));
    }
    say(&format!("Installed {CRATE} {VERSION}."));
    Ok(())
}

/// Held until the file is dropped or the process ends.
fn lock(path: &Path) -> Result<File, Error> {
    let failed = |source| Error::io(path, source);
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            say(&format!(
                "Another process is installing {CRATE} {VERSION}: waiting for it."
            ));
            file.lock().map_err(failed)?;
        }
        Err(TryLockError::Error(source)) => return Err(failed(source)),
    }
    Ok(file)
}

/// `$XDG_CACHE_HOME/microblog`, by default `~/.cache/microblog`.
fn cache_directory() -> Result<PathBuf, Error> {
    let base = Xdg::new().map_err(|error| Error::Install(error.to_string()))?;
    Ok(base.cache_dir().join("microblog"))
}

/// Tells the person at the terminal what takes so long. If nobody reads it, nothing is lost.
pub(crate) fn say(message: &str) {
    let _ = writeln!(std::io::stderr(), "{message}");
}
