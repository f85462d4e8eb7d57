//! A small world of events, and projectors that handle them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use event_log::event_store::{EventStore, Metadata, NewEvent, RecordedEvent, Retries};
use event_log::mongo::{MongoDb, MongoUri};
use event_log::subscription::leases::Leases;
use local_mongodb::{TestDatabase, wait_in_drop};
use model::clock::{Clock, OffsetClock};
use model::entities::Entities;
use model::events::{
    Block, EndedFollows, Event, Filter, FilterContent, Follow, Like, List, ListMember, ListTag, Mute, Post,
    PostContent, ReplyTo, Repost, StreamId, TagFollow, User,
};
use model::ids::{FilterId, ListId, PARTITIONS, PostId, UserId};
use model::values::{FilterAction, FilterContext, Handle, PostText, Visibility};
use mongodb::Database;
use projector::{App, Config, RunError};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use views::Views;
use views::generation::{Control, Generations};

/// Longer than anything in a test may take. What takes longer never happens.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

pub(crate) struct World {
    pub(crate) database: TestDatabase,
    pub(crate) store: EventStore,
    pub(crate) views: Database,
    pub(crate) clock: Arc<OffsetClock>,
    pub(crate) generations: Generations,
    versions: Mutex<HashMap<StreamId, i64>>,
    posts: Mutex<HashMap<PostId, Post>>,
    users: Mutex<HashMap<UserId, User>>,
}

impl World {
    pub(crate) async fn new() -> Self {
        event_log::crypto::install_provider();
        let database = TestDatabase::new().await;
        let client = database.client().await;
        let clock = OffsetClock::new();
        let events = client.database(database.events_database());
        let store = EventStore::open(events, clock.clone(), Retries::default())
            .await
            .unwrap();
        let views = client.database(database.views_database());
        let generations = Generations::new(views.clone(), clock.clone());
        Self {
            database,
            store,
            views,
            clock,
            generations,
            versions: Mutex::default(),
            posts: Mutex::default(),
            users: Mutex::default(),
        }
    }

    /// The default configuration with shorter times.
    pub(crate) fn config(&self) -> Config {
        let mut mongodb = MongoDb::at(MongoUri::parse(self.database.uri()).unwrap());
        mongodb.events_database = self.database.events_database().to_owned();
        mongodb.views_database = self.database.views_database().to_owned();
        let mut config = Config::at(mongodb);
        config.projector.listen = SocketAddr::from(([127, 0, 0, 1], 0));
        config.projector.look_every = Duration::from_millis(100);
        config.http.workers = std::num::NonZeroU32::new(1);
        config.subscriptions.lease_duration = Duration::from_secs(4);
        config.subscriptions.renew_every = Duration::from_secs(1);
        config.subscriptions.heartbeat_every = Duration::from_secs(1);
        config.subscriptions.idle_checkpoint_every = Duration::from_millis(300);
        config.subscriptions.backoff = Duration::from_millis(20);
        config.rebuild.look_every = Duration::from_millis(100);
        config.rebuild.reader_grace = Duration::from_millis(200);
        config.rebuild.retry_after = Duration::from_millis(200);
        config.sweep.look_every = Duration::from_millis(100);
        config.sweep.retry_after = Duration::from_millis(200);
        config.sweep.settle_after = Duration::from_millis(300);
        config
    }

    pub(crate) async fn projector(&self) -> Running {
        self.projector_with(self.config()).await
    }

    pub(crate) async fn projector_with(&self, config: Config) -> Running {
        let app = App::build(config, self.clock.clone()).await.unwrap();
        let address = app.local_addr();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(app.run_until_stopped(shutdown.clone()));
        Running {
            address,
            shutdown,
            task: Some(task),
        }
    }

    /// The real program, as a process that can be killed.
    pub(crate) fn process(&self, settings: &[(&str, &str)]) -> Process {
        let child = Command::new(env!("CARGO_BIN_EXE_projector"))
            .env("MICROBLOG__MONGODB__URI", self.database.uri())
            .env("MICROBLOG__MONGODB__EVENTS_DATABASE", self.database.events_database())
            .env("MICROBLOG__MONGODB__VIEWS_DATABASE", self.database.views_database())
            .env("MICROBLOG__PROJECTOR__LISTEN", "127.0.0.1:0")
            .env("MICROBLOG__HTTP__WORKERS", "1")
            .env("MICROBLOG__TELEMETRY__FILTER", "info")
            .env("MICROBLOG__TELEMETRY__FORMAT", "text")
            .envs(settings.iter().copied())
            .stdout(Stdio::null())
            .stderr(log())
            .spawn()
            .expect("the program starts");
        Process(child)
    }

    pub(crate) async fn active(&self) -> i64 {
        self.control().await.active
    }

    pub(crate) async fn control(&self) -> Control {
        self.generations.ensure_first().await.unwrap()
    }

