//! What a subscription needs in a test: a database, a store, and a handler that records its events.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bson::doc;
use chrono::{DateTime, Utc};
use event_log::event_store::{EventStore, Retries};
use event_log::mongo::Databases;
use event_log::position::Position;
use event_log::subscription::leases::Leases;
use event_log::subscription::{
    Delivery, Handler, HandlerError, Subscription, SubscriptionMetrics, SubscriptionSettings,
};
use local_mongodb::{Server, TestDatabase};
use model::clock::{Clock, SharedClock, SystemClock};
use model::ids::{EventId, Partition, UserId};
use mongodb::{Client, Database};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::event_store::{append, followed, open};

pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Records its events, refuses those that a test names, and waits while its gate is shut.
#[derive(Debug)]
pub(crate) struct Recorder {
    pub(crate) handled: Mutex<Vec<EventId>>,
    pub(crate) refused: Mutex<HashSet<EventId>>,
    pub(crate) panics: Mutex<HashSet<EventId>>,
    pub(crate) refusals: Mutex<HashMap<EventId, u32>>,
    /// How many calls still fail as if the database were gone.
    pub(crate) outages: Mutex<u32>,
    pub(crate) shut_for: Mutex<Option<UserId>>,
    pub(crate) gate: Semaphore,
    pub(crate) progress: Notify,
    pub(crate) types: Option<&'static [&'static str]>,
}

impl Recorder {
    pub(crate) fn new() -> Arc<Self> {
        Self::of_types(None)
    }

    pub(crate) fn of_types(types: Option<&'static [&'static str]>) -> Arc<Self> {
        Arc::new(Self {
            types,
            handled: Mutex::default(),
            refused: Mutex::default(),
            panics: Mutex::default(),
            refusals: Mutex::default(),
            outages: Mutex::default(),
            shut_for: Mutex::default(),
            gate: Semaphore::new(0),
            progress: Notify::new(),
        })
    }

    pub(crate) fn handled(&self) -> Vec<EventId> {
        self.handled.lock().unwrap().clone()
    }

    pub(crate) async fn wait_for(&self, what: impl Fn(&[EventId]) -> bool) {
        let reached = async {
            loop {
                let progress = self.progress.notified();
                if what(&self.handled()) {
                    return;
                }
                progress.await;
            }
        };
        if tokio::time::timeout(DEADLINE, reached).await.is_err() {
            panic!("not reached in time; handled: {:?}", self.handled());
        }
    }

    pub(crate) async fn wait_for_all(&self, ids: &[EventId]) {
        self.wait_for(|handled| ids.iter().all(|id| handled.contains(id))).await;
    }
}

#[async_trait]
impl Handler for Recorder {
    async fn handle(&self, batch: &[Delivery]) -> Result<(), HandlerError> {
        {
            let mut outages = self.outages.lock().unwrap();
            if *outages > 0 {
                *outages -= 1;
                let gone = std::io::Error::other("the test cut the connection");
                return Err(mongodb::error::Error::from(gone).into());
            }
        }
        for delivery in batch {
            let panics = self.panics.lock().unwrap().contains(&delivery.recorded.id);
            assert!(!panics, "the test says so");
            if self.refused.lock().unwrap().contains(&delivery.recorded.id) {
                *self.refusals.lock().unwrap().entry(delivery.recorded.id).or_default() += 1;
                return Err(HandlerError::Refused("the test refuses it".to_owned()));
            }
        }
        let shut_for = *self.shut_for.lock().unwrap();
        if batch.iter().any(|delivery| Some(delivery.event.audience()) == shut_for) {
            self.gate.acquire().await.unwrap().forget();
        }
        self.handled
            .lock()
            .unwrap()
            .extend(batch.iter().map(|delivery| delivery.recorded.id));
        self.progress.notify_waiters();
        Ok(())
    }

    fn event_types(&self) -> Option<&'static [&'static str]> {
        self.types
    }
}

pub(crate) fn settings() -> SubscriptionSettings {
    SubscriptionSettings {
        lease_duration: Duration::from_millis(600),
        renew_every: Duration::from_millis(100),
        idle_checkpoint_every: Duration::from_millis(50),
        heartbeat_every: Duration::from_millis(200),
        backoff: Duration::from_millis(5),
        backoff_max: Duration::from_millis(50),
        ..SubscriptionSettings::default()
    }
}

pub(crate) struct World {
    /// Keeps the database.
    _database: Box<dyn std::any::Any + Send + Sync>,
    pub(crate) uri: String,
    pub(crate) store: EventStore,
    pub(crate) views: Database,
}

impl World {
    pub(crate) async fn new() -> Self {
        let database = TestDatabase::new().await;
        let store = open(&database).await;
        let views = database.client().await.database(database.views_database());
        Self {
            uri: database.uri().to_owned(),
            _database: Box::new(database),
            store,
            views,
        }
    }

