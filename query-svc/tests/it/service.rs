//! A running query-svc, on views that a test fills from events.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::{Document, doc};
use event_log::consistency::{ConsistencyToken, StoreId};
use event_log::position::Position;
use event_log::subscription::leases::{LEASES, Leases};
use event_log::subscription::{Delivery, Handler};
use local_mongodb::TestDatabase;
use model::clock::{Clock, SharedClock};
use model::ids::{Partition, PostId, SessionId, UserId};
use model::values::Handle;
use mongodb::Database;
use query_svc::{App, Config};
use rand::seq::SliceRandom;
use reqwest::StatusCode;
use serde_json::Value;
use service::auth::{
    CREDENTIALS, Claims, SCOPE_USER, SCOPE_VERIFY, SESSIONS, Signer, Subject, generate_signing_key_pem,
};
use service::config::{self, Environment};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::event_reader::EventReader;
use crate::fixture::{Projected, StandingClock, Store, clock};

/// How long a test waits for anything.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);

/// A running query-svc.
pub(crate) struct Instance {
    pub(crate) url: String,
    shutdown: CancellationToken,
    running: JoinHandle<()>,
}

impl Instance {
    pub(crate) async fn start(environment: &Environment, clock: SharedClock) -> Self {
        let config: Config = config::load(None, environment).unwrap();
        let app = App::build(config, clock).await.unwrap();
        let url = format!("http://{}", app.local_addr());
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        let running = tokio::spawn(async move { app.run_until_stopped(stop).await.unwrap() });
        Self { url, shutdown, running }
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.running.await.unwrap();
    }
}

/// The sender of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Caller {
    Nobody,
    User(UserId),
    /// `microblog verify`, in the name of a user.
    Verifier(UserId),
}

/// The parts of a response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The ids of a list's items.
    pub(crate) fn ids(&self) -> Vec<String> {
        assert_eq!(self.status, 200, "{}", self.body);
        self.body["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["id"].as_str().unwrap().to_owned())
            .collect()
    }

    /// The fields that a refusal names.
    pub(crate) fn fields(&self) -> Vec<&str> {
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{}",
            self.body
        );
        let errors = self.body["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
        errors.iter().map(|error| error["field"].as_str().unwrap()).collect()
    }
}

/// One query-svc, its database, and the write side of a test.
pub(crate) struct Service {
    pub(crate) clock: Arc<StandingClock>,
    pub(crate) store: Store,
    pub(crate) projected: Projected,
    /// The database of the views.
    pub(crate) database: Database,
    pub(crate) events: Database,
    pub(crate) environment: Environment,
    pub(crate) url: String,
    store_id: StoreId,
    projected_to: usize,
    position: Position,
    signer: Signer,
    http: reqwest::Client,
    instance: Option<Instance>,
    _test_database: Option<TestDatabase>,
}

impl Service {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts it with further settings, such as `("timelines.wake_margin", "5s")`.
    pub(crate) async fn start_with(settings: &[(&str, &str)]) -> Self {
        let service = Self::start_unready(settings).await;
        service.wait_until_ready(&service.url).await;
        service
    }

    /// Starts it without waiting until it is ready.
    pub(crate) async fn start_unready(settings: &[(&str, &str)]) -> Self {
        event_log::crypto::install_provider();
        let database = TestDatabase::new().await;
        let names = (
            database.events_database().to_owned(),
            database.views_database().to_owned(),
        );
        let uri = database.uri().to_owned();
        Self::start_in(&uri, names, Some(database), settings).await
    }

    /// Starts it with a database server of the test's own.
    pub(crate) async fn start_on(uri: &str, settings: &[(&str, &str)]) -> Self {
        event_log::crypto::install_provider();
        let service = Self::start_in(uri, ("events".to_owned(), "views".to_owned()), None, settings).await;
        service.wait_until_ready(&service.url).await;
        service
    }

