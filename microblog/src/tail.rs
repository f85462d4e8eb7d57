//! `microblog tail`: shows a live stream at a terminal.
//!
//! It comes back after every break, with the id of the last event that it has printed. So it prints everything at least once.

mod words;

use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures_util::StreamExt as _;
use model::ids::{ListId, PostId};
use model::tags::Tag;
use model::values::Handle;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use sse_stream::{Sse, SseByteStream};

use self::words::Words;
use crate::api_client::{ApiClient, Problem, chain, connector, retry_after};
use crate::import::accounts::{Account, Registrar, SessionError};
use crate::progress::tell;
use crate::terminal::{self, Endpoints, say};

/// A stream says something every 25 seconds. One that is silent for so long is broken.
const SILENCE: Duration = Duration::from_secs(60);
const PAUSES: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(500))
    .with_max_delay(Duration::from_secs(30))
    .with_jitter()
    .without_max_times();

/// Watch a timeline, a thread or notifications as it happens
///
/// Prints a line for each event. After a break it comes back, and first prints what was missed. Ctrl-C ends it, with exit code 0.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// home, public, notifications, tags/TAG, lists/ID or posts/ID. A post is watched with the answers to it
    #[arg(value_name = "STREAM", default_value = "home")]
    topic: Topic,

    /// Begin after this event, and not with the present: an `id` that --json has printed, or the `prev` of a page
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,

    /// Who watches. The password is in MICROBLOG_PASSWORD, or see --password-file. Without it, a visitor without an account
    #[arg(long, value_name = "HANDLE", value_parser = crate::cli_values::handle)]
    user: Option<Handle>,

    /// The file with the user's password
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,

    /// Print each event as a line of JSON, with its id
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    endpoints: Endpoints,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Topic {
    Home,
    Public,
    Notifications,
    Tag(Tag),
    List(ListId),
    Post(PostId),
}

impl FromStr for Topic {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            None if text == "home" => Ok(Self::Home),
            None if text == "public" => Ok(Self::Public),
            None if text == "notifications" => Ok(Self::Notifications),
            Some(("tags", tag)) => tag.parse().map(Self::Tag).map_err(|_| "this is no tag"),
            Some(("lists", id)) => id.parse().map(Self::List).map_err(|_| "this is not the id of a list"),
            Some(("posts", id)) => id.parse().map(Self::Post).map_err(|_| "this is not the id of a post"),
            _ => Err("expected home, public, notifications, tags/TAG, lists/ID or posts/ID"),
        }
    }
}

impl Topic {
    fn path(&self) -> String {
        let inside = match self {
            Topic::Home => "home".to_owned(),
            Topic::Public => "public".to_owned(),
            Topic::Notifications => "notifications".to_owned(),
            Topic::Tag(tag) => format!("tags/{}", utf8_percent_encode(tag.as_str(), NON_ALPHANUMERIC)),
            Topic::List(id) => format!("lists/{id}"),
            Topic::Post(id) => format!("posts/{id}"),
        };
        format!("/v1/streams/{inside}")
    }

    fn is_own(&self) -> bool {
        matches!(self, Topic::Home | Topic::Notifications | Topic::List(_))
    }
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Arguments {
        topic,
        after,
        user,
        password_file,
        json,
        endpoints,
    } = arguments;
    ensure!(
        user.is_some() || !topic.is_own(),
        "only a user can watch this: give --user"
    );
    let reader = match user {
        Some(handle) => {
            let password = terminal::password(password_file.as_deref())?;
            // No attempt is repeated here: the tail itself comes back, and says so.
            let command = ApiClient::new(&endpoints.command_url, Duration::ZERO)?;
            Some((Registrar::of_user(command, password), Account::of(handle)))
        }
        None => None,
    };
    let base = endpoints.query_url.as_str().trim_end_matches('/');
    let mut tail = Tail {
        http: connector(&endpoints.query_url).read_timeout(SILENCE).build()?,
        url: format!("{base}{}", topic.path()),
        reader,
        refused: None,
        last: after,
        words: (!json).then(|| Words::new(&topic)),
    };
    let watched = tokio::select! {
        watched = tail.watch() => watched,
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(Into::into),
    };
    if let Some((registrar, account)) = &tail.reader
        && let Err(error) = registrar.log_out(&endpoints.command_url, account).await
    {
        tell(format_args!("could not log out: {error:#}"));
    }
    watched.map(|()| ExitCode::SUCCESS)
}

struct Tail {
    http: reqwest::Client,
    url: String,
    reader: Option<(Registrar, Account)>,
    /// An access token with which a stream has ended. The session may be over, which a query does not check before it answers.
    refused: Option<String>,
    last: Option<String>,
    /// None: print JSON.
    words: Option<Words>,
}

