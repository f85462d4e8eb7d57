//! `microblog up`: all programs in one process, with a database unless one is configured.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use local_mongodb::{Options, Server};
use serde::{Deserialize, de::IgnoredAny};
use service::config::{self, Environment};
use service::telemetry;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{
    installation::{DatabaseLock, Installation},
    stack::{Configs, Stack},
    terminal::say,
};

const READY_WITHIN: Duration = Duration::from_secs(60);
/// After a crash during an import, there may be much to catch up with. Reads need not wait for that.
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(20);
/// The log is for a person. It shows what they should know, but not each refused request.
const LOG_FILTER: &str = "warn,tracing_actix_web=error";
/// The exit code that a shell reports for a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// Start everything here: the database, all services and the gateway
///
/// Data and keys are kept in one directory, and survive a restart. Ctrl-C (or SIGTERM) finishes the requests, stores the progress of the
/// projector, and stops the database last.
///
/// The database is MICROBLOG__MONGODB__URI, if that is set. Otherwise it is the `mongod` on the PATH (version 7 or newer). If there is
/// none, it is a MongoDB-compatible stand-in for development, which is built once (five to eight minutes) into ~/.cache/microblog.
///
/// MICROBLOG__GATEWAY__LISTEN (127.0.0.1:8080) is the one address for all. The services also listen on MICROBLOG__COMMAND__LISTEN
/// (127.0.0.1:8081), MICROBLOG__QUERY__LISTEN (127.0.0.1:8082) and MICROBLOG__PROJECTOR__LISTEN (127.0.0.1:8083). The log goes to standard error. MICROBLOG__TELEMETRY__FILTER=info shows more.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where data and keys are kept [default: ~/.local/share/microblog]
    #[arg(long, value_name = "DIRECTORY", env = "MICROBLOG_DATA_DIR")]
    data_dir: Option<PathBuf>,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let begun = Instant::now();
    let stop = stop_on_signals()?;
    let directory = match arguments.data_dir {
        Some(directory) => std::path::absolute(directory)?,
        None => Installation::default_directory()?,
    };
    let installation = Installation::open(&directory)?;
    let mut environment = Environment::of_process();
    let given = Given::read(&environment)?;
    let telemetry = init_telemetry(&mut environment, &given)?;

    add_keys(&mut environment, &given, &installation)?;
    if !given.has("mongodb.uri") {
        // A placeholder for the later URI, so that errors in the configuration are reported before anything is started.
        environment.set("mongodb.uri", "mongodb://127.0.0.1");
    }
    Configs::load(&environment)?;

    let mut database = None;
    let running = async {
        if !given.has("mongodb.uri") {
            let (server, _) = database.insert(start_database(&installation).await?);
            environment.set("mongodb.uri", server.uri());
        }
        let mut stack = Stack::start(Configs::load(&environment)?, READY_WITHIN).await?;
        stack.wait_until_ready(READY_WITHIN).await?;
        if !stack.wait_until_caught_up(CAUGHT_UP_WITHIN).await? {
            say("The views are still catching up with the events: what was written last may be missing for a while.")?;
        }
        anyhow::Ok(stack)
    };
    let started = tokio::select! {
        stack = running => stack.map(Some),
        () = stop.cancelled() => Ok(None),
    };
    let outcome = match started {
        Ok(Some(stack)) => {
            let server = database.as_ref().map(|(server, _)| server);
            say(&welcome(&stack, server, &installation, begun.elapsed()))?;
            serve(stack, &stop).await.map(|()| ExitCode::SUCCESS)
        }
        Ok(None) => Ok(ExitCode::from(INTERRUPTED)),
        Err(error) => Err(error),
    };
    // The database stops after everything that writes to it, even if that has failed.
    if let Some((mut server, _lock)) = database {
        server.stop().await?;
    }
    telemetry.shutdown().await;
    let code = outcome?;
    say("Stopped.")?;
    Ok(code)
}

async fn serve(mut stack: Stack, stop: &CancellationToken) -> anyhow::Result<()> {
    let failure = tokio::select! {
        failure = stack.failed() => Some(failure),
        () = stop.cancelled() => None,
    };
    say("\nStopping: finishing the requests, then the projector, then the database … (Ctrl-C again: stop at once)")?;
    let stopped = stack.stop().await;
    match failure {
        Some(failure) => Err(failure),
        None => stopped,
    }
}

/// The first signal asks for a drain. The second signal ends the process without it.
fn stop_on_signals() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let asked = stop.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if asked.is_cancelled() {
                // The database's guard process sees that this process has ended, and stops the database.
                std::process::exit(i32::from(INTERRUPTED));
            }
            asked.cancel();
        }
    });
    Ok(stop)
}

async fn start_database(installation: &Installation) -> anyhow::Result<(Server, DatabaseLock)> {
    let lock = installation.lock_database()?;
    let mut options = Options::new(installation.database_directory());
    options.port = installation
        .database_port()
        .filter(|port| local_mongodb::is_free(*port));
    let server = Server::start(options).await?;
    installation.remember_database_port(server.port())?;
    Ok((server, lock))
}

