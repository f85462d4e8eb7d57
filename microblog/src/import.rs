//! `microblog import`: loads a follow graph and posts, or what one user has chosen elsewhere, from files, only through the public API.

pub(crate) mod accounts;
mod choices;
mod edges;
mod fields;
mod input;
mod journal;
mod names;
mod plan;
mod posts;
mod run;
mod summary;
mod tally;

use std::fs;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use etcetera::base_strategy::{BaseStrategy as _, Xdg};
use event_log::crypto::sha256;
use reqwest::Url;

pub use self::edges::Header;
pub use self::fields::Separator;
pub use self::input::{InputError, Problem};
use self::journal::Journal;
use self::plan::Source;
use self::run::{Ended, Import};
use crate::api_client::ApiClient;
use crate::progress::Progress;

/// The import is complete, but the services refused some of it.
const SOME_REFUSED: u8 = 3;
/// The exit code that a shell expects of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// Load users, follows and posts, or a user's Mastodon export, through the public API
///
/// Registers everybody whom the files name. The same name always gets the same handle: `17` becomes `user_17`, and a name that is a valid
/// handle stays as it is. The password is derived from the handle and a secret. Then sends follows and posts, each by its own logged-in
/// user, mixed so that both end together.
///
/// First says how it reads the files. With --dry-run, it sends nothing. A line that does not fit is an error.
///
/// With --user, it loads the CSV files of a Mastodon export for one user instead: whom they follow, block and mute, lists, bookmarks and
/// followed tags. Accounts and posts of other servers, and lines that can't be read, are listed as refused.
///
/// You can interrupt an import at any time and run it again: it continues where it stopped. With --user, it sends everything again. What is
/// sent twice counts once.
///
/// Limits: an import obeys the rate limits of the services. By default, one address may register 30 users a minute. For a bulk load, start
/// the services with MICROBLOG__RATE_LIMIT__ENABLED=false.
///
/// Exit code: 0 complete, 1 not complete (run it again), 3 complete except for what the summary lists as refused, 130 interrupted.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// Who follows whom: one pair a line, `a b` or `a,b`, plain or gzip, in UTF-8
    ///
    /// A pair is read as a friendship, both ways: a follows b and b follows a. See --directed. A file has one separator: a tab, a semicolon
    /// or a comma, if most lines have two names with it, or else blanks. Put names that contain the separator in quotes, as in CSV. Fields
    /// after the two names (a weight, a time) are ignored, and so are lines that begin with `#` or `%`.
    #[arg(long, value_name = "FILE")]
    pub follows: Option<PathBuf>,

    /// Who wrote what: CSV with a first line that names the columns `author` and `text`, plain or gzip, in UTF-8
    ///
    /// Other columns are ignored: every post gets the time of its import. Texts are imported unchanged, with any HTML entities.
    #[arg(long, value_name = "FILE")]
    pub posts: Option<PathBuf>,

    /// Read a line `a b` only as "a follows b"
    #[arg(long)]
    pub directed: bool,

    /// Whether the first line of the follows contains column names and no users
    #[arg(long, value_name = "WHEN", value_enum, default_value_t)]
    pub header: Header,

    /// The separator between two names of the follows, if the file does not show it
    #[arg(long, value_name = "NAME", value_enum)]
    pub separator: Option<Separator>,

    /// Read the files, say how they are read, and end
    #[arg(long)]
    pub dry_run: bool,

    /// Let the users of the follow graph write every Nth post, so that users with followers write too
    ///
    /// They take turns, in the order in which the edge list names them. All other posts stay with their authors, who are users of their own
    /// without followers. 1 gives every post to the graph, 0 none.
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub spread: u64,

    /// Where command-svc answers
    #[arg(
        long,
        value_name = "URL",
        env = "MICROBLOG_COMMAND_URL",
        default_value = "http://127.0.0.1:8081"
    )]
    pub command_url: Url,

    /// Requests at a time
    #[arg(long, value_name = "N", default_value = "32")]
    pub concurrency: NonZeroUsize,

    /// How long to go on while every attempt fails
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = crate::cli_values::duration)]
    pub timeout: Duration,

    /// The file with the secret that passwords are derived from. It is made if it does not exist
    ///
    /// Keep it: whoever has it can log in as any imported user. By default it is in the state directory ($XDG_STATE_HOME/microblog or
    /// ~/.local/state/microblog).
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,

    /// The file that stores how far the import is. By default there is one for each set of files, in the state directory
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,

    /// Forget the progress of earlier runs, and send everything again
    #[arg(long)]
    pub restart: bool,

    #[command(flatten)]
    pub choices: choices::Choices,
}

