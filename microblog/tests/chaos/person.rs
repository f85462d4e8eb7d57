//! People who write, and who check that their writes are visible.

use std::cmp;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use model::events::StreamId;
use model::ids::{ListId, PostId, UserId};
use model::tags::TagKey;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, IteratorRandom as _};
use rand::{Rng as _, SeedableRng as _};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::client::{Answer, Call, Client};
use crate::ledger::Ledger;
use crate::world::{World, eventually};

/// What people write about.
const TAGS: [&str; 4] = ["weather", "Bread", "東京", "İstanbul"];

/// All people, and what they share.
#[derive(Debug)]
pub(crate) struct Crowd {
    people: Vec<Person>,
    common: Arc<Common>,
}

#[derive(Debug)]
struct Common {
    client: Arc<Client>,
    users: Vec<UserId>,
    /// Posts that are never deleted. Other people may refer to them at any time.
    kept: Mutex<Vec<PostId>>,
    acknowledged: AtomicUsize,
    stop: AtomicBool,
}

impl Common {
    fn keep(&self, post: PostId) {
        self.kept.lock().expect("nobody panicked").push(post);
    }

    fn any_kept(&self, random: &mut StdRng) -> PostId {
        let kept = self.kept.lock().expect("nobody panicked");
        *kept.choose(random).expect("everybody has written something")
    }
}

#[derive(Debug)]
struct Person {
    id: UserId,
    bearer: String,
    random: StdRng,
    ledger: Ledger,
    /// The person's posts that are never deleted, and those that will be deleted.
    kept: Vec<PostId>,
    scratch: Vec<PostId>,
    /// The request that wrote the last post, and the post.
    last: Option<(Call, PostId)>,
    /// The person's present follows, likes and so on.
    follows: BTreeSet<UserId>,
    likes: BTreeSet<PostId>,
    bookmarks: BTreeSet<PostId>,
    tags: BTreeSet<&'static str>,
    reposts: BTreeSet<PostId>,
    /// The person's exclusive list, and who is in it.
    list: Option<ListId>,
    members: BTreeSet<UserId>,
}

impl Crowd {
    /// Registers all people, before the faults begin.
    pub(crate) async fn found(world: &World, size: usize, random: &mut StdRng) -> Self {
        let client = Arc::new(Client::new(world));
        let mut people = Vec::new();
        for number in 0..size {
            let seed = random.random();
            people.push(Person::register(&client, &format!("person{number}"), seed).await);
        }
        let common = Arc::new(Common {
            client,
            users: people.iter().map(|person| person.id).collect(),
            kept: Mutex::default(),
            acknowledged: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        });
        for person in &mut people {
            let post = person.post(&common, None, "public").await;
            person.kept.push(post);
            common.keep(post);
        }
        Self { people, common }
    }

    pub(crate) fn client(&self) -> Arc<Client> {
        self.common.client.clone()
    }

    pub(crate) fn users(&self) -> Vec<UserId> {
        self.common.users.clone()
    }

    /// Lets the people write until they are told to stop.
    pub(crate) fn start(self) -> Busy {
        let common = self.common;
        let people = self.people.into_iter().map(|mut person| {
            let common = common.clone();
            tokio::spawn(async move {
                while !common.stop.load(Ordering::SeqCst) {
                    person.do_something(&common).await;
                }
                person.ledger
            })
        });
        Busy {
            people: people.collect(),
            common,
        }
    }
}

/// People who are writing.
#[derive(Debug)]
pub(crate) struct Busy {
    people: Vec<JoinHandle<Ledger>>,
    common: Arc<Common>,
}

impl Busy {
    /// Waits until so many more commands are acknowledged.
    pub(crate) async fn more(&self, commands: usize) {
        let enough = self.common.acknowledged.load(Ordering::SeqCst) + commands;
        eventually("more is written", async || {
            let somebody_panicked = self.people.iter().any(JoinHandle::is_finished);
            assert!(!somebody_panicked, "a person got a wrong answer; see the panic above");
            (self.common.acknowledged.load(Ordering::SeqCst) >= enough).then_some(())
        })
        .await;
    }

    /// Waits until every person has an answer to the last request.
    pub(crate) async fn stop(self) -> Vec<Ledger> {
        self.common.stop.store(true, Ordering::SeqCst);
        let mut ledgers = Vec::new();
        for person in self.people {
            ledgers.push(person.await.expect("nobody got a wrong answer"));
        }
        ledgers
    }
}