    pub(crate) async fn active_views(&self) -> Views {
        Views::new(&self.views, self.active().await)
    }

    /// Waits until the active generation contains everything that was appended before this call.
    pub(crate) async fn caught_up(&self) {
        let mark = self.store.mark_all().await.unwrap();
        eventually("the views catch up", DEADLINE, async || {
            let leases = self.leases(&format!("views-g{}", self.active().await)).await;
            leases.len() == usize::from(PARTITIONS) && leases.iter().all(|lease| lease.position >= mark)
        })
        .await;
    }

    pub(crate) async fn leases(&self, subscription: &str) -> Vec<event_log::subscription::leases::Lease> {
        Leases::new(self.views.clone(), subscription).all().await.unwrap()
    }

    /// Appends the next version of the event's stream.
    pub(crate) async fn append(&self, event: Event) -> RecordedEvent {
        let version = {
            let mut versions = self.versions.lock().unwrap();
            let version = versions.entry(event.stream()).or_default();
            *version += 1;
            *version
        };
        let new = NewEvent {
            actor: event.audience(),
            event,
            expected_version: version - 1,
            metadata: Metadata {
                command_id: Uuid::new_v4(),
                correlation_id: "test".to_owned(),
                causation_id: None,
                traceparent: None,
            },
            idempotency: None,
        };
        let mut session = self.store.session().await.unwrap();
        self.store.append(&mut session, new).await.unwrap().recorded
    }

    pub(crate) async fn register(&self, handle: &str) -> UserId {
        let user = User {
            id: UserId::new(self.clock.now()),
            handle: Handle::parse(handle).unwrap(),
            display_name: Some(handle.to_uppercase()),
            bio: Some(String::new()),
            fields: Vec::new(),
            created_at: self.clock.now(),
            suspended: None,
            deleted: false,
            protected: false,
        };
        self.users.lock().unwrap().insert(user.id, user.clone());
        let id = user.id;
        self.append(Event::UserRegistered(user)).await;
        id
    }

    pub(crate) async fn users(&self, count: usize) -> Vec<UserId> {
        let mut users = Vec::new();
        for number in 0..count {
            users.push(self.register(&format!("user{number}")).await);
        }
        users
    }

    pub(crate) async fn delete_user(&self, id: UserId) -> RecordedEvent {
        let user = self.users.lock().unwrap().get(&id).unwrap().clone();
        self.append(Event::UserDeleted(User {
            display_name: None,
            bio: None,
            deleted: true,
            ..user
        }))
        .await
    }

    pub(crate) async fn post(&self, author: UserId, text: &str) -> PostId {
        self.post_in_reply(author, text, None).await
    }

    pub(crate) async fn reply(&self, author: UserId, text: &str, to: PostId) -> PostId {
        let answered = self.posts.lock().unwrap().get(&to).unwrap().author;
        self.post_in_reply(
            author,
            text,
            Some(ReplyTo {
                post: to,
                author: answered,
            }),
        )
        .await
    }

    async fn post_in_reply(&self, author: UserId, text: &str, in_reply_to: Option<ReplyTo>) -> PostId {
        let text = PostText::parse(text).unwrap();
        let post = Post {
            id: PostId::new(self.clock.now()),
            author,
            content: Some(PostContent {
                entities: Entities::of(&text),
                text: text.into_string(),
                ..PostContent::default()
            }),
            in_reply_to,
            visibility: Visibility::Public,
            created_at: self.clock.now(),
            edited_at: None,
            quote_of: None,
            hidden: None,
            deleted: false,
        };
        self.posts.lock().unwrap().insert(post.id, post.clone());
        let id = post.id;
        self.append(Event::PostCreated(post)).await;
        id
    }

    pub(crate) async fn delete_post(&self, id: PostId) {
        let post = self.posts.lock().unwrap().get(&id).unwrap().clone();
        self.append(Event::PostDeleted(Post {
            content: None,
            deleted: true,
            ..post
        }))
        .await;
    }

    pub(crate) async fn follow(&self, follower: UserId, followee: UserId) -> RecordedEvent {
        self.append(Event::Followed(Follow {
            follower,
            followee,
            active: true,
            requested: false,
        }))
        .await
    }

    pub(crate) async fn unfollow(&self, follower: UserId, followee: UserId) -> RecordedEvent {
        self.append(Event::Unfollowed(Follow {
            follower,
            followee,
            active: false,
            requested: false,
        }))
        .await
    }

    pub(crate) async fn request(&self, follower: UserId, followee: UserId) -> RecordedEvent {
        self.append(Event::FollowRequested(Follow {
            follower,
            followee,
            active: false,
            requested: true,
        }))
        .await
    }

    pub(crate) async fn follow_tag(&self, user: UserId, tag: &str) -> RecordedEvent {
        self.append(Event::TagFollowed(TagFollow {
            user,
            tag: tag.to_owned(),
            active: true,
        }))
        .await
    }

