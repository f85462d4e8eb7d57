//! Readers of live streams, who come back with their last id after every break, to whichever query-svc answers. At the end, each of them has
//! received every post that it should have, at least once.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use event_log::event_store::RecordedEvent;
use futures_util::StreamExt as _;
use model::events::{Event, Post, StreamId};
use model::ids::{PostId, UserId};
use model::values::Visibility;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sse_stream::{Sse, SseByteStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::client::{BETWEEN_ATTEMPTS, Call, Client};
use crate::ledger::Ledger;
use crate::person::{id, register};
use crate::world::{DEADLINE, Program, World};

/// A cursor from before everything.
const BEFORE_EVERYTHING: &str = "AAAAAAAAAAAAAAAAAAAAAA";
/// Longer than a stream is ever silent.
const SILENCE: Duration = Duration::from_secs(30);

/// What a reader reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    /// Of somebody who follows everybody.
    Home,
    /// The same, but the reader follows and unfollows one of them all the time. Each time, the stream is cut.
    RestlessHome(UserId),
    Public,
}

impl Which {
    fn path(self) -> &'static str {
        match self {
            Which::Home | Which::RestlessHome(_) => "home",
            Which::Public => "public",
        }
    }

    fn should_show(self, post: &Post) -> bool {
        match self {
            Which::Home => post.visibility != Visibility::Mentioned,
            Which::RestlessHome(changes) => post.visibility != Visibility::Mentioned && post.author != changes,
            Which::Public => post.visibility == Visibility::Public,
        }
    }
}

/// All readers, while they read.
#[derive(Debug)]
pub(crate) struct Readers {
    client: Arc<Client>,
    /// Whom all the others follow, for the post that is the last.
    first: (UserId, String),
    reading: Vec<JoinHandle<Reader>>,
    calm: Arc<AtomicBool>,
    last: watch::Sender<Option<PostId>>,
}

impl Readers {
    /// Two at home and two of the public timeline.
    pub(crate) async fn start(world: &World, client: Arc<Client>, users: &[UserId], random: &mut StdRng) -> Self {
        let http = reqwest::Client::builder().no_proxy().read_timeout(SILENCE).build();
        let http = http.expect("a client");
        let (calm, last) = (Arc::<AtomicBool>::default(), watch::Sender::new(None));
        let mut ledgers = [Ledger::default(), Ledger::default()];
        let first = register(&client, "reader0").await;
        let second = register(&client, "reader1").await;
        for ((reader, bearer), ledger) in [&first, &second].into_iter().zip(&mut ledgers) {
            ledger.acknowledged(&StreamId::user(*reader), "user.registered", None);
            for followee in users.iter().chain([&first.0]).filter(|followee| *followee != reader) {
                follow(&client, bearer, *followee, true).await;
                ledger.acknowledged(&StreamId::follow(*reader, *followee), "follow.followed", None);
            }
        }
        let [of_first, of_second] = ledgers;
        let changes = *users.last().expect("there are people");
        let kinds = [
            (Which::Home, Some(&first), of_first),
            (Which::RestlessHome(changes), Some(&second), of_second),
            (Which::Public, None, Ledger::default()),
            (Which::Public, None, Ledger::default()),
        ];
        let reading = kinds.into_iter().map(|(which, user, ledger)| {
            let reader = Reader {
                which,
                user: user.cloned(),
                client: client.clone(),
                http: http.clone(),
                replicas: world.urls(Program::Query),
                random: StdRng::seed_from_u64(random.random()),
                calm: calm.clone(),
                end: last.subscribe(),
                last: BEFORE_EVERYTHING.to_owned(),
                received: BTreeSet::new(),
                follows: true,
                ledger,
                tally: Tally::default(),
                journal: Vec::new(),
                begun: Instant::now(),
            };
            tokio::spawn(reader.read())
        });
        Self {
            reading: reading.collect(),
            client,
            first,
            calm,
            last,
        }
    }