/// Runs the command to its end and prints its summary.
pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    if let Some(user) = &arguments.choices.user {
        return choices::run(user, &arguments).await;
    }
    if arguments.follows.is_none() && arguments.posts.is_none() {
        bail!("there is nothing to import: give --follows, --posts or both, or --user and the files of an export");
    }
    let progress = Progress::new();
    let source = Source::look_at(&arguments)?;
    for line in source.taken_for() {
        progress.say(line);
    }
    progress.say("reading the files");
    let survey = source.survey()?;
    progress.say(format_args!(
        "{} users, {} follows, {} posts",
        survey.accounts.len(),
        survey.follows,
        survey.posts,
    ));
    if arguments.dry_run {
        return Ok(ExitCode::SUCCESS);
    }
    let secret = secret(&arguments)?;
    let identity = identity(&arguments, &source)?;
    let path = match &arguments.state {
        Some(path) => path.clone(),
        None => state_directory()?
            .join("imports")
            .join(format!("{}.jsonl", short_hash(&identity))),
    };
    let (journal, remembered) = Journal::open(&path, &identity, arguments.restart)?;
    progress.say(format_args!("the state of this import is in {}", path.display()));
    let api = ApiClient::new(&arguments.command_url, arguments.timeout)?;
    let import = Import::new(api, &secret, arguments.concurrency, &progress);
    let (ended, summary) = import.run(&source, &survey, journal, remembered).await;
    summary.print(&mut io::stdout().lock())?;
    Ok(match ended {
        Ended::Complete if summary.refused() == 0 => ExitCode::SUCCESS,
        Ended::Complete => ExitCode::from(SOME_REFUSED),
        Ended::Interrupted => {
            progress.say("interrupted; run the same command again to continue");
            ExitCode::from(INTERRUPTED)
        }
        Ended::Failed(error) => {
            progress.say(format_args!(
                "{error:#}\nnot complete; run the same command again to continue"
            ));
            ExitCode::FAILURE
        }
    })
}

/// What makes two runs the same import. If a file were read in another way, the same numbers would mean other items.
fn identity(arguments: &Arguments, source: &Source) -> anyhow::Result<String> {
    let file = |path: &Option<PathBuf>| -> anyhow::Result<String> {
        let Some(path) = path else { return Ok("none".to_owned()) };
        let read = || -> io::Result<String> {
            let size = fs::metadata(path)?.len();
            Ok(format!("{} of {size} bytes", fs::canonicalize(path)?.display()))
        };
        read().with_context(|| path.display().to_string())
    };
    Ok(format!(
        "follows {}{}, posts {} spread {}, to {}; {}",
        file(&arguments.follows)?,
        if arguments.directed { " directed" } else { "" },
        file(&arguments.posts)?,
        arguments.spread,
        arguments.command_url,
        source.taken_for().join("; "),
    ))
}

fn short_hash(text: &str) -> String {
    hex::encode(&sha256(text.as_bytes())[..8])
}

fn state_directory() -> anyhow::Result<PathBuf> {
    let base = Xdg::new().context("please name the files with --state and --secret-file")?;
    Ok(base
        .state_dir()
        .context("there is no XDG_STATE_HOME")?
        .join("microblog"))
}

/// There is no default secret. If the file does not exist, a random secret is made, which only its owner can read.
fn secret(arguments: &Arguments) -> anyhow::Result<Vec<u8>> {
    let path = match &arguments.secret_file {
        Some(path) => path.clone(),
        None => state_directory()?.join("import-secret"),
    };
    read_or_make_secret(&path).with_context(|| format!("the secret file {}", path.display()))
}

fn read_or_make_secret(path: &Path) -> anyhow::Result<Vec<u8>> {
    const SHORTEST: usize = 16;
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    match fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
    {
        Ok(mut file) => {
            let drawn = format!("{}{}\n", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
            file.write_all(drawn.as_bytes())?;
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error.into()),
    }
    let text = fs::read_to_string(path)?;
    let secret = text.trim();
    if secret.len() < SHORTEST {
        bail!("has {} characters; {SHORTEST} are needed", secret.len());
    }
    Ok(secret.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_drawn_once_and_then_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/secret");
        let drawn = read_or_make_secret(&path).unwrap();
        assert_eq!(drawn.len(), 64);
        assert_eq!(read_or_make_secret(&path).unwrap(), drawn);
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_short_secret_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "short").unwrap();
        assert!(
            read_or_make_secret(file.path())
                .unwrap_err()
                .to_string()
                .contains("16 are needed")
        );
    }
}
