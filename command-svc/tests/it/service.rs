//! A command-svc for one test, and a client for it.

use std::sync::Arc;
use std::time::Duration;

use command_svc::{App, Config};
use event_log::mongo::MongoUri;
use local_mongodb::TestDatabase;
use model::clock::OffsetClock;
use reqwest::header::{HeaderMap, HeaderName};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use service::auth::generate_signing_key_pem;
use service::config::{Pem, Secret};
use tokio_util::sync::CancellationToken;

use crate::proxy::Proxy;

pub(crate) const PASSWORD: &str = "correct horse battery";

pub(crate) struct Service {
    pub(crate) url: String,
    pub(crate) config: Config,
    pub(crate) clock: Arc<OffsetClock>,
    client: reqwest::Client,
    stop: CancellationToken,
    /// Dropped last, so that the service writes nothing into databases that are gone.
    pub(crate) database: Option<TestDatabase>,
}

/// The configuration of the tests: no limits, its own keys, and a clock that a test can move.
pub(crate) fn config(uri: &str, events: &str) -> Config {
    let mut config = Config::at(MongoUri::parse(uri).unwrap());
    config.mongodb.events_database = events.to_owned();
    config.auth.signing_key = Some(Pem::parse(&generate_signing_key_pem()).unwrap());
    config.auth.refresh_secret = Some(Secret::new("a secret of the tests, long enough"));
    config.command.listen = ([127, 0, 0, 1], 0).into();
    config.http.workers = std::num::NonZeroU32::new(1);
    config.rate_limit.enabled = false;
    config.shutdown.drain_delay = Duration::ZERO;
    config.shutdown.grace = Duration::from_secs(1);
    config.clock.max_skew = Duration::from_secs(24 * 60 * 60);
    config
}

impl Service {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(adjust: impl FnOnce(&mut Config)) -> Self {
        let database = TestDatabase::new().await;
        let mut config = config(database.uri(), database.events_database());
        adjust(&mut config);
        let mut service = Self::start_on(config).await;
        service.database = Some(database);
        service
    }

    /// Starts a service with a proxy in front of its database. The proxy can lose replies.
    pub(crate) async fn start_behind_proxy() -> (Self, Proxy) {
        let database = TestDatabase::new().await;
        let proxy = Proxy::start(database.uri()).await;
        let mut config = config(database.uri(), database.events_database());
        config.mongodb.uri = MongoUri::parse(&proxy.uri()).unwrap();
        // The tests check that commands end well, not how soon they end on a busy machine.
        config.command.deadline = Duration::from_secs(30);
        let mut service = Self::start_on(config).await;
        service.database = Some(database);
        (service, proxy)
    }