    pub(crate) async fn filter(&self, owner: UserId, phrase: &str) -> RecordedEvent {
        self.append(Event::FilterCreated(Filter {
            id: FilterId::new(self.clock.now()),
            owner,
            content: Some(FilterContent {
                phrases: vec![phrase.to_owned()],
                whole_word: false,
                contexts: [FilterContext::Home].into(),
                action: FilterAction::Hide,
                expires_at: None,
            }),
            deleted: false,
        }))
        .await
    }

    /// A list with these members and a tag.
    pub(crate) async fn list(&self, owner: UserId, members: &[UserId]) -> ListId {
        let list = ListId::new(self.clock.now());
        self.append(Event::ListCreated(List {
            id: list,
            owner,
            title: Some("Friends".to_owned()),
            exclusive: false,
            deleted: false,
        }))
        .await;
        for &user in members {
            self.append(Event::ListMemberAdded(ListMember {
                list,
                owner,
                user,
                active: true,
            }))
            .await;
        }
        self.append(Event::ListTagAdded(ListTag {
            list,
            owner,
            tag: "Rust".to_owned(),
            active: true,
        }))
        .await;
        list
    }

    pub(crate) async fn protect(&self, user: UserId, protected: bool) -> RecordedEvent {
        let mut user = self.users.lock().unwrap().get(&user).unwrap().clone();
        user.protected = protected;
        self.users.lock().unwrap().insert(user.id, user.clone());
        self.append(match protected {
            true => Event::UserProtected(user),
            false => Event::UserUnprotected(user),
        })
        .await
    }

    /// `ends`: the versions of the follows by the blocker and by the blocked user.
    pub(crate) async fn block(&self, blocker: UserId, blocked: UserId, active: bool, ends: [i64; 2]) -> RecordedEvent {
        let block = Block {
            blocker,
            blocked,
            active,
            ends: EndedFollows {
                by_blocker: ends[0],
                by_blocked: ends[1],
            },
        };
        self.append(match active {
            true => Event::UserBlocked(block),
            false => Event::UserUnblocked(block),
        })
        .await
    }

    pub(crate) async fn mute(&self, muter: UserId, muted: UserId) {
        self.append(Event::UserMuted(Mute {
            muter,
            muted,
            active: true,
            until: None,
            notifications: false,
        }))
        .await;
    }

    /// The type of the last event of a follow, whoever has written it.
    pub(crate) async fn last_of_follow(&self, follower: UserId, followee: UserId) -> String {
        let stream = self.store.read_stream(&StreamId::follow(follower, followee)).await;
        stream.unwrap().pop().unwrap().event_type
    }

    pub(crate) async fn like(&self, user: UserId, post: PostId) {
        let post_author = self.posts.lock().unwrap().get(&post).unwrap().author;
        self.append(Event::PostLiked(Like {
            user,
            post,
            post_author,
            active: true,
        }))
        .await;
    }

    pub(crate) async fn repost(&self, user: UserId, post: PostId) {
        let post_author = self.posts.lock().unwrap().get(&post).unwrap().author;
        let created_at = self.clock.now();
        let repost = Repost {
            id: PostId::new(created_at),
            user,
            post,
            post_author,
            created_at,
            active: true,
        };
        self.append(Event::PostReposted(repost)).await;
    }
}

/// A projector in this process.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    shutdown: CancellationToken,
    task: Option<JoinHandle<Result<(), RunError>>>,
}

impl Running {
    /// An orderly stop, as by SIGTERM.
    pub(crate) async fn stop(mut self) {
        self.shutdown.cancel();
        let task = self.task.take().unwrap();
        tokio::time::timeout(DEADLINE, task)
            .await
            .expect("it ends in time")
            .unwrap()
            .unwrap();
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let response = reqwest::get(format!("http://{}{path}", self.address)).await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.cancel();
        if let Some(task) = self.task.take() {
            wait_in_drop(task);
        }
    }
}

/// A projector in a process of its own.
pub(crate) struct Process(Child);

impl Process {
    /// SIGKILL: nothing is finished, saved or given back.
    pub(crate) fn kill(mut self) {
        self.0.kill().expect("a signal");
        self.0.wait().expect("its end");
    }

    /// Sends SIGTERM, and returns the exit code.
    pub(crate) async fn terminate(mut self) -> Option<i32> {
        let sent = Command::new("kill")
            .arg(self.0.id().to_string())
            .status()
            .expect("a signal");
        assert!(sent.success());
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "the program does not end");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `MICROBLOG_TEST_LOG=1` shows the programs' logs, which help to explain a failed test.
fn log() -> Stdio {
    if std::env::var_os("MICROBLOG_TEST_LOG").is_some() {
        Stdio::inherit()
    } else {
        Stdio::null()
    }
}

/// Waits for a condition.
pub(crate) async fn eventually(what: &str, within: Duration, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + within;
    while !holds().await {
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
