//! Tests how query-svc runs: what it reports about itself, and what it does when something that it needs is gone.

use std::time::Duration;

use bson::{Document, doc};
use event_log::subscription::leases::Leases;
use model::clock::Clock;
use model::ids::UserId;
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use views::generation::{Building, Generations, Phase, Progress, Term};

use crate::fixture::Projected;
use crate::service::{Caller, Instance, Service, eventually, texts};

#[test]
fn the_descriptions_of_the_api_are_the_committed_ones() {
    is_committed("openapi.json", &query_svc::openapi());
    is_committed("asyncapi.json", &query_svc::asyncapi());
}

fn is_committed(path: &str, description: &impl Serialize) {
    let generated = serde_json::to_string_pretty(description).unwrap() + "\n";
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(path, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == generated,
        "{path} is out of date: run the tests with UPDATE_OPENAPI=1 and commit it"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_metrics_and_documentation_are_served() {
    let service = Service::start().await;
    for path in [
        "/livez",
        "/readyz",
        "/healthz",
        "/openapi.json",
        "/asyncapi.json",
        "/docs/",
    ] {
        assert_eq!(service.get_now(path, Caller::Nobody).await.status, 200, "{path}");
    }
    let described = service.get_now("/openapi.json", Caller::Nobody).await.body;
    assert_eq!(described["paths"].as_object().unwrap().len(), 41);
    assert_eq!(service.metric("views_generation_read").await, 1.0);
    assert_eq!(service.metric("views_streams_opened_total").await, 1.0);
    service.stop().await;
}

/// Dropping a collection drops its documents without a change event for each of them. The stream ends, and the cache is cleared with it. If
/// the cache stayed, it would show the follow forever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_stream_breaks_nothing_is_answered_from_memory() {
    let mut service = Service::start().await;
    let [ada, bob] = ["ada", "bob"].map(|handle| service.store.register(handle));
    service.store.follow(ada, bob);
    service.settle().await;
    let path = format!("/v1/relationships?id={bob}");
    let following = async || {
        service.get_now(&path, Caller::User(ada)).await.body["items"][0]["following"]
            .as_bool()
            .unwrap()
    };
    assert!(following().await);
    service
        .database
        .collection::<Document>(service.projected.views.relations.name())
        .drop()
        .await
        .unwrap();
    eventually("forgotten", async || !following().await).await;
    eventually("open again", async || {
        service.metric("views_streams_opened_total").await >= 2.0
    })
    .await;
    service.wait_until_ready(&service.url).await;
    // The new stream works like the first one.
    service.projected.views.ensure().await.unwrap();
    service.store.follow(ada, bob);
    service.settle().await;
    assert_eq!(
        service.get(&path, Caller::User(ada)).await.body["items"][0]["following"],
        true
    );
    service.stop().await;
}

/// While the state of the generations can't be read, no stream can be opened.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_no_stream_is_open_everything_is_answered_from_the_database() {
    let mut service = Service::start().await;
    let ada = service.store.register("ada");
    service.settle().await;
    let path = format!("/v1/users/{ada}");
    let name = async |service: &Service| {
        let body = service.get_now(&path, Caller::Nobody).await.body;
        body["display_name"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(name(&service).await, "The ada");
    let control = service.database.collection::<Document>("control");
    let set_active = async |active: bson::Bson| {
        control
            .update_one(doc! { "_id": "views" }, doc! { "$set": { "active": active } })
            .await
            .unwrap();
    };
    set_active("nonsense".into()).await;
    eventually("closed", async || {
        service.get_now("/readyz", Caller::Nobody).await.status == 503
    })
    .await;

    // A read in between leaves nothing in the cache.
    for round in 0..3 {
        service.store.rename(ada, &format!("Ada {round}"));
        service.project().await;
        assert_eq!(name(&service).await, format!("Ada {round}"));
    }
    set_active(1_i64.into()).await;
    service.wait_until_ready(&service.url).await;
    service.store.rename(ada, "Ada again");
    service.settle().await;
    assert_eq!(
        service.get(&path, Caller::Nobody).await.body["display_name"],
        "Ada again"
    );
    service.stop().await;
}

async fn database_down_and_up(service: &mut Service, server: &mut local_mongodb::Server) {
    let ada = service.store.register("ada");
    let post = service.store.post(ada, "kept");
    service.settle().await;
    assert_eq!(service.home(ada, 10).await, texts([post]));

    server.kill().await.unwrap();
    eventually("not ready", async || {
        service.get_now("/readyz", Caller::Nobody).await.status == 503
    })
    .await;
    eventually("known to be closed", async || {
        let body = service.get_now("/readyz", Caller::Nobody).await.body;
        let views = body["checks"]
            .as_array()
            .unwrap()
            .iter()
            .find(|check| check["name"] == "views")
            .unwrap()
            .clone();
        views["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("change stream"))
    })
    .await;
    let begun = std::time::Instant::now();
    let answer = service.get_now("/v1/timelines/home", Caller::User(ada)).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("retry-after")),
        (503, Some("1")),
        "{}",
        answer.body
    );
    assert!(begun.elapsed() < Duration::from_secs(6));
    assert_eq!(service.get_now("/livez", Caller::Nobody).await.status, 200);

    server.restart().await.unwrap();
    service.wait_until_ready(&service.url).await;
    let second = service.store.post(ada, "after");
    service.settle().await;
    assert_eq!(service.home(ada, 10).await, texts([second, post]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_database_the_service_says_so_and_recovers_by_itself() {
    let mut server = local_mongodb::Server::start_ephemeral().await.unwrap();
    let mut service = Service::start_on(&server.uri(), &[("mongodb.server_selection_timeout", "500ms")]).await;
    database_down_and_up(&mut service, &mut server).await;
    service.stop().await;
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_generation_is_read_as_soon_as_it_is_the_active_one() {
    let mut service = Service::start_with(&[("query.claim_for", "20s")]).await;
    let second = Instance::start(&service.environment, service.clock.clone()).await;
    service.wait_until_ready(&second.url).await;
    let ada = service.store.register("ada");
    let post = service.store.post(ada, "old and new");
    service.settle().await;
    assert_eq!(service.home(ada, 10).await, texts([post]));

    let clock = service.clock.clone();
    let (generations, term) = second_generation(&mut service, ada).await;
    assert!(
        !generations.readers_confirmed(2, clock.now()).await.unwrap(),
        "both read the first generation"
    );
    generations.switch(&term, 2).await.unwrap();

    for url in [service.url.clone(), second.url.clone()] {
        let url = format!("{url}/v1/users/@ada");
        eventually("read from the new generation", async || {
            let answer = service.fetch(&url, Caller::Nobody, None).await;
            assert_eq!(answer.status, 200, "reads never stop: {}", answer.body);
            answer.body["display_name"] == "New"
        })
        .await;
    }
    // Both readers have confirmed, and the token refers to the checkpoints of the new subscription.
    eventually("confirmed", async || {
        generations.readers_confirmed(2, clock.now()).await.unwrap()
    })
    .await;
    let token = service.token(service.next_position()).to_string();
    assert_eq!(
        service.get_with("/v1/users/@ada", Caller::Nobody, &token).await.status,
        200
    );
    generations.stop_following(1).await.unwrap();
    generations.retire(1).await.unwrap();
    assert_eq!(
        service
            .get_with("/v1/timelines/home", Caller::User(ada), &token)
            .await
            .ids(),
        texts([post])
    );

    second.stop().await;
    let readers = generations.readers(clock.now()).await.unwrap();
    assert_eq!(
        readers.len(),
        1,
        "who ends in order need not be waited for: {readers:?}"
    );
    service.stop().await;
}

/// Does what a projector does in a rebuild, up to the switch. Only the new generation knows that Ada's name is "New".
async fn second_generation(service: &mut Service, ada: UserId) -> (Generations, Term) {
    let clock = service.clock.clone();
    let generations = Generations::new(service.database.clone(), clock.clone());
    let next = Projected::new(&service.database, 2, clock).await;
    service.store.rename(ada, "New");
    next.deliver(&service.store.log).await;
    Leases::new(service.database.clone(), "views-g2")
        .ensure(service.next_position(), views::SHAPE)
        .await
        .unwrap();
    assert_eq!(generations.request_rebuild().await.unwrap(), 2);
    let term = Term {
        owner: "test".to_owned(),
        fence: 1,
    };
    let Building { horizon, .. } = generations
        .begin(&term, service.next_position(), 1)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(horizon, service.next_position());
    let progress = Progress {
        phase: Phase::CatchingUp,
        scanned: 1,
        total: 1,
        cursor: None,
    };
    generations.progress(&term, 2, progress).await.unwrap();
    (generations, term)
}

/// A connection to a database, which a test can cut.
struct Link {
    uri: String,
    open: watch::Sender<bool>,
}

impl Link {
    async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let (open, state) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut state = state.clone();
                tokio::spawn(async move {
                    if !*state.borrow() {
                        return;
                    }
                    let Ok(mut far) = TcpStream::connect(("127.0.0.1", port)).await else {
                        return;
                    };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        _ = state.wait_for(|open| !open) => {}
                    }
                });
            }
        });
        Self {
            uri: format!("mongodb://127.0.0.1:{own}/?directConnection=true"),
            open,
        }
    }
}

