//! Programs whose database goes away, or refuses them, while they start.

use std::fmt::Debug;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use local_mongodb::{Server, TestDatabase};
use microblog::stack::{Configs, Stack};
use model::clock::SystemClock;
use mongodb::bson::Document;
use service::auth::generate_signing_key_pem;
use service::config::{self, Environment};
use tokio_util::sync::CancellationToken;

/// Longer than anything in a test may take. What takes longer never happens.
const DEADLINE: Duration = Duration::from_secs(120);

fn environment(uri: &str) -> Environment {
    event_log::crypto::install_provider();
    let mut environment = Environment::default();
    for (key, value) in [
        ("mongodb.uri", uri),
        ("mongodb.server_selection_timeout", "200ms"),
        ("auth.signing_key", &generate_signing_key_pem()),
        ("auth.refresh_secret", "a secret for the tests of the start"),
        ("gateway.listen", "127.0.0.1:0"),
        ("command.listen", "127.0.0.1:0"),
        ("query.listen", "127.0.0.1:0"),
        ("projector.listen", "127.0.0.1:0"),
        ("http.workers", "1"),
        ("shutdown.drain_delay", "0s"),
    ] {
        environment.set(key, value);
    }
    environment
}

/// The leases with their owners and positions, to explain why nothing continues.
async fn leases(uri: &str) -> Vec<Document> {
    let client = mongodb::Client::with_uri_str(uri).await.expect("a client");
    let leases = client.database("microblog_views").collection("leases");
    let leases = leases.find(Document::new()).await.expect("they can be read");
    leases.try_collect().await.expect("they can be read")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_during_the_start_ends_nothing() {
    let mut database = Server::start_ephemeral().await.expect("a database");
    let configs = Configs::load(&environment(&database.uri())).expect("the configuration");
    database.kill().await.expect("it can be killed");
    let starting = tokio::spawn(Stack::start(configs, DEADLINE));
    database.restart().await.expect("it is started again");
    let mut stack = starting.await.expect("no panic").expect("it waits for the database");
    stack.wait_until_ready(DEADLINE).await.expect("all are ready");

    database.kill().await.expect("it can be killed");
    let caught_up = stack.wait_until_caught_up(Duration::from_secs(1)).await;
    assert!(!caught_up.expect("an outage is no error"));
    database.restart().await.expect("it is started again");
    let caught_up = stack.wait_until_caught_up(DEADLINE).await;
    if !caught_up.expect("an outage is no error") {
        panic!(
            "the views stand still; the leases are {:#?}",
            leases(&database.uri()).await
        );
    }
    stack.stop().await.expect("all three still run, and end in order");
    database.stop().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_password_ends_every_program() {
    fn assert_refused(ended: Result<(), impl Debug>) {
        let error = format!("{:?}", ended.expect_err("the start must fail"));
        assert!(error.contains("Authentication"), "{error}");
    }

    let database = TestDatabase::new().await;
    let uri = database.uri().replacen("mongodb://", "mongodb://nobody:wrong@", 1);
    let mut environment = environment(&uri);
    environment.set("mongodb.refused_for", "0s");
    let (clock, forever) = (SystemClock::shared(), CancellationToken::new());
    let ended = tokio::time::timeout(DEADLINE, async {
        let config = config::load(None, &environment).expect("the configuration of command-svc");
        let command = command_svc::App::build_when_ready(config, clock.clone()).await;
        assert_refused(command.map(drop));

        let config = config::load(None, &environment).expect("the configuration of query-svc");
        let query = query_svc::App::build(config, clock.clone()).await.expect("it is built");
        assert_refused(query.run_until_stopped(forever.clone()).await);

        let config = config::load(None, &environment).expect("the configuration of the projector");
        let projector = projector::App::build(config, clock).await.expect("it is built");
        assert_refused(projector.run_until_stopped(forever).await);
    });
    ended.await.expect("all end soon");
}