    /// From now on, they only read.
    pub(crate) fn calm_down(&self) {
        self.calm.store(true, Ordering::SeqCst);
    }

    /// Everything else is in the views. Writes the last post, and waits until each reader has received it.
    pub(crate) async fn finish(self) -> Finished {
        let text = "the last post";
        let call = Call::new(Method::POST, "/v1/posts").body(json!({ "text": text }));
        let answer = self.client.send(&call.by(&self.first.1).key("the-last-post")).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
        let post: PostId = id(&answer.body);
        let mut ledger = Ledger::default();
        ledger.acknowledged(&StreamId::post(post), "post.created", Some(text));
        self.last.send_replace(Some(post));
        let mut readers = Vec::new();
        for reading in self.reading {
            readers.push(reading.await.expect("the reader got right answers"));
        }
        let of_readers = readers.iter_mut().map(|reader| std::mem::take(&mut reader.ledger));
        let ledgers = of_readers.chain([ledger]).collect();
        Finished { readers, ledgers }
    }
}

async fn follow(client: &Client, bearer: &str, followee: UserId, follows: bool) {
    let method = if follows { Method::PUT } else { Method::DELETE };
    let call = Call::new(method, format!("/v1/users/{followee}/follow"));
    let answer = client.send(&call.by(bearer)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
}

/// What the readers have received.
#[derive(Debug)]
pub(crate) struct Finished {
    readers: Vec<Reader>,
    /// What they did.
    pub(crate) ledgers: Vec<Ledger>,
}

#[derive(Debug, Default)]
struct Tally {
    opened: usize,
    refused: usize,
    again: usize,
    reset: usize,
}

impl fmt::Display for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Reader {
            which, received, tally, ..
        } in &self.readers
        {
            let Tally {
                opened,
                refused,
                again,
                reset,
            } = tally;
            writeln!(
                f,
                "a stream of {} was opened {opened} times and refused {refused} times: {} posts received, {again} of them again; {reset} resets",
                which.path(),
                received.len(),
            )?;
        }
        Ok(())
    }
}

impl Finished {
    /// Checks that nobody has missed a post that is there.
    pub(crate) fn check(&self, events: &[RecordedEvent], authors: &[UserId]) {
        let posts = events.iter().filter_map(|recorded| match recorded.event() {
            // A deletion takes the content out of every event.
            Ok(Event::PostCreated(post)) if post.content.is_some() && authors.contains(&post.author) => Some(post),
            _ => None,
        });
        let posts: Vec<Post> = posts.collect();
        assert!(!posts.is_empty(), "somebody has written something");
        for reader in &self.readers {
            let should = posts.iter().filter(|post| reader.which.should_show(post));
            let lost: Vec<&Post> = should.filter(|post| !reader.received.contains(&post.id)).collect();
            assert!(
                lost.is_empty(),
                "{:?} has lost {}: {lost:#?}\n{}",
                reader.which,
                lost.len(),
                reader.journal.join("\n")
            );
        }
    }
}

struct Reader {
    which: Which,
    user: Option<(UserId, String)>,
    client: Arc<Client>,
    http: reqwest::Client,
    replicas: Vec<String>,
    random: StdRng,
    calm: Arc<AtomicBool>,
    /// The post that is the last, once it is written.
    end: watch::Receiver<Option<PostId>>,
    last: String,
    received: BTreeSet<PostId>,
    /// Whether it follows the one whom it follows and unfollows.
    follows: bool,
    ledger: Ledger,
    tally: Tally,
    /// When it came back where, and when it received what. It explains a loss.
    journal: Vec<String>,
    begun: Instant,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("which", &self.which)
            .finish_non_exhaustive()
    }
}

impl Reader {
    async fn read(mut self) -> Self {
        for turn in 0.. {
            let replica = self.replicas[turn % self.replicas.len()].clone();
            if self.follow(&replica).await {
                break;
            }
            tokio::time::sleep(BETWEEN_ATTEMPTS).await;
        }
        self
    }

