//! Connections whose other end vanishes: a lost node or pod closes nothing, and no answer comes.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bson::{Bson, Document, doc};
use event_log::event_store::{EventStore, Retries};
use event_log::mongo::Databases;
use event_log::mongo::{MongoDb, MongoUri};
use event_log::subscription::{Delivery, Handler, HandlerError, SubscriptionMetrics, SubscriptionSettings};
use model::clock::SystemClock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};

use crate::world::{DEADLINE, Recorder, Running, Told, World, eventually, settings, start, user, user_of};

/// The driver's monitor still gets answers, so that the driver trusts the other connections.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_whose_connection_alone_is_lost_is_opened_again() {
    let world = World::new().await;
    let way = Way::to(&world.uri).await;
    let recorder = Recorder::new();
    let impatient = SubscriptionSettings {
        stream_silence: Duration::from_millis(500),
        ..settings()
    };
    let running = start_through(&way, &world, &recorder, impatient).await;
    let before = world.follow(user()).await;
    recorder.wait_for_all(&[before]).await;
    // Between two requests it waits for no answer.
    eventually("the stream is lost", || async {
        way.lose(Connection::waits_for_the_stream) > 0
    })
    .await;
    let after = world.follow(user()).await;
    recorder.wait_for_all(&[after]).await;
    running.stop().await;
}

/// The driver's monitor notices, as with a pod that ends in order. Then the driver lets requests under way wait.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_ends_when_connections_are_lost() {
    let world = World::new().await;
    let way = Way::to(&world.uri).await;
    let handler = Arc::new(Waiting::default());
    // Nothing else would notice.
    let patient = SubscriptionSettings {
        stream_silence: 10 * DEADLINE,
        ..settings()
    };
    let running = start_through(&way, &world, &handler, patient).await;
    world.follow(user()).await;
    handler.waits.notified().await;
    assert!(way.lose(|connection| !connection.is_monitor()) > 0);
    way.close_the_monitor();
    tokio::time::timeout(DEADLINE, handler.done.notified())
        .await
        .expect("the handler is called again");
    let barrier = world.store.mark_all().await.unwrap();
    world.wait_for_checkpoints(barrier).await;
    running.stop().await;
}

/// Nothing else would cause another try: no lease moves.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_could_not_be_opened_is_opened_later() {
    let world = World::new().await;
    let way = Way::to(&world.uri).await;
    let recorder = Recorder::new();
    let running = start_through(&way, &world, &recorder, settings()).await;
    let before = world.follow(user()).await;
    recorder.wait_for_all(&[before]).await;
    way.shut();
    // The test asks twice a second, and an opening waits for two seconds.
    eventually("the database is looked for in vain", || async { way.refused() >= 8 }).await;
    way.open();
    let after = world.follow(user()).await;
    recorder.wait_for_all(&[after]).await;
    running.stop().await;
}

/// While a stream opens for a gained partition, the older one goes on. But it has already passed what that partition needs first.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_came_back_waits_for_a_stream_that_begins_low_enough() {
    let world = World::new().await;
    let way = Way::to(&world.uri).await;
    let recorder = Recorder::new();
    let metrics = SubscriptionMetrics::default();
    let told = Told::by(&metrics);
    let holds = async |count: usize| {
        let held = format!("subscription_leases_held{{subscription=\"test\"}} {count}\n");
        eventually(&held, || async { told.text().contains(&held) }).await;
    };
    let running = start_measured(&way, &world, &recorder, settings(), metrics).await;
    let first = world.follow(user_of(3)).await;
    recorder.wait_for_all(&[first]).await;
    // Later it has to begin there, and not with a scan.
    world.wait_for_checkpoints(world.store.mark_all().await.unwrap()).await;
    let leases = world.views.collection::<Document>("leases");
    let set = async |owner: Bson| {
        let owner = doc! { "$set": { "owner": owner }, "$inc": { "fence": 1, "beat": 1 } };
        leases.update_one(doc! { "_id": "test/03" }, owner).await.unwrap();
    };
    set("another".into()).await;
    holds(63).await;
    let nobodys = world.follow(user_of(3)).await;
    let elsewhere = world.follow(user_of(5)).await;
    recorder.wait_for_all(&[elsewhere]).await;

    way.hold_openings(true);
    set(Bson::Null).await;
    holds(64).await;
    let late = world.follow(user_of(3)).await;
    let elsewhere = world.follow(user_of(5)).await;
    // The open stream shows it, and has shown `late` before.
    recorder.wait_for_all(&[elsewhere]).await;
    assert!(!recorder.handled().contains(&late));
    way.hold_openings(false);
    recorder.wait_for_all(&[nobodys, late]).await;
    running.stop().await;
}

async fn start_through(
    way: &Way,
    world: &World,
    handler: &Arc<impl Handler>,
    settings: SubscriptionSettings,
) -> Running {
    start_measured(way, world, handler, settings, SubscriptionMetrics::default()).await
}