    async fn start_in(
        uri: &str,
        (events, views): (String, String),
        test_database: Option<TestDatabase>,
        settings: &[(&str, &str)],
    ) -> Self {
        let client = mongodb::Client::with_uri_str(uri).await.unwrap();
        let database = client.database(&views);
        let key = generate_signing_key_pem();
        let mut environment = Environment::default();
        let own = [
            ("mongodb.uri", uri),
            ("mongodb.events_database", &events),
            ("mongodb.views_database", &views),
            ("query.listen", "127.0.0.1:0"),
            ("http.workers", "1"),
            ("rate_limit.enabled", "false"),
            ("shutdown.drain_delay", "0s"),
            // Streams end over most of this time.
            ("shutdown.grace", "1s"),
            ("timelines.note_visit_every", "60s"),
            // The test clock is in another year.
            ("clock.max_skew", "3650d"),
            ("auth.signing_key", &key),
        ];
        for (name, value) in own.iter().chain(settings) {
            environment.set(name, *value);
        }
        let clock = clock();
        let projected = Projected::new(&database, 1, clock.clone()).await;
        let store_id = StoreId(Uuid::new_v4());
        let stores = client.database(&events).collection::<Document>("store");
        stores
            .insert_one(doc! { "_id": "store", "uuid": bson::Uuid::from(store_id.0) })
            .await
            .unwrap();
        let position = Position::from(bson::Timestamp {
            time: seconds(&clock),
            increment: 1,
        });
        Leases::new(database.clone(), "views-g1")
            .ensure(position, views::SHAPE)
            .await
            .unwrap();

        let instance = Instance::start(&environment, clock.clone()).await;
        let auth = config::Auth {
            signing_key: Some(config::Pem::parse(&key).unwrap()),
            ..config::Auth::default()
        };
        Self {
            store: Store::new(clock.clone()),
            signer: Signer::from_config(&auth, clock.clone()).unwrap(),
            clock,
            projected,
            database,
            events: client.database(&events),
            environment,
            url: instance.url.clone(),
            store_id,
            projected_to: 0,
            position,
            http: reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build().unwrap(),
            instance: Some(instance),
            _test_database: test_database,
        }
    }

    pub(crate) async fn wait_until_ready(&self, url: &str) {
        eventually("ready", async || {
            self.fetch(&format!("{url}/readyz"), Caller::Nobody, None).await.status == 200
        })
        .await;
    }

    /// Applies all new events to the views, as the projector would, and writes checkpoints. From now on, requests wait for them.
    pub(crate) async fn settle(&mut self) {
        self.project().await;
        self.checkpoint().await;
    }

    /// Applies all new events to the views, without a checkpoint.
    pub(crate) async fn project(&mut self) {
        let mut new = self.store.log[self.projected_to..].to_vec();
        let position = self.next_position();
        for delivery in &mut new {
            delivery.position = Some(position);
        }
        self.projected_to = self.store.log.len();
        // Neighbouring events of one audience go in one batch, as in a partition task.
        for batch in new.chunk_by(|a, b| a.event.audience() == b.event.audience()) {
            Handler::handle(&self.projected.projection, batch).await.unwrap();
        }
    }

    /// The same, audience by audience in any order. A scan knows no positions.
    pub(crate) async fn project_in_any_order(&mut self, random: &mut impl rand::Rng, scan: bool) {
        let position = (!scan).then(|| self.next_position());
        let mut by_audience: BTreeMap<UserId, Vec<Delivery>> = BTreeMap::new();
        for delivery in &self.store.log[self.projected_to..] {
            let delivery = Delivery {
                position,
                ..delivery.clone()
            };
            by_audience.entry(delivery.event.audience()).or_default().push(delivery);
        }
        self.projected_to = self.store.log.len();
        let mut batches: Vec<Vec<Delivery>> = by_audience.into_values().collect();
        batches.shuffle(random);
        for batch in batches {
            Handler::handle(&self.projected.projection, &batch).await.unwrap();
        }
    }

    /// Writes the checkpoints of some partitions. Everything up to now must be in the views.
    pub(crate) async fn checkpoint_some(&mut self, random: &mut impl rand::Rng) {
        self.project_in_any_order(random, false).await;
        self.position = self.next_position();
        let some: Vec<i32> = (0..64).filter(|_| random.random_bool(0.5)).collect();
        let leases = self.database.collection::<Document>(LEASES);
        let update = doc! { "$max": { "position": self.position } };
        leases
            .update_many(doc! { "partition": { "$in": some } }, update)
            .await
            .unwrap();
    }

    /// Ends the process, and starts another one at another address.
    pub(crate) async fn start_again(&mut self) {
        if let Some(instance) = self.instance.take() {
            instance.stop().await;
        }
        let instance = Instance::start(&self.environment, self.clock.clone()).await;
        self.url.clone_from(&instance.url);
        self.instance = Some(instance);
        self.wait_until_ready(&self.url).await;
    }

    /// Writes checkpoints that say that everything up to now is in the views.
    pub(crate) async fn checkpoint(&mut self) {
        self.position = self.next_position();
        let all = doc! { "subscription": format!("views-g{}", self.projected.views.generation()) };
        let update = doc! { "$max": { "position": self.position } };
        let updated = self
            .database
            .collection::<Document>(LEASES)
            .update_many(all, update)
            .await
            .unwrap();
        assert_eq!(updated.matched_count, 64);
    }

