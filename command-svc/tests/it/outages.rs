//! The database is down, slow, or has another time. Clients learn it at once, and the service works again as soon as the outage is over.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bson::doc;
use event_log::mongo::MongoUri;
use local_mongodb::Server;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::proxy::Proxy;
use crate::service::{Answer, Service, User, config, send};

const ANSWERED_WITHIN: Duration = Duration::from_secs(5);
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);
const RECOVERED_WITHIN: Duration = Duration::from_secs(30);

async fn create(service: &Service, user: &User) -> Answer {
    create_saying(service, user, "Hello").await
}

async fn create_saying(service: &Service, user: &User, text: &str) -> Answer {
    service.post("/v1/posts", &user.token, json!({ "text": text })).await
}

/// The texts of all posts that are in the event store, by the posts' ids.
async fn stored_texts(service: &Service) -> HashMap<String, String> {
    let created = doc! { "type": "post.created" };
    let events = service.stored().await.all("events", created).await;
    let texts = events.iter().map(|event| {
        let text = event
            .get_document("data")
            .unwrap()
            .get_document("content")
            .unwrap()
            .get_str("text");
        let post = event.get_str("stream").unwrap().strip_prefix("post-");
        (post.unwrap().to_owned(), text.unwrap().to_owned())
    });
    texts.collect()
}

/// Probes answer in their own format, not with problems.
async fn ready(service: &Service) -> (StatusCode, Value) {
    let response = service.request(Method::GET, "/readyz").send().await.unwrap();
    (response.status(), response.json().await.unwrap())
}

async fn expect_unavailable(service: &Service, user: &User) {
    let began = Instant::now();
    let answer = create(service, user).await;
    assert!(began.elapsed() < ANSWERED_WITHIN, "{:?}", began.elapsed());
    let answer = answer.expect(StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.header("retry-after").parse::<u32>().unwrap() >= 1);
    let register = service
        .register("somebody")
        .await
        .expect(StatusCode::SERVICE_UNAVAILABLE);
    register.header("retry-after");
    let login = service.log_in("ada").await.expect(StatusCode::SERVICE_UNAVAILABLE);
    login.header("retry-after");
}

async fn expect_recovery(service: &Service, user: &User) {
    let deadline = Instant::now() + RECOVERED_WITHIN;
    loop {
        let answer = create(service, user).await;
        if answer.status == StatusCode::CREATED && ready(service).await.0 == StatusCode::OK {
            return;
        }
        assert!(Instant::now() < deadline, "{} {}", answer.status, answer.body);
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}

/// Waits until `/readyz` fails because of this check.
async fn expect_not_ready(service: &Service, check: &str) {
    let deadline = Instant::now() + RECOVERED_WITHIN;
    loop {
        let (status, body) = ready(service).await;
        let reason = body["checks"]
            .as_array()
            .unwrap()
            .iter()
            .find(|one| one["name"] == check)
            .unwrap();
        if status == StatusCode::SERVICE_UNAVAILABLE && reason["ok"] == false {
            assert!(!reason["reason"].as_str().unwrap().is_empty());
            return;
        }
        assert!(Instant::now() < deadline, "{body}");
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_crashes_and_comes_back_loses_nothing() {
    let mut server = Server::start_ephemeral().await.unwrap();
    let service = Service::start_on(config(&server.uri(), "outage")).await;
    let ada = service.user("ada").await;
    let mut acknowledged = HashMap::new();
    for n in 0..20 {
        let text = format!("post {n}");
        let post = create_saying(&service, &ada, &text).await.expect(StatusCode::CREATED);
        acknowledged.insert(post.body["id"].as_str().unwrap().to_owned(), text);
    }
    server.kill().await.unwrap();
    expect_unavailable(&service, &ada).await;
    expect_not_ready(&service, "mongodb").await;
    assert_eq!(
        service.request(Method::GET, "/livez").send().await.unwrap().status(),
        StatusCode::OK
    );
    send(service.request(Method::GET, "/.well-known/jwks.json"))
        .await
        .expect(StatusCode::OK);

    server.restart().await.unwrap();
    expect_recovery(&service, &ada).await;
    let mut stored = stored_texts(&service).await;
    for (post, text) in &acknowledged {
        assert_eq!(stored.remove(post).as_ref(), Some(text), "{post}");
    }
    // The other posts come from the loop that waited for the end of the outage, or from requests that were answered 503 but still took
    // effect.
    assert!(
        !stored.is_empty() && stored.values().all(|text| text == "Hello"),
        "{stored:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_does_not_answer_is_not_waited_for() {
    let server = Server::start_ephemeral().await.unwrap();
    let proxy = Proxy::start(&server.uri()).await;
    let mut config = config(&server.uri(), "stalled");
    config.mongodb.uri = MongoUri::parse(&proxy.uri()).unwrap();
    let service = Service::start_on(config).await;
    let ada = service.user("ada").await;
    proxy.stall(true);
    expect_unavailable(&service, &ada).await;
    expect_not_ready(&service, "mongodb").await;
    proxy.stall(false);
    expect_recovery(&service, &ada).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_not_sure_writes_nothing() {
    let service = Service::start_with(|config| {
        config.clock.max_skew = Duration::from_secs(1);
        config.clock.max_age = Duration::from_millis(500);
        config.clock.check_every = Duration::from_millis(50);
    })
    .await;
    let ada = service.user("ada").await;
    service.clock.advance(Duration::from_secs(2));
    expect_not_ready(&service, "clock").await;
    let refused = create(&service, &ada).await.expect(StatusCode::SERVICE_UNAVAILABLE);
    refused.header("retry-after");
    service.clock.rewind(Duration::from_secs(2));
    expect_recovery(&service, &ada).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_without_a_database_does_not_start() {
    let mut config = config("mongodb://127.0.0.1:1/?directConnection=true", "nowhere");
    config.mongodb.server_selection_timeout = Duration::from_millis(200);
    event_log::crypto::install_provider();
    let error = command_svc::App::build(config, model::clock::SystemClock::shared())
        .await
        .unwrap_err();
    assert!(matches!(error, command_svc::StartError::Database(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_without_secrets_does_not_start_and_says_which() {
    event_log::crypto::install_provider();
    let mut config = config("mongodb://127.0.0.1:1/?directConnection=true", "nowhere");
    config.auth.refresh_secret = Some(service::config::Secret::new("too short"));
    let build = |config| command_svc::App::build(config, model::clock::SystemClock::shared());
    let error = build(config.clone()).await.unwrap_err().to_string();
    assert!(
        error.contains("auth.refresh_secret") && !error.contains("too short"),
        "{error}"
    );
    config.auth.refresh_secret = None;
    assert!(
        build(config.clone())
            .await
            .unwrap_err()
            .to_string()
            .contains("auth.refresh_secret")
    );
    config.auth.signing_key = None;
    assert!(
        build(config)
            .await
            .unwrap_err()
            .to_string()
            .contains("auth.signing_key")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn more_commands_than_connections_are_refused_at_the_start() {
    event_log::crypto::install_provider();
    let mut config = config("mongodb://127.0.0.1:1/?directConnection=true", "nowhere");
    config.mongodb.max_pool_size = config.command.max_concurrent.get();
    let build = command_svc::App::build(config, model::clock::SystemClock::shared());
    let error = build.await.unwrap_err().to_string();
    assert!(error.contains("command.max_concurrent"), "{error}");
}