/// Makes a user. Returns the user's id and access token.
pub(crate) async fn register(client: &Client, handle: &str) -> (UserId, String) {
    let password = format!("the password of {handle}");
    let registration = json!({ "handle": handle, "email": format!("{handle}@example.org"), "password": password });
    let user = client
        .send(&Call::new(Method::POST, "/v1/users").body(registration))
        .await;
    assert_eq!(user.status, StatusCode::CREATED, "{}", user.body);
    let login = json!({ "handle": handle, "password": password });
    let session = client.send(&Call::new(Method::POST, "/v1/sessions").body(login)).await;
    let bearer = session.body["access_token"].as_str().expect("a token").to_owned();
    (id(&user.body), bearer)
}

impl Person {
    async fn register(client: &Client, handle: &str, seed: u64) -> Self {
        let (id, bearer) = register(client, handle).await;
        let mut ledger = Ledger::default();
        ledger.acknowledged(&StreamId::user(id), "user.registered", None);
        Self {
            id,
            bearer,
            random: StdRng::seed_from_u64(seed),
            ledger,
            kept: Vec::new(),
            scratch: Vec::new(),
            last: None,
            follows: BTreeSet::new(),
            likes: BTreeSet::new(),
            bookmarks: BTreeSet::new(),
            tags: BTreeSet::new(),
            reposts: BTreeSet::new(),
            list: None,
            members: BTreeSet::new(),
        }
    }

    async fn do_something(&mut self, common: &Common) {
        match self.random.random_range(0..100) {
            0..32 => self.write(common).await,
            32..38 => self.repeat_the_last(common).await,
            38..48 => self.edit(common).await,
            48..58 => self.delete(common).await,
            58..65 => self.like(common).await,
            65..68 => self.bookmark(common).await,
            68..70 => self.follow_tag(common).await,
            70..73 => self.list(common).await,
            73..78 => self.follow(common).await,
            78..86 => self.repost(common).await,
            _ => self.be_refused(common).await,
        }
    }

    /// A command that must be carried out, now or when an earlier attempt was sent.
    async fn command(&mut self, common: &Common, call: Call) -> Answer {
        let answer = common.client.send(&call.by(&self.bearer)).await;
        self.ledger.repeated += answer.repeated;
        common.acknowledged.fetch_add(1, Ordering::SeqCst);
        answer
    }

    async fn must(&mut self, common: &Common, call: Call) -> Answer {
        let what = format!("{} {}", call.method, call.path);
        let answer = self.command(common, call).await;
        assert!(
            answer.status.is_success(),
            "{what} was answered {}: {}",
            answer.status,
            answer.body
        );
        answer
    }

    /// A text that mentions somebody, and has a tag.
    fn text(&mut self, common: &Common) -> String {
        let other = self.random.random_range(0..common.users.len());
        let tag = TAGS.choose(&mut self.random).expect("there are tags");
        let words = self.random.random::<u64>();
        format!("{} says {words:x} to @person{other} #{tag}", self.id)
    }

    async fn post(&mut self, common: &Common, in_reply_to: Option<PostId>, visibility: &str) -> PostId {
        let text = self.text(common);
        let mut body = json!({ "text": text, "visibility": visibility });
        if self.random.random_bool(0.2) {
            body["warning"] = json!("of nothing");
            body["language"] = json!("en");
        }
        if let Some(answered) = in_reply_to {
            body["in_reply_to"] = json!(answered);
        } else if self.random.random_bool(0.2) && !self.kept.is_empty() {
            body["quote_of"] = json!(common.any_kept(&mut self.random));
        }
        let key = Uuid::from_u128(self.random.random()).to_string();
        let call = Call::new(Method::POST, "/v1/posts").body(body).key(&key);
        let answer = self.must(common, call.clone()).await;
        let post: PostId = id(&answer.body);
        self.ledger
            .acknowledged(&StreamId::post(post), "post.created", Some(&text));
        self.last = Some((call, post));
        self.see(common, post, &text, answer).await;
        post
    }

    /// A reader that knows of a post finds it.
    async fn see(&mut self, common: &Common, post: PostId, text: &str, written: Answer) {
        let token = written.token.expect("a command answers with a token");
        let shown = if self.random.random() {
            self.find_at_home(common, post, &token).await
        } else {
            self.read(common, &format!("/v1/posts/{post}"), &token).await
        };
        assert_eq!(shown["text"], text, "an older {post} is shown");
    }