async fn start_measured(
    way: &Way,
    world: &World,
    handler: &Arc<impl Handler>,
    settings: SubscriptionSettings,
    metrics: SubscriptionMetrics,
) -> Running {
    event_log::crypto::install_provider();
    let config = MongoDb {
        events_database: world.store.database().name().to_owned(),
        views_database: world.views.name().to_owned(),
        ..MongoDb::at(MongoUri::parse(&way.uri()).unwrap())
    };
    let databases = Databases::connect(&config, "connections").await.unwrap();
    let store = EventStore::open(databases.events.clone(), SystemClock::shared(), Retries::default());
    start(&store.await.unwrap(), &databases, handler, settings, metrics)
}

/// Waits in the first call, as if for an answer that never comes.
#[derive(Debug, Default)]
struct Waiting {
    called: AtomicBool,
    waits: Notify,
    done: Notify,
}

#[async_trait]
impl Handler for Waiting {
    async fn handle(&self, _: &[Delivery]) -> Result<(), HandlerError> {
        if !self.called.swap(true, Ordering::SeqCst) {
            self.waits.notify_one();
            std::future::pending::<()>().await;
        }
        self.done.notify_one();
        Ok(())
    }
}

/// Connections to a database that can be lost without being closed.
struct Way {
    address: SocketAddr,
    connections: Arc<Mutex<Vec<Arc<Connection>>>>,
    shut: Arc<AtomicBool>,
    refused: Arc<AtomicUsize>,
    holds_openings: watch::Sender<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Nothing arrives any more.
    Lost,
    Closed,
}

struct Connection {
    number: usize,
    /// The last request.
    stream: AtomicBool,
    state: watch::Sender<State>,
}

impl Connection {
    /// A client's first connection is its monitor's.
    fn is_monitor(&self) -> bool {
        self.number == 0
    }

    fn waits_for_the_stream(&self) -> bool {
        self.stream.load(Ordering::SeqCst)
    }

    async fn carry(&self, mut client: TcpStream, database: String, mut holds_openings: watch::Receiver<bool>) {
        let mut server = TcpStream::connect(&database).await.unwrap();
        let (mut asked, mut answered) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
        let mut state = self.state.subscribe();
        loop {
            tokio::select! {
                biased;
                // The sender is `self`.
                _ = state.changed() => match *state.borrow_and_update() {
                    State::Open => {}
                    State::Lost => break,
                    State::Closed => return,
                },
                read = client.read(&mut asked) => {
                    let Ok(read @ 1..) = read else { return };
                    let contains = |word: &[u8]| asked[..read].windows(word.len()).any(|bytes| bytes == word);
                    self.stream.store(contains(b"getMore"), Ordering::SeqCst);
                    if contains(b"$changeStream") && holds_openings.wait_for(|holds| !holds).await.is_err() { return }
                    if server.write_all(&asked[..read]).await.is_err() { return }
                }
                read = server.read(&mut answered) => {
                    let Ok(read @ 1..) = read else { return };
                    self.stream.store(false, Ordering::SeqCst);
                    if client.write_all(&answered[..read]).await.is_err() { return }
                }
            }
        }
        std::future::pending().await
    }
}

impl Way {
    /// `database`: a URI with one host and port.
    async fn to(database: &str) -> Self {
        let host = database.trim_start_matches("mongodb://").split('/').next().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, database) = (listener.local_addr().unwrap(), host.to_owned());
        let way = Self {
            address,
            connections: Arc::default(),
            shut: Arc::default(),
            refused: Arc::default(),
            holds_openings: watch::Sender::new(false),
        };
        let (known, shut, refused) = (way.connections.clone(), way.shut.clone(), way.refused.clone());
        let holds = way.holds_openings.clone();
        tokio::spawn(async move {
            for number in 0.. {
                let (client, _) = listener.accept().await.unwrap();
                if shut.load(Ordering::SeqCst) {
                    refused.fetch_add(1, Ordering::SeqCst);
                    continue;
                }
                let connection = Arc::new(Connection {
                    number,
                    stream: AtomicBool::new(false),
                    state: watch::Sender::new(State::Open),
                });
                known.lock().unwrap().push(connection.clone());
                let (database, holds) = (database.clone(), holds.subscribe());
                tokio::spawn(async move { connection.carry(client, database, holds).await });
            }
        });
        way
    }

    fn uri(&self) -> String {
        format!("mongodb://{}/?directConnection=true", self.address)
    }

    /// Returns how many there are.
    fn lose(&self, which: impl Fn(&Connection) -> bool) -> usize {
        let connections = self.connections.lock().unwrap();
        let lost: Vec<_> = connections.iter().filter(|connection| which(connection)).collect();
        for connection in &lost {
            connection.state.send_replace(State::Lost);
        }
        lost.len()
    }

    /// Closes all connections, and every new one.
    fn shut(&self) {
        self.shut.store(true, Ordering::SeqCst);
        for connection in &*self.connections.lock().unwrap() {
            connection.state.send_replace(State::Closed);
        }
    }

    fn open(&self) {
        self.shut.store(false, Ordering::SeqCst);
    }

    /// How many connections were closed at once.
    fn refused(&self) -> usize {
        self.refused.load(Ordering::SeqCst)
    }

    /// Holds back the requests that open a stream, or lets them go on.
    fn hold_openings(&self, hold: bool) {
        self.holds_openings.send_replace(hold);
    }

    fn close_the_monitor(&self) {
        let connections = self.connections.lock().unwrap();
        connections[0].state.send_replace(State::Closed);
    }
}
