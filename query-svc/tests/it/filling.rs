//! Tests views that do not yet contain what the event store has: they are not served.

use bson::{Document, doc};
use event_log::event_store::{EVENTS, RecordedEvent};
use event_log::position::Position;
use event_log::subscription::leases::{LEASES, Leases};
use model::ids::UserId;

use crate::service::{Caller, Instance, Service, eventually, texts};

/// The reason of that check why the service is not ready. Empty if it is ready.
async fn not_ready(service: &Service, url: &str) -> String {
    let body = service.fetch(&format!("{url}/readyz"), Caller::Nobody, None).await.body;
    let checks = body["checks"].as_array().unwrap();
    let views = checks.iter().find(|check| check["name"] == "views").unwrap();
    views["reason"].as_str().unwrap_or_default().to_owned()
}

async fn expect_refusal(service: &Service, reader: UserId, reason: &str) {
    let answer = service.get_now("/v1/timelines/home", Caller::User(reader)).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("retry-after")),
        (503, Some("1")),
        "{}",
        answer.body
    );
    let detail = answer.body["detail"].as_str().unwrap();
    assert!(detail.contains(reason), "{detail}");
}

/// Puts the events into the event store. The service only checks whether there are any.
async fn append_all(service: &Service) {
    let events = service.events.collection::<RecordedEvent>(EVENTS);
    let log = service.store.log.iter().map(|delivery| &*delivery.recorded);
    events.insert_many(log).await.unwrap();
}

fn leases(service: &Service) -> Leases {
    Leases::new(service.database.clone(), "views-g1")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_database_is_served_again_when_it_is_filled() {
    const FILLED: &str = "filled from the events: 0 of 64";
    let mut service = Service::start().await;
    let ada = service.store.register("ada");
    let post = service.store.post(ada, "kept in the events");
    append_all(&service).await;
    service.settle().await;
    assert_eq!(service.home(ada, 10).await, texts([post]));
    let token = service.token(service.next_position()).to_string();

    service.database.drop().await.unwrap();
    eventually("known to be lost", async || {
        not_ready(&service, &service.url).await.contains(FILLED)
    })
    .await;
    // The projector creates everything again, and scans.
    expect_refusal(&service, ada, FILLED).await;
    service.projected.views.ensure().await.unwrap();
    leases(&service).ensure(Position::ORIGIN, views::SHAPE).await.unwrap();
    expect_refusal(&service, ada, FILLED).await;
    let second = Instance::start(&service.environment, service.clock.clone()).await;
    eventually("refused by a process that knows nothing of before", async || {
        not_ready(&service, &second.url).await.contains(FILLED)
    })
    .await;
    service.projected.deliver(&service.store.log).await;
    expect_refusal(&service, ada, FILLED).await;

    // The checkpoints of 63 of 64 partitions are not enough.
    let position = doc! { "$set": { "position": service.next_position() } };
    let checkpoints = service.database.collection::<Document>(LEASES);
    let but_one = doc! { "_id": { "$ne": "views-g1/63" } };
    checkpoints.update_many(but_one, position).await.unwrap();
    eventually("nearly filled", async || {
        not_ready(&service, &service.url).await.contains("63 of 64")
    })
    .await;
    let waited = service.get_with("/v1/timelines/home", Caller::User(ada), &token).await;
    assert_eq!(waited.status, 503, "what was reached before is lost: {}", waited.body);
    service.checkpoint().await;
    for url in [&service.url, &second.url] {
        service.wait_until_ready(url).await;
    }
    assert_eq!(service.home(ada, 10).await, texts([post]));
    second.stop().await;
    service.stop().await;
}

/// While the state of the generations can't be read, no stream can be opened. So nothing tells the service that the views are lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_that_are_lost_while_no_stream_is_open_are_not_served() {
    let mut service = Service::start().await;
    let ada = service.store.register("ada");
    let post = service.store.post(ada, "kept in the events");
    append_all(&service).await;
    service.settle().await;
    let control = service.database.collection::<Document>("control");
    let nonsense = doc! { "$set": { "active": "nonsense" } };
    control.update_one(doc! { "_id": "views" }, nonsense).await.unwrap();
    eventually("closed", async || {
        not_ready(&service, &service.url).await.contains("stream is not open")
    })
    .await;
    assert_eq!(service.home(ada, 10).await, texts([post]), "from the database");
    leases(&service).remove().await.unwrap();
    expect_refusal(&service, ada, "has lost data").await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_and_empty_store_is_ready_at_once() {
    let mut service = Service::start_unready(&[]).await;
    leases(&service).remove().await.unwrap();
    let new = Instance::start(&service.environment, service.clock.clone()).await;
    service.wait_until_ready(&new.url).await;
    let public = format!("{}/v1/timelines/public", new.url);
    assert_eq!(
        service.fetch(&public, Caller::Nobody, None).await.ids(),
        texts::<&str>([])
    );
    // New leases make no difference until there is something to scan.
    leases(&service).ensure(Position::ORIGIN, views::SHAPE).await.unwrap();
    assert_eq!(service.fetch(&public, Caller::Nobody, None).await.status, 200);
    service.store.register("ada");
    append_all(&service).await;
    assert_eq!(service.fetch(&public, Caller::Nobody, None).await.status, 503);
    service.settle().await;
    service.wait_until_ready(&new.url).await;
    new.stop().await;
    service.stop().await;
}
