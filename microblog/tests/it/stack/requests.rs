//! Requests of people to the services. Each command checks its status, and each read sees everything that was written before.

use commands::Roles;
use event_log::consistency::{ConsistencyToken, HEADER};
use event_log::event_store::{EventStore, Retries};
use model::api::{Page, Post, Relationship, User};
use model::clock::SystemClock;
use model::ids::{Partition, PostId, UserId};
use model::values::{Handle, Role};
use mongodb::bson::{Document, doc};
use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Stack, eventually};

/// A user who is registered and logged in.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) id: UserId,
    pub(crate) handle: String,
    pub(crate) token: String,
}

fn password(handle: &str) -> String {
    format!("the password of {handle}")
}

impl Stack {
    pub(crate) fn password_of(person: &Person) -> String {
        password(&person.handle)
    }

    /// Registers a user and logs in.
    pub(crate) async fn person(&self, handle: &str) -> Person {
        let password = password(handle);
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

    /// Gives a user a role, as `microblog role` does.
    pub(crate) async fn give(&self, person: &Person, role: Option<Role>) {
        let databases = self.databases().await;
        let roles = Roles::open(&databases.events, SystemClock::shared()).await;
        let roles = roles.expect("the store is there");
        let handle = Handle::parse(&person.handle).expect("a handle");
        assert!(roles.set(&handle, role).await.expect("the role is written"));
        databases.close().await;
        self.see_everything().await;
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
        let current = json!({ "current_password": password(&user.handle) });
        let answer = self
            .send_command(Method::DELETE, "/v1/users/me", Some(user), Some(current))
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

    /// Sends a command that must succeed, and returns the body of its answer.
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

    pub(crate) async fn send_command(
        &self,
        method: Method,
        path: &str,
        actor: Option<&Person>,
        body: Option<Value>,
    ) -> reqwest::Response {
        let key = Uuid::new_v4().to_string();
        // Repeats the command like any client, because a machine with more programs than processors is sometimes too slow. Each of these
        // commands is safe to send twice.
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

    /// From here on, reads see everything that was written so far, by any program.
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

    /// The token of everything that was written so far.
    pub(crate) fn seen(&self) -> Option<String> {
        self.seen
            .lock()
            .expect("nobody panicked")
            .as_ref()
            .map(ToString::to_string)
    }

    /// Reads from the first query-svc, and sees everything that was written so far.
    pub(crate) async fn read<T: DeserializeOwned>(&self, path: &str, viewer: Option<&Person>) -> T {
        let (status, text) = self.try_read(path, viewer).await;
        assert!(status.is_success(), "GET {path} was answered {status}: {text}");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("GET {path}: {error} in {text}"))
    }

    /// Reads what the views hold now.
    pub(crate) async fn read_without_token(&self, path: &str, viewer: Option<&Person>) -> (StatusCode, String) {
        let mut request = self.http.get(format!("{}{path}", self.queries[0].url));
        if let Some(viewer) = viewer {
            request = request.bearer_auth(&viewer.token);
        }
        let answer = request.send().await.expect("query-svc answers");
        (answer.status(), answer.text().await.expect("a body"))
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
            // The views have not caught up yet.
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

    /// Checks that a list has exactly these posts. If not, the failure shows what the databases know about the missing ones.
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

    /// Reads a whole list, page by page.
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