    /// A position that no checkpoint has reached yet.
    pub(crate) fn next_position(&self) -> Position {
        let increment = self.position.to_timestamp().increment + 1;
        Position::from(bson::Timestamp {
            time: seconds(&self.clock),
            increment,
        })
    }

    /// The token that a command would return.
    pub(crate) fn token(&self, position: Position) -> ConsistencyToken {
        let mut token = ConsistencyToken::new(self.store_id);
        for partition in Partition::all() {
            token.advance(partition, position);
        }
        token
    }

    /// Sends a request that waits for the last checkpoint, so that it sees what was settled.
    pub(crate) async fn get(&self, path: &str, caller: Caller) -> Answer {
        self.get_with(path, caller, &self.token(self.position).to_string())
            .await
    }

    /// Sends a request with this `Consistency-Token`.
    pub(crate) async fn get_with(&self, path: &str, caller: Caller, token: &str) -> Answer {
        self.fetch(&format!("{}{path}", self.url), caller, Some(token)).await
    }

    /// Sends a request without a token, for the current state.
    pub(crate) async fn get_now(&self, path: &str, caller: Caller) -> Answer {
        self.fetch(&format!("{}{path}", self.url), caller, None).await
    }

    pub(crate) async fn fetch(&self, url: &str, caller: Caller, consistency: Option<&str>) -> Answer {
        let mut request = self.http.get(url);
        if let Some(token) = self.access_token(caller) {
            request = request.bearer_auth(token);
        }
        if let Some(token) = consistency {
            request = request.header("Consistency-Token", token);
        }
        answer(request).await
    }

    /// Opens a stream, as a browser does that comes back with the id of the last event. The caller has a session that lives.
    pub(crate) async fn stream(&self, path: &str, caller: Caller, last: Option<&str>) -> Result<EventReader, Answer> {
        let mut request = self.http.get(format!("{}{path}", self.url));
        if let Caller::User(user) = caller {
            let session = self.begin_session(user).await;
            request = request.bearer_auth(self.token_of(user, SCOPE_USER, session));
        }
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        EventReader::open(request).await
    }

    /// The same with an access token.
    pub(crate) async fn stream_with(&self, path: &str, token: &str, last: Option<&str>) -> Result<EventReader, Answer> {
        let mut request = self.http.get(format!("{}{path}", self.url)).bearer_auth(token);
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        EventReader::open(request).await
    }

    /// Makes what says that a session lives.
    pub(crate) async fn begin_session(&self, user: UserId) -> SessionId {
        let session = SessionId::new(self.clock.now());
        let until = bson::DateTime::from_chrono(self.clock.now() + Duration::from_secs(3_600));
        let credentials = self.events.collection::<Document>(CREDENTIALS);
        let epoch = doc! { "$setOnInsert": { "epoch": 0_i64 } };
        credentials
            .update_one(doc! { "_id": user }, epoch)
            .upsert(true)
            .await
            .unwrap();
        let document = doc! { "_id": session, "user": user, "epoch": 0_i64, "expires_at": until };
        self.events
            .collection::<Document>(SESSIONS)
            .insert_one(document)
            .await
            .unwrap();
        session
    }

    pub(crate) fn token_of(&self, user: UserId, scope: &'static str, session: SessionId) -> String {
        let subject = Subject {
            user,
            handle: Handle::parse("somebody").unwrap(),
            session,
            scope,
        };
        self.signer.issue(&subject).unwrap().token
    }

    /// What is in an access token of this session.
    pub(crate) fn claims(&self, user: UserId, session: SessionId) -> Claims {
        let now = self.clock.now().timestamp();
        Claims {
            iss: String::new(),
            aud: String::new(),
            sub: user,
            handle: Handle::parse("somebody").unwrap(),
            scope: SCOPE_USER.to_owned(),
            sid: session,
            jti: Uuid::new_v4(),
            iat: now,
            nbf: now,
            exp: now + 900,
        }
    }

    /// Another reader, who sends the same request a few times while the test continues.
    pub(crate) fn reader(&self, path: &str, caller: Caller) -> JoinHandle<()> {
        let mut request = self.http.get(format!("{}{path}", self.url));
        if let Some(token) = self.access_token(caller) {
            request = request.bearer_auth(token);
        }
        tokio::spawn(async move {
            for _ in 0..10 {
                let response = request.try_clone().unwrap().send().await.unwrap();
                assert_eq!(response.status(), 200);
            }
        })
    }

    pub(crate) async fn send(&self, method: reqwest::Method, path: &str) -> Answer {
        answer(self.http.request(method, format!("{}{path}", self.url))).await
    }

    pub(crate) async fn get_with_access_token(&self, path: &str, token: &str) -> Answer {
        answer(self.http.get(format!("{}{path}", self.url)).bearer_auth(token)).await
    }