    fn note(&mut self, what: fmt::Arguments<'_>) {
        let at = self.begun.elapsed().as_secs_f64();
        self.journal.push(format!("{at:.3} {what}"));
    }

    /// Reads a stream until it breaks, or until the reader leaves. Returns whether everything is received.
    async fn follow(&mut self, replica: &str) -> bool {
        let url = format!("{replica}/v1/streams/{}", self.which.path());
        let mut request = self.http.get(&url).header("last-event-id", &self.last);
        if let Some((_, bearer)) = &self.user {
            request = request.bearer_auth(bearer);
        }
        let answer = match request.send().await {
            Ok(answer) if answer.status() == StatusCode::OK => answer,
            Ok(answer) => {
                let status = answer.status();
                let later = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::REQUEST_TIMEOUT].contains(&status);
                assert!(later, "{url} was answered {status}");
                self.tally.refused += 1;
                return false;
            }
            Err(_) => {
                self.tally.refused += 1;
                return false;
            }
        };
        self.tally.opened += 1;
        let after = self.last.clone();
        self.note(format_args!("opened {url} after {after}"));
        let mut blocks = SseByteStream::new(answer.bytes_stream());
        // Leaving in the middle is one more break.
        let stays_for: usize = self.random.random_range(1..60);
        for _ in 0..stays_for {
            let next = tokio::select! {
                next = timeout(DEADLINE, blocks.next()) => next.expect("a stream is never silent for so long"),
                _ = self.end.wait_for(|post| post.is_some_and(|post| self.received.contains(&post))) => return true,
            };
            match next {
                Some(Ok(block)) => self.receive(block).await,
                Some(Err(error)) => {
                    self.note(format_args!("broke: {error}"));
                    return false;
                }
                None => {
                    self.note(format_args!("ended"));
                    return false;
                }
            }
        }
        self.note(format_args!("left"));
        false
    }

    async fn receive(&mut self, block: Sse) {
        if let (Some(event), Some(data)) = (&block.event, &block.data) {
            let data: Value = serde_json::from_str(data).expect("JSON");
            match event.as_str() {
                "post" => {
                    let post: PostId = id(&data);
                    let is_new = self.received.insert(post);
                    self.tally.again += usize::from(!is_new);
                    self.note(format_args!("post {post} {:?}", block.id));
                    if is_new && self.received.len().is_multiple_of(8) {
                        self.change_interest().await;
                    }
                }
                "reset" => {
                    self.tally.reset += 1;
                    self.note(format_args!("reset"));
                    self.read_pages().await;
                }
                other => self.note(format_args!("{other}")),
            }
        }
        // A client keeps the id of what it has taken in.
        if let Some(id) = block.id {
            self.last = id;
        }
    }

    async fn change_interest(&mut self) {
        let (Which::RestlessHome(changes), Some((user, bearer))) = (self.which, &self.user) else {
            return;
        };
        if self.calm.load(Ordering::SeqCst) {
            return;
        }
        self.follows = !self.follows;
        follow(&self.client, bearer, changes, self.follows).await;
        let event_type = if self.follows {
            "follow.followed"
        } else {
            "follow.unfollowed"
        };
        self.ledger
            .acknowledged(&StreamId::follow(*user, changes), event_type, None);
    }

    /// Begins anew, as a client does after `reset`.
    async fn read_pages(&mut self) {
        let list = format!("/v1/timelines/{}?limit=100", self.which.path());
        let mut path = list.clone();
        loop {
            let mut call = Call::get(path);
            if let Some((_, bearer)) = &self.user {
                call = call.by(bearer);
            }
            let page = self.client.send(&call).await;
            assert_eq!(page.status, StatusCode::OK, "{}", page.body);
            let items = page.body["items"].as_array().expect("items");
            self.received.extend(items.iter().map(id::<PostId>));
            let Some(next) = page.body["next"].as_str() else { return };
            path = format!("{list}&before={next}");
        }
    }
}