/// Adds this installation's own keys if none are configured. Only `up` has such a default.
fn add_keys(environment: &mut Environment, given: &Given, installation: &Installation) -> anyhow::Result<()> {
    if !given.has("auth.signing_key") {
        environment.set("auth.signing_key", installation.signing_key()?.display().to_string());
    }
    if !given.has("gateway.cookie_secret") {
        environment.set("gateway.cookie_secret", installation.cookie_secret()?);
    }
    if !given.has("auth.client_secret") && !given.has("gateway.client_secret") {
        let secret = installation.client_secret()?;
        environment.set("auth.client_secret", &secret);
        environment.set("gateway.client_secret", secret);
    }
    if !given.has("auth.refresh_secret") {
        environment.set("auth.refresh_secret", installation.refresh_secret()?);
    }
    Ok(())
}

/// The log is for a person here. There is no drain delay, because there is no load balancer that has to notice the shutdown.
fn init_telemetry(environment: &mut Environment, given: &Given) -> anyhow::Result<telemetry::TelemetryGuard> {
    #[derive(Deserialize)]
    struct Section {
        telemetry: config::Telemetry,
    }
    for (key, value) in [
        ("telemetry.format", "text"),
        ("telemetry.filter", LOG_FILTER),
        ("shutdown.drain_delay", "0s"),
    ] {
        if !given.has(key) {
            environment.set(key, value);
        }
    }
    let section: Section = config::load(None, environment)?;
    telemetry::init(&section.telemetry, "microblog").context("the log cannot be started")
}

/// Which keys the environment and the configuration file set, to whatever value.
struct Given(BTreeMap<String, BTreeMap<String, IgnoredAny>>);

impl Given {
    fn read(environment: &Environment) -> anyhow::Result<Self> {
        Ok(Self(config::load(None, environment)?))
    }

    fn has(&self, key: &str) -> bool {
        key.split_once('.')
            .is_some_and(|(section, key)| self.0.get(section).is_some_and(|keys| keys.contains_key(key)))
    }
}

fn welcome(stack: &Stack, database: Option<&Server>, installation: &Installation, took: Duration) -> String {
    let (url, command, query, projector) = (
        stack.url(),
        stack.command_url(),
        stack.query_url(),
        stack.projector_url(),
    );
    let (database, data) = match database {
        Some(server) => {
            let data = format!("\n  data        {}", installation.directory().display());
            (format!("{} ({})", server.uri(), server.engine().description()), data)
        }
        None => ("as configured".to_owned(), String::new()),
    };
    let directory = installation.directory();
    let elsewhere = if Installation::default_directory().is_ok_and(|default| default == directory) {
        String::new()
    } else {
        format!(" --data-dir {}", directory.display())
    };
    format!(
        "Microblog is up ({took:.1?}).\n\n  \
         open        {url}   documentation {url}/docs\n  \
         writes      {command}\n  \
         reads       {query}\n  \
         projector   {projector}   metrics {projector}/metrics\n  \
         database    {database}{data}\n\n\
         Paste this into another terminal to register, log in, post, follow and read:\n\n{session}\n\
         Fill it:\n  \
         microblog demo        (or `make demo`)   a small made-up community\n  \
         microblog import --follows EDGES --posts CSV   your own data; `microblog import --help` shows the formats\n  \
         microblog verify{elsewhere}      recomputes every home timeline from the events and compares\n\n\
         Ctrl-C stops everything; the data stay.",
        session = curl_session(&url),
    )
}

/// A first session for a shell. It has no comments, because zsh does not accept them at the prompt. Each read sends the
/// `Consistency-Token`, so that it sees what was written before. curl tries again while the views are behind the token.
fn curl_session(url: &str) -> String {
    format!(
        r#"M={url}; JSON='Content-Type: application/json'
field() {{ grep -o "\"$1\":\"[^\"]*\"" | head -n 1 | cut -d '"' -f 4; }}

curl -s $M/v1/users -H "$JSON" -d '{{"handle":"grace","email":"grace@example.org","password":"correct horse"}}'; echo
curl -s $M/v1/users -H "$JSON" -d '{{"handle":"alan","email":"alan@example.org","password":"battery staple"}}'; echo
ALAN=$(curl -s $M/v1/sessions -H "$JSON" -d '{{"handle":"alan","password":"battery staple"}}' | field access_token)
GRACE=$(curl -s $M/v1/sessions -H "$JSON" -d '{{"handle":"grace","password":"correct horse"}}' | field access_token)

POST=$(curl -s $M/v1/posts -H "$JSON" -H "Authorization: Bearer $GRACE" -d '{{"text":"Hello, timeline!"}}'); printf '%s\n' "$POST"
ID=$(printf '%s' "$POST" | sed 's/.*"author":{{"id":"\([^"]*\)".*/\1/')
SEEN=$(curl -s -D - -o /dev/null -X PUT $M/v1/users/$ID/follow -H "Authorization: Bearer $ALAN" | grep -i '^consistency-token:' | cut -d ' ' -f 2 | tr -d '\r')
curl -fsS --retry 5 $M/v1/timelines/home -H "Authorization: Bearer $ALAN" -H "Consistency-Token: $SEEN"; echo
"#
    )
}
