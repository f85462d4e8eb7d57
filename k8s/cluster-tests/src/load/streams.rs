//! Live streams that are open during a load. Each is a `microblog tail`, as people run it, which comes back by itself after a break.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::Child;

use super::community::Community;
use super::front::{Call, Side};
use crate::narration::{quote, say};
use crate::programs::Program;
use crate::waiting::{Seen, eventually};

/// How many people watch their home timelines.
const WATCHERS: usize = 4;
/// The time-out for a page, when the load begins.
const TIMEOUT: Duration = Duration::from_secs(15);
/// A stream that is silent for a minute is taken for broken. Then there is a pause, and the replay.
const COMPLETE_WITHIN: Duration = Duration::from_secs(120);

/// The open streams.
#[derive(Debug)]
pub(super) struct Streams {
    watchers: Vec<Watcher>,
    /// How many posts had been acknowledged before.
    since: usize,
}

#[derive(Debug)]
struct Watcher {
    person: usize,
    printed: Arc<Mutex<Printed>>,
    /// The program ends when this is dropped.
    _tail: Child,
}

#[derive(Debug, Default)]
struct Printed {
    posts: HashSet<String>,
    doubles: usize,
    resets: usize,
    /// What it said of its breaks.
    complaints: Vec<String>,
}

impl Streams {
    /// `tail` is the program `microblog`.
    pub(super) async fn open(community: &Community, tail: &Path) -> Result<Self> {
        let since = community.acknowledged();
        let mut watchers = Vec::new();
        for person in 0..WATCHERS {
            let watcher = Watcher::begin(community, tail, person).await;
            watchers.push(watcher.with_context(|| format!("the stream of {person}"))?);
        }
        Ok(Self { watchers, since })
    }

    /// Waits until the streams have shown every post that was acknowledged since they are open, and closes them.
    pub(super) async fn prove_complete(self, community: &Community) -> Result<()> {
        let (mut expected, mut doubles) = (0, 0);
        for watcher in &self.watchers {
            let posts = community.home_since(watcher.person, self.since);
            expected += posts.len();
            let complete = eventually("every post on the stream", COMPLETE_WITHIN, async || {
                let printed = watcher.printed();
                let missing: Vec<&String> = posts.iter().filter(|post| !printed.posts.contains(*post)).collect();
                Ok(match missing.first() {
                    None => Seen::There(()),
                    Some(first) => Seen::NotYet(format!(
                        "{} of {} are missing, first {first}",
                        missing.len(),
                        posts.len()
                    )),
                })
            });
            let complete = complete.await;
            let printed = watcher.printed();
            for complaint in &printed.complaints {
                quote(&format!("the stream of {}: {complaint}", watcher.person));
            }
            complete.with_context(|| format!("the stream of {}", watcher.person))?;
            ensure!(printed.resets == 0, "the stream of {} left posts out", watcher.person);
            doubles += printed.doubles;
        }
        let breaks: usize = self.watchers.iter().map(|it| it.printed().complaints.len()).sum();
        say(format_args!(
            "{} streams: {expected} posts, 0 lost, {breaks} breaks, {doubles} posts again after a break",
            self.watchers.len()
        ));
        Ok(())
    }
}

impl Watcher {
    async fn begin(community: &Community, tail: &Path, person: usize) -> Result<Self> {
        let page = Call::get("/v1/timelines/home?limit=1").bearer(&community.person(person).token);
        let after = community.front.insist(&page, TIMEOUT).await?.text("prev")?;
        let url = |side| format!("http://{}", community.front.address(side, person));
        let tail = Program::new(&tail.display().to_string())
            .args(["tail", "home", "--json"])
            .args([
                format!("--after={after}"),
                format!("--user={}", Community::handle(person)),
                format!("--command-url={}", url(Side::Command)),
                format!("--query-url={}", url(Side::Query)),
            ]);
        let mut command = tail.command();
        command.env("MICROBLOG_PASSWORD", Community::password(person));
        let mut tail = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let printed = Arc::<Mutex<Printed>>::default();
        // Both tasks end with the program.
        let (output, complaints) = (printed.clone(), printed.clone());
        tokio::spawn(each_line(tail.stdout.take(), move |line| lock(&output).note(&line)));
        tokio::spawn(each_line(tail.stderr.take(), move |line| {
            lock(&complaints).complaints.push(line);
        }));
        Ok(Self {
            person,
            printed,
            _tail: tail,
        })
    }

    fn printed(&self) -> MutexGuard<'_, Printed> {
        lock(&self.printed)
    }
}

impl Printed {
    fn note(&mut self, line: &str) {
        let event: Value = match serde_json::from_str(line) {
            Ok(event) => event,
            Err(error) => return self.complaints.push(format!("{line} is no JSON: {error}")),
        };
        match event["event"].as_str() {
            Some("post") => {
                let new = self
                    .posts
                    .insert(event["data"]["id"].as_str().unwrap_or_default().to_owned());
                self.doubles += usize::from(!new);
            }
            Some("reset") => self.resets += 1,
            _ => {}
        }
    }
}

fn lock(printed: &Mutex<Printed>) -> MutexGuard<'_, Printed> {
    printed.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn each_line(pipe: Option<impl AsyncRead + Unpin>, mut act: impl FnMut(String)) -> io::Result<()> {
    let Some(pipe) = pipe else { return Ok(()) };
    let mut lines = BufReader::new(pipe).lines();
    while let Some(line) = lines.next_line().await? {
        act(line);
    }
    Ok(())
}