/// A service that is cut off for longer than its claim lasts finds another generation active. Its own generation may be gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_generation_that_became_active_while_the_claim_ran_out_is_read() {
    let mut server = local_mongodb::Server::start_ephemeral().await.unwrap();
    let link = Link::to(server.port()).await;
    let settings = [
        ("mongodb.uri", link.uri.as_str()),
        ("mongodb.server_selection_timeout", "500ms"),
        ("query.request_timeout", "700ms"),
        ("query.claim_for", "5s"),
    ];
    let mut service = Service::start_on(&server.uri(), &settings).await;
    let ada = service.store.register("ada");
    service.settle().await;
    let (generations, term) = second_generation(&mut service, ada).await;
    let read = || service.get_now("/v1/users/@ada", Caller::Nobody);
    eventually("the first generation is read", async || {
        let answer = read().await;
        answer.status == 200 && answer.body["display_name"] != "New"
    })
    .await;

    link.open.send_replace(false);
    eventually("the claim runs out", async || {
        let body = read().await.body;
        body["detail"]
            .as_str()
            .is_some_and(|why| why.contains("could not confirm"))
    })
    .await;
    generations.switch(&term, 2).await.unwrap();
    link.open.send_replace(true);
    eventually("the second generation is read", async || {
        read().await.body["display_name"] == "New"
    })
    .await;
    service.stop().await;
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_that_can_not_work_stops_the_start() {
    let service = Service::start().await;
    for (key, value) in [("query.claim_for", "6s"), ("query.database_concurrency", "64")] {
        let mut environment = service.environment.clone();
        environment.set(key, value);
        let config = service::config::load(None, &environment).unwrap();
        let error = query_svc::App::build(config, service.clock.clone())
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(key), "{error}");
    }
    service.stop().await;
}