    /// Finds a post in the home timeline. While the person waits for it, others may write more posts than fit on a page.
    async fn find_at_home(&self, common: &Common, post: PostId, token: &str) -> Value {
        let mut path = "/v1/timelines/home?limit=100".to_owned();
        let mut newer = 0;
        loop {
            let page = self.read(common, &path, token).await;
            for item in page["items"].as_array().expect("items") {
                match id::<PostId>(item).cmp(&post) {
                    cmp::Ordering::Equal => return item.clone(),
                    cmp::Ordering::Greater => newer += 1,
                    cmp::Ordering::Less => panic!(
                        "the home timeline of {} lacks {post} between {newer} newer and older ones, although it was asked for with its token",
                        self.id
                    ),
                }
            }
            let next = page["next"].as_str();
            let next = next.unwrap_or_else(|| panic!("the home timeline of {} ends above {post}", self.id));
            path = format!("/v1/timelines/home?limit=100&before={next}");
        }
    }

    async fn read(&self, common: &Common, path: &str, token: &str) -> Value {
        let call = Call::get(path).by(&self.bearer).after(token);
        let read = common.client.send(&call).await;
        assert_eq!(read.status, StatusCode::OK, "{path}: {}", read.body);
        read.body
    }

    async fn write(&mut self, common: &Common) {
        let answered = self.random.random_bool(0.25).then(|| common.any_kept(&mut self.random));
        if self.random.random() {
            // Others like, answer and repost it.
            let visibility = ["public", "unlisted"].choose(&mut self.random).expect("two");
            let post = self.post(common, answered, visibility).await;
            self.kept.push(post);
            common.keep(post);
        } else {
            let all = ["public", "unlisted", "followers", "mentioned"];
            let visibility = all.choose(&mut self.random).expect("four");
            let post = self.post(common, answered, visibility).await;
            self.scratch.push(post);
        }
    }

    /// The same request gets the same answer again.
    async fn repeat_the_last(&mut self, common: &Common) {
        let Some((call, post)) = self.last.clone() else { return };
        let answer = self.must(common, call).await;
        assert_eq!(id::<PostId>(&answer.body), post, "one key, two posts");
    }

    async fn edit(&mut self, common: &Common) {
        let posts = self.kept.iter().chain(&self.scratch);
        let post = *posts.choose(&mut self.random).expect("one's first post is kept");
        let text = self.text(common);
        let call = Call::new(Method::PATCH, format!("/v1/posts/{post}")).body(json!({ "text": text }));
        let answer = self.must(common, call).await;
        self.ledger
            .acknowledged(&StreamId::post(post), "post.edited", Some(&text));
        // The page that shows the post may be far down by now. So the post itself is read.
        let token = answer.token.expect("a command answers with a token");
        let shown = self.read(common, &format!("/v1/posts/{post}"), &token).await;
        assert_eq!(shown["text"], json!(text), "{post} is shown as it was before");
    }

    async fn delete(&mut self, common: &Common) {
        let Some(post) = self.scratch.pop() else { return };
        if self.last.as_ref().is_some_and(|(_, last)| *last == post) {
            self.last = None;
        }
        let answer = self
            .command(common, Call::new(Method::DELETE, format!("/v1/posts/{post}")))
            .await;
        // An earlier attempt may have deleted it.
        let gone = answer.status == StatusCode::NOT_FOUND && answer.repeated > 0;
        assert!(
            answer.status.is_success() || gone,
            "the deletion of {post} was answered {}",
            answer.status
        );
        self.ledger.acknowledged(&StreamId::post(post), "post.deleted", None);
        let Some(token) = answer.token else { return };
        let read = Call::get(format!("/v1/posts/{post}")).by(&self.bearer).after(&token);
        let read = common.client.send(&read).await;
        assert_eq!(read.status, StatusCode::NOT_FOUND, "{post} is shown after its deletion");
    }

    async fn like(&mut self, common: &Common) {
        let post = common.any_kept(&mut self.random);
        let likes = !self.likes.remove(&post);
        let (method, event_type) = if likes {
            (Method::PUT, "like.liked")
        } else {
            (Method::DELETE, "like.unliked")
        };
        self.must(common, Call::new(method, format!("/v1/posts/{post}/like")))
            .await;
        if likes {
            self.likes.insert(post);
        }
        self.ledger
            .acknowledged(&StreamId::like(self.id, post), event_type, None);
    }

