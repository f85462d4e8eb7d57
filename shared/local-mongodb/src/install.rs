//! Builds the pinned stand-in for MongoDB once, where no `mongod` is to be had.

use std::{
    env,
    fs::{self, File, OpenOptions, TryLockError},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::Error;

const CRATE: &str = "secantus-mdb";
/// Pinned, because the tests rely on what this very version was seen to do.
const VERSION: &str = "0.5.3-beta.196";
const BINARY: &str = "secantusd-rs";

/// The path of the stand-in's program; builds it first if it is not there yet, which takes minutes.
///
/// Two processes that come here at the same time build it once: the second waits for the first.
pub(crate) fn stand_in() -> Result<PathBuf, Error> {
    let cache = cache_directory()?;
    let root = cache.join(format!("{CRATE}-{VERSION}"));
    let program = root.join("bin").join(BINARY);
    // Cargo moves the finished program here as its last step, so that what is there is whole.
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
            "a tool is missing that the build of the stand-in needs; see above".to_owned(),
        ));
    }
    // A target directory of its own: the build must not wait for, or undo, one of the workspace's that may be running. An
    // interrupted build goes on from there.
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
        // Its progress goes where ours goes; nothing of it belongs into the output of a program.
        .stdout(Stdio::null())
        .status()
        .map_err(|source| Error::io(Path::new("cargo"), source))?;
    if !status.success() {
        return Err(Error::Install(format!(
            "cargo install {CRATE} ended with {status}; see above"
        )));
    }
    // Two gigabytes that nothing needs any more. What remains of it does no harm.
    if let Err(error) = fs::remove_dir_all(&target) {
        say(&format!("could not remove {}: {error}", target.display()));
    }
    say(&format!("Installed {CRATE} {VERSION}."));
    Ok(())
}

/// Held until the file is dropped, or its process ends.
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
    let base = env::var_os("XDG_CACHE_HOME")
        .filter(|path| Path::new(path).is_absolute())
        .map(PathBuf::from);
    base.or_else(|| env::home_dir().map(|home| home.join(".cache")))
        .map(|base| base.join("microblog"))
        .ok_or_else(|| Error::Install("neither HOME nor XDG_CACHE_HOME is set".to_owned()))
}

/// Tells the person at the terminal what takes so long. Whoever is not there to read it misses nothing.
pub(crate) fn say(message: &str) {
    let _ = writeln!(std::io::stderr(), "{message}");
}