/// The process exists and its sockets are open, but it answers nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_hangs_is_taken_for_what_it_is() {
    let mut server = local_mongodb::Server::start_ephemeral().await.unwrap();
    let quick = [
        ("query.stream_silence", "800ms"),
        ("query.request_timeout", "700ms"),
        ("http.check_timeout", "700ms"),
    ];
    let mut service = Service::start_on(&server.uri(), &quick).await;
    let ada = service.store.register("ada");
    service.store.post(ada, "hello");
    service.settle().await;
    let before = service.home(ada, 10).await;
    let signal = |name: &str| {
        let pid = server.pid().unwrap().to_string();
        assert!(
            std::process::Command::new("kill")
                .args([name, &pid])
                .status()
                .unwrap()
                .success()
        );
    };
    signal("-STOP");
    eventually("closed", async || {
        let body = service.get_now("/readyz", Caller::Nobody).await.body;
        body["checks"].to_string().contains("sent nothing")
    })
    .await;
    let answer = service.get_now("/v1/timelines/home", Caller::User(ada)).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("retry-after")),
        (503, Some("1")),
        "{}",
        answer.body
    );
    assert!(
        answer.body["detail"].as_str().unwrap().contains("took too long"),
        "{}",
        answer.body
    );
    signal("-CONT");
    service.wait_until_ready(&service.url).await;
    assert_eq!(service.home(ada, 10).await, before);
    service.stop().await;
    server.stop().await.unwrap();
}
