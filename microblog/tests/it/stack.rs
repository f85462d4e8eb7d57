//! All programs in this process, each on a free port, over databases that no other test has; and a client for each person.

use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use local_mongodb::TestDatabase;
use microblog::verify::{self, Report};
use mongodb::bson::{Document, doc};
use reqwest::{Method, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use shared::api::{Page, Post, Relationship, User};
use shared::auth::generate_signing_key_pem;
use shared::clock::SystemClock;
use shared::config::{self, Environment};
use shared::consistency::{ConsistencyToken, HEADER};
use shared::event_store::{EventStore, Retries};
use shared::ids::{Partition, PostId, UserId};
use shared::mongo::Databases;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

/// On a machine that does other things too, everything takes its time; more than this is a hang.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// The programs and the database. They end when this is dropped.
#[derive(Debug)]
pub(crate) struct Stack {
    pub(crate) environment: Environment,
    pub(crate) command: Program,
    /// More than one where a test asked for it.
    pub(crate) queries: Vec<Program>,
    pub(crate) projectors: Vec<Program>,
    http: reqwest::Client,
    /// All that anybody was answered.
    seen: Mutex<Option<ConsistencyToken>>,
    /// Last, so that it is dropped after those who use it.
    #[expect(dead_code, reason = "dropping it removes the databases")]
    database: TestDatabase,
}

/// A running program.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) url: String,
    /// Ends it when this is dropped.
    _stop: DropGuard,
}

/// Somebody who is registered and logged in.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) id: UserId,
    pub(crate) handle: String,
    pub(crate) token: String,
}

impl Stack {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// One of each program, configured otherwise than by default in these keys.
    pub(crate) async fn start_with(overrides: &[(&str, &str)]) -> Self {
        let mut stack = Self::start_without_projector(overrides).await;
        stack.add_projector().await;
        stack.wait_until_ready().await;
        stack
    }

    pub(crate) async fn start_without_projector(overrides: &[(&str, &str)]) -> Self {
        shared::crypto::install_provider();
        let database = TestDatabase::new().await;
        let mut environment = Environment::default();
        for (key, value) in [
            ("mongodb.uri", database.uri()),
            ("mongodb.events_database", database.events_database()),
            ("mongodb.views_database", database.views_database()),
            ("auth.signing_key", &generate_signing_key_pem()),
            ("auth.refresh_secret", "a secret for the tests of the whole"),
            ("command.listen", "127.0.0.1:0"),
            ("query.listen", "127.0.0.1:0"),
            ("projector.listen", "127.0.0.1:0"),
            ("http.workers", "1"),
            ("rate_limit.enabled", "false"),
            ("shutdown.drain_delay", "0s"),
            // Two processors may have a dozen programs to run.
            ("command.deadline", "30s"),
            ("command.max_queueing", "30s"),
            ("mongodb.operation_timeout", "25s"),
            ("mongodb.server_selection_timeout", "20s"),
            ("mongodb.connect_timeout", "20s"),
            ("query.request_timeout", "10s"),
            ("query.claim_for", "60s"),
            ("clock.max_age", "60s"),
        ] {
            environment.set(key, value);
        }
        for (key, value) in overrides {
            environment.set(key, *value);
        }
        let clock = SystemClock::shared();
        let config = config::load(None, &environment).expect("the configuration of command-svc");
        let command = command_svc::App::build(config, clock)
            .await
            .expect("command-svc is built");
        let (address, stop) = (command.local_addr(), CancellationToken::new());
        let command = start(address, stop.clone(), command.run_until_stopped(stop));
        let mut stack = Self {
            environment,
            command,
            queries: Vec::new(),
            projectors: Vec::new(),
            http: reqwest::Client::builder().no_proxy().build().expect("a client"),
            seen: Mutex::new(None),
            database,
        };
        stack.add_query().await;
        stack
    }

    pub(crate) async fn add_query(&mut self) {
        let config = config::load(None, &self.environment).expect("the configuration of query-svc");
        let app = query_svc::App::build(config, SystemClock::shared())
            .await
            .expect("query-svc is built");
        let (address, stop) = (app.local_addr(), CancellationToken::new());
        self.queries
            .push(start(address, stop.clone(), app.run_until_stopped(stop)));
    }

    pub(crate) async fn add_projector(&mut self) {
        let config = config::load(None, &self.environment).expect("the configuration of the projector");
        let app = projector::App::build(config, SystemClock::shared())
            .await
            .expect("the projector is built");
        let (address, stop) = (app.local_addr(), CancellationToken::new());
        self.projectors
            .push(start(address, stop.clone(), app.run_until_stopped(stop)));
    }