/// Why it has to come back, and when at the earliest.
struct Break {
    why: String,
    not_before: Duration,
}

impl Break {
    fn new(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            not_before: Duration::ZERO,
        }
    }
}

impl Tail {
    /// Ends with an error that coming back does not help.
    async fn watch(&mut self) -> anyhow::Result<()> {
        let mut pauses = PAUSES.build();
        loop {
            let Break { why, not_before } = match self.open().await? {
                Ok(answer) => self.follow(answer, &mut pauses).await?,
                Err(broken) => broken,
            };
            let pause = pauses.next().unwrap_or_default().max(not_before);
            tell(format_args!("{why}; coming back in {:.1} s", pause.as_secs_f64()));
            tokio::time::sleep(pause).await;
        }
    }

    async fn open(&mut self) -> anyhow::Result<Result<Response, Break>> {
        let refused = self.refused.take();
        let token = match &self.reader {
            None => None,
            Some((registrar, account)) => match registrar.access_token(account, refused.as_deref()).await {
                Ok(token) => Some(token),
                Err(SessionError::Call(error)) => return Ok(Err(Break::new(error.to_string()))),
                Err(refused) => return Err(refused).with_context(|| format!("@{} can't log in", account.handle)),
            },
        };
        let mut request = self.http.get(&self.url);
        if let Some(last) = &self.last {
            request = request.query(&[("after", last)]);
        }
        if let Some(token) = &token {
            request = request.bearer_auth(token);
        }
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => return Ok(Err(Break::new(chain(&error)))),
        };
        let status = answer.status();
        if status.is_success() {
            self.refused = token;
            return Ok(Ok(answer));
        }
        let expired = status == StatusCode::UNAUTHORIZED && token.is_some() && refused.is_none();
        if expired {
            self.refused = token;
        }
        if expired
            || status.is_server_error()
            || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
        {
            let not_before = retry_after(answer.headers()).unwrap_or_default();
            let problem: Problem = answer.json().await.unwrap_or_default();
            let why = match problem.detail.as_str() {
                "" => format!("the service answered {status}"),
                detail => format!("the service answered {status}: {detail}"),
            };
            return Ok(Err(Break { why, not_before }));
        }
        let body = answer.text().await.unwrap_or_else(|error| chain(&error));
        anyhow::bail!("{} was answered {status}: {body}", self.url)
    }

    /// Prints events until the stream ends.
    async fn follow(&mut self, answer: Response, pauses: &mut ExponentialBackoff) -> anyhow::Result<Break> {
        let mut blocks = SseByteStream::new(answer.bytes_stream());
        let mut not_before = Duration::ZERO;
        loop {
            let why = match blocks.next().await {
                Some(Ok(block)) => {
                    if let Some(retry) = block.retry {
                        not_before = Duration::from_millis(retry);
                    }
                    if block.id.is_some() {
                        *pauses = PAUSES.build();
                    }
                    self.print(block)?;
                    continue;
                }
                Some(Err(error)) => {
                    // The connection broke, and says nothing about the session.
                    self.refused = None;
                    chain(&error)
                }
                None => "the stream has ended".to_owned(),
            };
            return Ok(Break { why, not_before });
        }
    }

    fn print(&mut self, block: Sse) -> anyhow::Result<()> {
        if let (Some(event), Some(data)) = (&block.event, &block.data) {
            let data: Value = serde_json::from_str(data).with_context(|| format!("an event is no JSON: {data}"))?;
            match &mut self.words {
                None => say(&json!({ "id": block.id, "event": event, "data": data }).to_string())?,
                Some(words) => match words.line(event, data)? {
                    Some(line) => say(&line)?,
                    None if event == "reset" => tell("too much was missed: some of it is left out"),
                    None => {}
                },
            }
        }
        // Only what is printed is known.
        if block.id.is_some() {
            self.last = block.id;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_named_like_its_path() {
        for (text, path) in [
            ("home", "home"),
            ("public", "public"),
            ("notifications", "notifications"),
            ("tags/İstanbul", "tags/%C4%B0stanbul"),
            (
                "lists/0199d2d7-8a10-7000-8000-000000000001",
                "lists/0199d2d7-8a10-7000-8000-000000000001",
            ),
            (
                "posts/0199d2d7-8a10-7000-8000-000000000001",
                "posts/0199d2d7-8a10-7000-8000-000000000001",
            ),
        ] {
            assert_eq!(text.parse::<Topic>().unwrap().path(), format!("/v1/streams/{path}"));
        }
        for text in ["", "house", "home/1", "tags/", "tags/two words", "lists/1", "posts/x"] {
            assert!(text.parse::<Topic>().is_err(), "{text}");
        }
    }
}