    async fn bookmark(&mut self, common: &Common) {
        let post = common.any_kept(&mut self.random);
        let keeps = !self.bookmarks.remove(&post);
        let (method, event_type) = if keeps {
            (Method::PUT, "bookmark.bookmarked")
        } else {
            (Method::DELETE, "bookmark.unbookmarked")
        };
        self.must(common, Call::new(method, format!("/v1/posts/{post}/bookmark")))
            .await;
        if keeps {
            self.bookmarks.insert(post);
        }
        self.ledger
            .acknowledged(&StreamId::bookmark(self.id, post), event_type, None);
    }

    async fn follow_tag(&mut self, common: &Common) {
        let tag = *TAGS.choose(&mut self.random).expect("there are tags");
        let follows = !self.tags.remove(tag);
        let (method, event_type) = if follows {
            (Method::PUT, "tag.followed")
        } else {
            (Method::DELETE, "tag.unfollowed")
        };
        self.must(common, Call::new(method, format!("/v1/tags/{tag}/follow")))
            .await;
        if follows {
            self.tags.insert(tag);
        }
        self.ledger
            .acknowledged(&StreamId::tag(self.id, &TagKey::of(tag)), event_type, None);
    }

    /// Moves somebody into the list or out of it. The own posts stay at home, whoever is in it.
    async fn list(&mut self, common: &Common) {
        let list = match self.list {
            Some(list) => list,
            None => {
                let body = json!({ "title": "kept apart", "exclusive": true });
                let key = Uuid::from_u128(self.random.random()).to_string();
                let call = Call::new(Method::POST, "/v1/lists").body(body).key(&key);
                let list = id(&self.must(common, call).await.body);
                self.ledger.acknowledged(&StreamId::list(list), "list.created", None);
                *self.list.insert(list)
            }
        };
        let user = *common.users.choose(&mut self.random).expect("there are people");
        let comes = !self.members.remove(&user);
        let (method, event_type) = if comes {
            (Method::PUT, "list_member.added")
        } else {
            (Method::DELETE, "list_member.removed")
        };
        self.must(common, Call::new(method, format!("/v1/lists/{list}/members/{user}")))
            .await;
        if comes {
            self.members.insert(user);
        }
        self.ledger
            .acknowledged(&StreamId::list_member(list, user), event_type, None);
    }

    async fn repost(&mut self, common: &Common) {
        let post = common.any_kept(&mut self.random);
        let reposts = !self.reposts.remove(&post);
        let (method, event_type) = if reposts {
            (Method::PUT, "repost.reposted")
        } else {
            (Method::DELETE, "repost.unreposted")
        };
        self.must(common, Call::new(method, format!("/v1/posts/{post}/repost")))
            .await;
        if reposts {
            self.reposts.insert(post);
        }
        self.ledger
            .acknowledged(&StreamId::repost(self.id, post), event_type, None);
    }

    async fn follow(&mut self, common: &Common) {
        let other = *common.users.choose(&mut self.random).expect("there are people");
        if other == self.id {
            return;
        }
        let follows = !self.follows.remove(&other);
        let (method, event_type) = if follows {
            (Method::PUT, "follow.followed")
        } else {
            (Method::DELETE, "follow.unfollowed")
        };
        self.must(common, Call::new(method, format!("/v1/users/{other}/follow")))
            .await;
        if follows {
            self.follows.insert(other);
        }
        self.ledger
            .acknowledged(&StreamId::follow(self.id, other), event_type, None);
    }

    /// Requests that must be refused, and must have no effect.
    async fn be_refused(&mut self, common: &Common) {
        let kept = common.any_kept(&mut self.random);
        let nothing = PostId::new(chrono::Utc::now());
        let call = match self.random.random_range(0..5) {
            0 => Call::new(Method::POST, "/v1/posts").body(json!({ "text": " " })),
            1 => Call::new(Method::PUT, format!("/v1/posts/{nothing}/like")),
            2 => Call::new(Method::PUT, format!("/v1/users/{}/follow", self.id)),
            3 if !self.kept.contains(&kept) => Call::new(Method::DELETE, format!("/v1/posts/{kept}")),
            _ => match &self.last {
                Some((call, _)) => call.clone().body(json!({ "text": "another text with the same key" })),
                None => return,
            },
        };
        let what = format!("{} {}", call.method, call.path);
        let answer = self.command(common, call).await;
        assert!(
            answer.status.is_client_error(),
            "{what} was answered {}: {}",
            answer.status,
            answer.body
        );
        self.ledger.refused += 1;
    }
}

pub(crate) fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(body: &Value) -> T {
    let text = body["id"].as_str().unwrap_or_else(|| panic!("no id in {body}"));
    text.parse().expect("an id")
}