    /// Until all programs say that they are.
    pub(crate) async fn wait_until_ready(&self) {
        let programs = [&self.command].into_iter().chain(&self.queries).chain(&self.projectors);
        for url in programs.map(|program| format!("{}/readyz", program.url)) {
            eventually(&format!("{url} is ready"), || async {
                let answer = self.http.get(&url).send().await.ok()?;
                answer.status().is_success().then_some(())
            })
            .await;
        }
    }

    /// A projector in a process of its own, which can be killed. Everything else is configured as here.
    pub(crate) fn projector_process(&self) -> std::process::Child {
        self.microblog()
            .arg("projector")
            .stdout(Stdio::null())
            .spawn()
            .expect("the program is there")
    }

    /// The same, which looks more often whether a rebuild is to be done, and does it in small steps.
    pub(crate) fn quick_projector_process(&self) -> std::process::Child {
        let mut command = self.microblog();
        for (key, value) in [
            ("rebuild.look_every", "50ms"),
            ("rebuild.batch", "20"),
            ("rebuild.reader_grace", "500ms"),
            ("projector.look_every", "100ms"),
        ] {
            command.env(config::variable(key), value);
        }
        command
            .arg("projector")
            .stdout(Stdio::null())
            .spawn()
            .expect("the program is there")
    }

    /// The program `microblog`, configured as the services here are.
    pub(crate) fn microblog(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_microblog"));
        command.env_clear();
        for name in ["PATH", "HOME", "LLVM_PROFILE_FILE"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        for key in [
            "mongodb.uri",
            "mongodb.events_database",
            "mongodb.views_database",
            "auth.signing_key",
        ] {
            let name = config::variable(key);
            command.env(&name, self.environment.get(&name).expect("it was set above"));
        }
        command.env(config::variable("projector.listen"), "127.0.0.1:0");
        command.env(config::variable("http.workers"), "1");
        command.env(config::variable("telemetry.filter"), "error");
        command
            .env("MICROBLOG_COMMAND_URL", &self.command.url)
            .env("MICROBLOG_QUERY_URL", &self.queries[0].url);
        command
    }

    pub(crate) async fn databases(&self) -> Databases {
        #[derive(serde::Deserialize)]
        struct Section {
            mongodb: config::MongoDb,
        }
        let section: Section = config::load(None, &self.environment).expect("the section is there");
        Databases::connect(&section.mongodb, "tests")
            .await
            .expect("the database is there")
    }

    /// Compares what every query-svc serves with the events.
    pub(crate) async fn verify(&self) -> Vec<Report> {
        #[derive(serde::Deserialize)]
        struct Section {
            auth: config::Auth,
        }
        let section: Section = config::load(None, &self.environment).expect("the section is there");
        let databases = self.databases().await;
        let mut reports = Vec::new();
        for query in &self.queries {
            let url = Url::parse(&query.url).expect("a URL");
            // Small pages, so that there are many borders between them.
            let options = verify::Options {
                page_size: 7,
                ..verify::Options::default()
            };
            reports.push(
                verify::verify(&databases, &section.auth, &url, &options)
                    .await
                    .expect("verify runs"),
            );
        }
        databases.close().await;
        reports
    }

    pub(crate) async fn assert_verified(&self) {
        for report in self.verify().await {
            assert!(report.differences.is_empty(), "{:#?}", report.differences);
            assert_eq!(
                (report.in_motion, report.waiting_letters, report.gave_up),
                (0, 0, false)
            );
            assert!(report.items > 0, "nothing was compared");
        }
    }

    /// Registers somebody and logs in.
    pub(crate) async fn person(&self, handle: &str) -> Person {
        let password = format!("the password of {handle}");
        let registration = json!({ "handle": handle, "email": format!("{handle}@example.org"), "password": password });
        let user: User = self.command(Method::POST, "/v1/users", None, Some(registration)).await;
        let login = json!({ "handle": handle, "password": password });
        let session: Value = self.command(Method::POST, "/v1/sessions", None, Some(login)).await;
        let token = session["access_token"].as_str().expect("a token").to_owned();
        Person {
            id: user.id,
            handle: handle.to_owned(),
            token,
        }
    }

    pub(crate) async fn people<const N: usize>(&self, handles: [&str; N]) -> [Person; N] {
        let people = futures_util::future::join_all(handles.map(|handle| self.person(handle))).await;
        people.try_into().expect("as many as were asked for")
    }

    /// `crowd0`, `crowd1` and so on.
    pub(crate) async fn crowd(&self, name: &str, size: usize) -> Vec<Person> {
        let people = (0..size).map(|number| async move { self.person(&format!("{name}{number}")).await });
        futures_util::future::join_all(people).await
    }

    pub(crate) async fn post(&self, author: &Person, text: &str) -> Post {
        self.command(Method::POST, "/v1/posts", Some(author), Some(json!({ "text": text })))
            .await
    }

    pub(crate) async fn edit(&self, author: &Person, post: PostId, text: &str) -> Post {
        let path = format!("/v1/posts/{post}");
        self.command(Method::PATCH, &path, Some(author), Some(json!({ "text": text })))
            .await
    }

    pub(crate) async fn delete(&self, author: &Person, post: PostId) {
        let answer = self
            .send_command(Method::DELETE, &format!("/v1/posts/{post}"), Some(author), None)
            .await;
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    }

    pub(crate) async fn delete_user(&self, user: &Person) {
        let answer = self
            .send_command(Method::DELETE, "/v1/users/me", Some(user), None)
            .await;
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    }

    pub(crate) async fn follow(&self, follower: &Person, followee: &Person) {
        let path = format!("/v1/users/{}/follow", followee.id);
        let stands: Relationship = self.command(Method::PUT, &path, Some(follower), None).await;
        assert!(stands.following);
    }

    pub(crate) async fn unfollow(&self, follower: &Person, followee: &Person) {
        let path = format!("/v1/users/{}/follow", followee.id);
        let stands: Relationship = self.command(Method::DELETE, &path, Some(follower), None).await;
        assert!(!stands.following);
    }

    pub(crate) async fn repost(&self, user: &Person, post: PostId) {
        let _: Value = self
            .command(Method::PUT, &format!("/v1/posts/{post}/repost"), Some(user), None)
            .await;
    }

    pub(crate) async fn unrepost(&self, user: &Person, post: PostId) {
        let _: Value = self
            .command(Method::DELETE, &format!("/v1/posts/{post}/repost"), Some(user), None)
            .await;
    }

    pub(crate) async fn like(&self, user: &Person, post: PostId) {
        let _: Value = self
            .command(Method::PUT, &format!("/v1/posts/{post}/like"), Some(user), None)
            .await;
    }

    /// Sends a command that must succeed, and answers its body.
    pub(crate) async fn command<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        actor: Option<&Person>,
        body: Option<Value>,
    ) -> T {
        let answer = self.send_command(method.clone(), path, actor, body).await;
        let status = answer.status();
        let text = answer.text().await.expect("a body");
        assert!(status.is_success(), "{method} {path} was answered {status}: {text}");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{method} {path}: {error} in {text}"))
    }