    pub(crate) fn access_token(&self, caller: Caller) -> Option<String> {
        let (user, scope) = match caller {
            Caller::Nobody => return None,
            Caller::User(user) => (user, SCOPE_USER),
            Caller::Verifier(user) => (user, SCOPE_VERIFY),
        };
        Some(self.token_of(user, scope, SessionId::new(self.clock.now())))
    }

    /// Reads all pages of a list from the newest item on. Fails if a page is short before the end.
    pub(crate) async fn walk(&self, path: &str, caller: Caller, limit: usize) -> Vec<String> {
        let separator = if path.contains('?') { '&' } else { '?' };
        let mut all = Vec::new();
        let mut url = format!("{path}{separator}limit={limit}");
        loop {
            let page = self.get(&url, caller).await;
            let ids = page.ids();
            let next = page.body["next"].as_str();
            assert!(
                next.is_none() || ids.len() == limit,
                "only the last page may be short: {}",
                page.body
            );
            all.extend(ids);
            let Some(next) = next else { return all };
            url = format!("{path}{separator}limit={limit}&before={next}");
        }
    }

    /// Reads a whole list from the oldest item on, page by page, as a client polls. Returns it with the newest first, as [`Service::walk`]
    /// does.
    ///
    /// Some time must have passed since the newest item. Otherwise the last pages would come again and again.
    pub(crate) async fn climb(&self, path: &str, caller: Caller, limit: usize) -> Vec<String> {
        let mut all = Vec::new();
        let mut cursor = "AAAAAAAAAAAAAAAAAAAAAA".to_owned();
        loop {
            let page = self.get(&format!("{path}?limit={limit}&after={cursor}"), caller).await;
            let ids = page.ids();
            if ids.is_empty() {
                all.reverse();
                return all;
            }
            all.extend(ids.into_iter().rev());
            page.body["prev"].as_str().unwrap().clone_into(&mut cursor);
        }
    }

    /// Advances the clock and the checkpoints of all partitions.
    pub(crate) async fn pass(&mut self, time: Duration) {
        self.clock.advance(time);
        self.settle().await;
    }

    pub(crate) async fn home(&self, owner: UserId, limit: usize) -> Vec<String> {
        self.walk("/v1/timelines/home", Caller::User(owner), limit).await
    }

    /// The value of a counter on `/metrics`, summed over its labels.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let text = self
            .http
            .get(format!("{}/metrics", self.url))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        let value = |line: &str| line.rsplit_once(' ').and_then(|(_, value)| value.parse::<f64>().ok());
        text.lines()
            .filter(|line| line.starts_with(name))
            .filter_map(value)
            .sum()
    }

    pub(crate) async fn stop(mut self) {
        if let Some(instance) = self.instance.take() {
            instance.stop().await;
        }
    }
}

async fn answer(request: reqwest::RequestBuilder) -> Answer {
    answered(request.send().await.unwrap()).await
}

pub(crate) async fn answered(response: reqwest::Response) -> Answer {
    let (status, headers) = (response.status(), response.headers().clone());
    let bytes = response.bytes().await.unwrap();
    let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    Answer { status, headers, body }
}

fn seconds(clock: &StandingClock) -> u32 {
    u32::try_from(clock.now().timestamp()).unwrap()
}

/// Waits until the condition holds.
pub(crate) async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < TIMEOUT, "not {what} within {TIMEOUT:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) fn texts<I: ToString>(ids: impl IntoIterator<Item = I>) -> Vec<String> {
    ids.into_iter().map(|id| id.to_string()).collect()
}

/// JSON for a snapshot. Ids and cursors get names in the order in which they appear.
pub(crate) fn named(value: &Value, known: &[(&str, String)]) -> Value {
    let mut names: BTreeMap<String, String> = known
        .iter()
        .map(|(name, id)| (id.clone(), format!("<{name}>")))
        .collect();
    rename(value, None, &mut names)
}

fn rename(value: &Value, key: Option<&str>, names: &mut BTreeMap<String, String>) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| (key.clone(), rename(value, Some(key), names)))
            .collect(),
        Value::Array(items) => items.iter().map(|item| rename(item, key, names)).collect(),
        Value::String(text) if matches!(key, Some("next" | "prev")) && text.len() >= 22 => {
            Value::String("<cursor>".to_owned())
        }
        Value::String(text) if text.parse::<PostId>().is_ok() => {
            let next = names.len() + 1;
            Value::String(
                names
                    .entry(text.clone())
                    .or_insert_with(|| format!("<id {next}>"))
                    .clone(),
            )
        }
        other => other.clone(),
    }
}