    pub(crate) async fn start_on(config: Config) -> Self {
        event_log::crypto::install_provider();
        let clock = OffsetClock::new();
        let app = App::build(config.clone(), clock.clone()).await.unwrap();
        let url = format!("http://{}", app.local_addr());
        let stop = CancellationToken::new();
        tokio::spawn(app.run_until_stopped(stop.clone()));
        Self {
            url,
            config,
            clock,
            client: reqwest::Client::new(),
            stop,
            database: None,
        }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    pub(crate) async fn post(&self, path: &str, token: &str, body: Value) -> Answer {
        send(self.request(Method::POST, path).bearer_auth(token).json(&body)).await
    }

    pub(crate) async fn patch(&self, path: &str, token: &str, body: Value) -> Answer {
        send(self.request(Method::PATCH, path).bearer_auth(token).json(&body)).await
    }

    pub(crate) async fn put(&self, path: &str, token: &str) -> Answer {
        send(self.request(Method::PUT, path).bearer_auth(token)).await
    }

    pub(crate) async fn delete(&self, path: &str, token: &str) -> Answer {
        send(self.request(Method::DELETE, path).bearer_auth(token)).await
    }

    /// Deletes the account of a user who is logged in with [`PASSWORD`].
    pub(crate) async fn delete_user(&self, token: &str) -> Answer {
        let request = self.request(Method::DELETE, "/v1/users/me").bearer_auth(token);
        send(request.json(&json!({ "current_password": PASSWORD }))).await
    }

    pub(crate) async fn refresh(&self, token: &str) -> Answer {
        self.post_anonymously("/v1/sessions/refresh", json!({ "refresh_token": token }))
            .await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        send(self.request(Method::GET, path)).await
    }

    pub(crate) async fn post_anonymously(&self, path: &str, body: Value) -> Answer {
        send(self.request(Method::POST, path).json(&body)).await
    }

    pub(crate) async fn register(&self, handle: &str) -> Answer {
        let email = format!("{handle}@example.org");
        self.post_anonymously(
            "/v1/users",
            json!({ "handle": handle, "email": email, "password": PASSWORD }),
        )
        .await
    }

    pub(crate) async fn log_in(&self, handle: &str) -> Answer {
        self.post_anonymously("/v1/sessions", json!({ "handle": handle, "password": PASSWORD }))
            .await
    }

    /// Registers a user and logs in.
    pub(crate) async fn user(&self, handle: &str) -> User {
        let registered = self.register(handle).await.expect(StatusCode::CREATED);
        self.session(&registered.text("id"), handle).await
    }

    /// Begins one more session of a registered user.
    pub(crate) async fn session(&self, id: &str, handle: &str) -> User {
        let session = self.log_in(handle).await.expect(StatusCode::CREATED);
        User {
            id: id.to_owned(),
            token: session.text("access_token"),
            refresh_token: session.text("refresh_token"),
        }
    }

    /// Creates a post and returns its id.
    pub(crate) async fn write(&self, author: &User, text: &str) -> String {
        self.post("/v1/posts", &author.token, json!({ "text": text }))
            .await
            .expect(StatusCode::CREATED)
            .text("id")
    }

    /// Creates a post that only followers see, and returns its id.
    pub(crate) async fn write_to_followers(&self, author: &User, text: &str) -> String {
        let body = json!({ "text": text, "visibility": "followers" });
        self.post("/v1/posts", &author.token, body)
            .await
            .expect(StatusCode::CREATED)
            .text("id")
    }

    pub(crate) async fn follow(&self, follower: &User, followee: &User) {
        self.put(&format!("/v1/users/{}/follow", followee.id), &follower.token)
            .await
            .expect(StatusCode::OK);
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[derive(Debug, Clone)]
pub(crate) struct User {
    pub(crate) id: String,
    pub(crate) token: String,
    pub(crate) refresh_token: String,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// Null if there is no body.
    pub(crate) body: Value,
}

pub(crate) async fn send(request: RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let body = response.bytes().await.unwrap();
    let body = if body.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&body).unwrap()
    };
    if status.is_client_error() || status.is_server_error() {
        assert_eq!(headers["content-type"], "application/problem+json", "{body}");
        assert_eq!(body["status"], status.as_u16(), "{body}");
        assert!(
            body["type"]
                .as_str()
                .is_some_and(|kind| kind.starts_with("urn:microblog:problem:")),
            "{body}"
        );
    }
    Answer { status, headers, body }
}

impl Answer {
    #[track_caller]
    pub(crate) fn expect(self, status: StatusCode) -> Self {
        assert_eq!(self.status, status, "{}", self.body);
        self
    }

    /// Expects a refusal with this status that names this field.
    #[track_caller]
    pub(crate) fn expect_field(self, status: u16, field: &str) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        let named = self.body["errors"]
            .as_array()
            .is_some_and(|errors| errors.iter().any(|e| e["field"] == field));
        assert!(named, "'{field}' is not named: {}", self.body);
        self
    }

    #[track_caller]
    pub(crate) fn text(&self, field: &str) -> String {
        self.body[field]
            .as_str()
            .unwrap_or_else(|| panic!("no text '{field}' in {}", self.body))
            .to_owned()
    }

    #[track_caller]
    pub(crate) fn header(&self, name: &'static str) -> &str {
        let name = HeaderName::from_static(name);
        self.headers
            .get(&name)
            .unwrap_or_else(|| panic!("no {name}: {:?}", self.headers))
            .to_str()
            .unwrap()
    }

    pub(crate) fn problem(&self) -> &str {
        self.body["type"]
            .as_str()
            .unwrap_or_default()
            .trim_start_matches("urn:microblog:problem:")
    }
}