    async fn send_command(
        &self,
        method: Method,
        path: &str,
        actor: Option<&Person>,
        body: Option<Value>,
    ) -> reqwest::Response {
        let key = Uuid::new_v4().to_string();
        // As any client would: a machine with more programs than processors is now and then too slow. Each of these
        // commands may be given twice.
        let answer = eventually(&format!("{path} is possible"), || async {
            let mut request = self.http.request(method.clone(), format!("{}{path}", self.command.url));
            if let Some(actor) = actor {
                request = request.bearer_auth(&actor.token);
                if method == Method::POST {
                    request = request.header("idempotency-key", &key);
                }
            }
            if let Some(body) = &body {
                request = request.json(body);
            }
            let answer = request.send().await.expect("command-svc answers");
            (answer.status() != StatusCode::SERVICE_UNAVAILABLE).then_some(answer)
        })
        .await;
        if let Some(token) = answer.headers().get(HEADER) {
            let token: ConsistencyToken = token.to_str().expect("text").parse().expect("a token");
            let mut seen = self.seen.lock().expect("nobody panicked");
            match &mut *seen {
                Some(seen) => seen.merge(&token),
                none => *none = Some(token),
            }
        }
        answer
    }

    /// From here on reads come after everything that was written so far, by whomever.
    pub(crate) async fn see_everything(&self) {
        let databases = self.databases().await;
        let store = EventStore::open(databases.events.clone(), SystemClock::shared(), Retries::default());
        let store = store.await.expect("the store is there");
        let position = store.mark_all().await.expect("a mark can be written");
        let mut token = ConsistencyToken::new(store.id());
        Partition::all().for_each(|partition| token.advance(partition, position));
        *self.seen.lock().expect("nobody panicked") = Some(token);
        databases.close().await;
    }