    /// With a server of its own, which keeps an abandoned transaction for longer than a test takes.
    pub(crate) async fn on_a_patient_server() -> Self {
        event_log::crypto::install_provider();
        let server = Server::start_ephemeral().await.unwrap();
        let client = Client::with_uri_str(server.uri()).await.unwrap();
        let lifetime = doc! { "setParameter": 1, "transactionLifetimeLimitSeconds": 600 };
        client.database("admin").run_command(lifetime).await.unwrap();
        let clock = SystemClock::shared();
        let store = EventStore::open(client.database("events"), clock, Retries::default());
        Self {
            store: store.await.unwrap(),
            views: client.database("views"),
            uri: server.uri(),
            _database: Box::new(server),
        }
    }

    pub(crate) fn start(&self, handler: &Arc<Recorder>) -> Running {
        self.start_with(handler, settings(), SubscriptionMetrics::default())
    }

    pub(crate) fn start_with(
        &self,
        handler: &Arc<impl Handler>,
        settings: SubscriptionSettings,
        metrics: SubscriptionMetrics,
    ) -> Running {
        let databases = Databases::of(self.store.database().clone(), self.views.clone());
        start(&self.store, &databases, handler, settings, metrics)
    }

    pub(crate) fn leases(&self) -> Leases {
        Leases::new(self.views.clone(), "test")
    }

    pub(crate) async fn follow(&self, followee: UserId) -> EventId {
        append(&self.store, followed(UserId::new(Utc::now()), followee, true), 0)
            .await
            .0
            .id
    }

    pub(crate) async fn checkpoint(&self, partition: Partition) -> Position {
        let all = self.leases().all().await.unwrap();
        all.into_iter()
            .find(|lease| lease.partition == partition)
            .map(|lease| lease.position)
            .unwrap_or_default()
    }

    pub(crate) async fn wait_for_checkpoints(&self, position: Position) {
        eventually("every checkpoint has passed the position", || async {
            let all = self.leases().all().await.unwrap();
            all.len() == 64 && all.iter().all(|lease| lease.position >= position)
        })
        .await;
    }
}

/// Starts a subscription that uses these clients.
pub(crate) fn start(
    store: &EventStore,
    databases: &Databases,
    handler: &Arc<impl Handler>,
    settings: SubscriptionSettings,
    metrics: SubscriptionMetrics,
) -> Running {
    start_by(SystemClock::shared(), store, databases, handler, settings, metrics)
}

pub(crate) fn start_by(
    clock: SharedClock,
    store: &EventStore,
    databases: &Databases,
    handler: &Arc<impl Handler>,
    settings: SubscriptionSettings,
    metrics: SubscriptionMetrics,
) -> Running {
    let subscription = Subscription::new(
        "test",
        store.clone(),
        databases,
        handler.clone(),
        settings,
        metrics,
        clock,
    );
    let shutdown = CancellationToken::new();
    let token = shutdown.clone();
    Running {
        shutdown,
        task: tokio::spawn(async move { subscription.run(token).await }),
    }
}

pub(crate) struct Running {
    shutdown: CancellationToken,
    pub(crate) task: JoinHandle<()>,
}

impl Running {
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(DEADLINE, self.task).await.unwrap().unwrap();
    }

    /// Like SIGKILL: nothing is finished, saved or released, and no work with `handler` goes on.
    pub(crate) async fn kill(self, handler: &Arc<impl Handler>) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
        eventually("no task is left", || async { Arc::strong_count(handler) == 1 }).await;
    }
}

/// The metrics of a subscription.
pub(crate) struct Told(Registry);

impl Told {
    pub(crate) fn by(metrics: &SubscriptionMetrics) -> Self {
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        Self(registry)
    }

    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.0).unwrap();
        text
    }

    /// The sum over all labels. None if there is no value.
    pub(crate) fn value(&self, name: &str) -> Option<f64> {
        let all = self.text();
        let named = all
            .lines()
            .filter(|line| line.starts_with(&format!("subscription_{name}{{")));
        let values = named.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap());
        values.reduce(|one, other| one + other)
    }
}

/// A clock that panics once, at the next reading, if a test sets the trap.
#[derive(Debug, Default)]
pub(crate) struct Trap(AtomicBool);

impl Trap {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_sprung(&self) -> bool {
        !self.0.load(Ordering::SeqCst)
    }
}

impl Clock for Trap {
    fn now(&self) -> DateTime<Utc> {
        assert!(!self.0.swap(false, Ordering::SeqCst), "the test says so");
        SystemClock.now()
    }
}

/// Asks until the condition is true.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, is_so: impl Fn() -> F) {
    let asked = async {
        while !is_so().await {
            // Too many questions would slow the database down.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(
        tokio::time::timeout(DEADLINE, asked).await.is_ok(),
        "not so in time: {what}"
    );
}

pub(crate) fn user() -> UserId {
    UserId::new(Utc::now())
}

pub(crate) fn user_of(partition: u8) -> UserId {
    let mut bytes = *user().as_bytes();
    bytes[15] = partition;
    UserId::from_bytes(bytes)
}