    /// What has been written so far, by anybody.
    pub(crate) fn seen(&self) -> Option<String> {
        self.seen
            .lock()
            .expect("nobody panicked")
            .as_ref()
            .map(ToString::to_string)
    }

    /// Reads from the first query-svc, after all that was written so far.
    pub(crate) async fn read<T: DeserializeOwned>(&self, path: &str, viewer: Option<&Person>) -> T {
        let (status, text) = self.try_read(path, viewer).await;
        assert!(status.is_success(), "GET {path} was answered {status}: {text}");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("GET {path}: {error} in {text}"))
    }

    pub(crate) async fn try_read(&self, path: &str, viewer: Option<&Person>) -> (StatusCode, String) {
        self.try_read_from(&self.queries[0].url, path, viewer).await
    }

    pub(crate) async fn try_read_from(&self, url: &str, path: &str, viewer: Option<&Person>) -> (StatusCode, String) {
        let seen = self.seen();
        eventually(&format!("{path} is served"), || async {
            let mut request = self.http.get(format!("{url}{path}"));
            if let Some(viewer) = viewer {
                request = request.bearer_auth(&viewer.token);
            }
            if let Some(seen) = &seen {
                request = request.header(HEADER, seen);
            }
            let answer = request.send().await.expect("query-svc answers");
            let status = answer.status();
            // The views are not there yet.
            if status == StatusCode::SERVICE_UNAVAILABLE {
                return None;
            }
            Some((status, answer.text().await.expect("a body")))
        })
        .await
    }

    pub(crate) async fn home(&self, viewer: &Person) -> Vec<Post> {
        self.list("/v1/timelines/home", Some(viewer), 100).await
    }

    /// That a list of posts is exactly this. Where it is not, says what the databases know about what is missing.
    pub(crate) async fn assert_ids(&self, what: &str, served: &[PostId], expected: &[PostId]) {
        if served == expected {
            return;
        }
        let missing: Vec<PostId> = expected.iter().copied().filter(|id| !served.contains(id)).collect();
        let unexpected: Vec<PostId> = served.iter().copied().filter(|id| !expected.contains(id)).collect();
        let mut known = Vec::new();
        let databases = self.databases().await;
        for &id in missing.iter().take(3) {
            let stream = doc! { "stream": format!("post-{id}") };
            known.push(format!(
                "{:?}",
                databases.events.collection::<Document>("events").find_one(stream).await
            ));
            for generation in 1..=2 {
                let posts = databases.views.collection::<Document>(&format!("posts_g{generation}"));
                known.push(format!("{:?}", posts.find_one(doc! { "_id": id }).await));
            }
        }
        let letters = databases
            .views
            .collection::<Document>("dead_letters")
            .count_documents(doc! {})
            .await;
        panic!(
            "{what}: {} served, {} expected; missing {missing:?}, unexpected {unexpected:?}; dead letters {letters:?}; known of what is missing: {known:#?}",
            served.len(),
            expected.len(),
        );
    }

    pub(crate) async fn home_texts(&self, viewer: &Person) -> Vec<String> {
        self.home(viewer).await.into_iter().map(|post| post.text).collect()
    }

    pub(crate) async fn home_ids(&self, viewer: &Person) -> Vec<PostId> {
        self.home(viewer).await.into_iter().map(|post| post.id).collect()
    }

    /// A whole list, page by page.
    pub(crate) async fn list<T: DeserializeOwned>(&self, path: &str, viewer: Option<&Person>, limit: u32) -> Vec<T> {
        let mut items = Vec::new();
        let mut before = String::new();
        loop {
            let page: Page<T> = self.read(&format!("{path}?limit={limit}{before}"), viewer).await;
            assert!(page.items.len() <= limit as usize);
            items.extend(page.items);
            match page.next {
                Some(next) => before = format!("&before={next}"),
                None => return items,
            }
        }
    }
}

fn start<E: std::fmt::Debug>(
    address: std::net::SocketAddr,
    stop: CancellationToken,
    program: impl Future<Output = Result<(), E>> + Send + 'static,
) -> Program {
    tokio::spawn(async move { program.await.expect("the program ends without an error") });
    Program {
        url: format!("http://{address}"),
        _stop: stop.drop_guard(),
    }
}

/// Looks until there is something to see.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "it never came to pass that {what}");
        // Between two looks, so that looking does not take the time that it waits for.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
