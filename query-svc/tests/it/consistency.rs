//! Tests reading your own writes: the cache and the token.

use std::time::{Duration, Instant};

use bson::{Document, doc};
use event_log::consistency::{ConsistencyToken, StoreId};
use event_log::position::Position;
use model::ids::Partition;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::service::{Caller, Service, eventually, texts};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_waits_until_the_views_show_what_the_token_names() {
    let mut service = Service::start().await;
    let ada = service.store.register("ada");
    service.settle().await;
    service.home(ada, 10).await;
    let post = service.store.post(ada, "mine");
    let token = service.token(service.next_position()).to_string();
    let path = "/v1/timelines/home";

    let access = service.access_token(Caller::User(ada)).unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = http
        .get(format!("{}{path}", service.url))
        .bearer_auth(access)
        .header("Consistency-Token", &token);
    let asked = tokio::spawn(async move { request.send().await.unwrap().json::<serde_json::Value>().await.unwrap() });
    eventually("waiting", async || {
        service.metric("http_requests_waiting{what=\"views\"}").await >= 1.0
    })
    .await;
    assert!(!asked.is_finished());
    service.settle().await;
    let answer = asked.await.unwrap();
    assert_eq!(answer["items"][0]["id"], post.to_string(), "{answer}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_that_waited_in_vain_is_503_with_retry_after() {
    let mut service = Service::start_with(&[("consistency.max_wait", "200ms")]).await;
    let ada = service.store.register("ada");
    service.settle().await;
    let token = service.token(service.next_position()).to_string();
    for path in [
        "/v1/timelines/home",
        "/v1/timelines/public",
        "/v1/users/@ada",
        "/v1/users/@ada/posts",
    ] {
        let begun = Instant::now();
        let answer = service.get_with(path, Caller::User(ada), &token).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("retry-after")),
            (503, Some("1")),
            "{path}"
        );
        assert_eq!(answer.body["type"], "urn:microblog:problem:not-caught-up");
        assert!(begun.elapsed() >= Duration::from_millis(200));
    }
    assert_eq!(service.metric("consistency_timeouts_total").await, 4.0);
    // After the checkpoint, the query is answered.
    service.settle().await;
    assert_eq!(
        service
            .get_with("/v1/timelines/home", Caller::User(ada), &token)
            .await
            .status,
        200
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_partition_of_the_token_counts() {
    let mut service = Service::start_with(&[("consistency.max_wait", "200ms")]).await;
    service.settle().await;
    let position = service.next_position();
    let token = service.token(position);
    let leases = service.database.collection::<Document>("leases");
    let all_but_one = doc! { "partition": { "$ne": 17 } };
    leases
        .update_many(all_but_one, doc! { "$set": { "position": position } })
        .await
        .unwrap();
    let path = "/v1/timelines/public";
    assert_eq!(
        service.get_with(path, Caller::Nobody, &token.to_string()).await.status,
        503
    );
    leases
        .update_one(doc! { "partition": 17 }, doc! { "$set": { "position": position } })
        .await
        .unwrap();
    assert_eq!(
        service.get_with(path, Caller::Nobody, &token.to_string()).await.status,
        200
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_another_store_is_ignored_and_one_of_the_future_refused() {
    // The test clock is in another year than the database's clock. With this skew, the service is not ready, but it answers.
    let settings = [("consistency.max_wait", "200ms"), ("clock.max_skew", "1s")];
    let mut service = Service::start_unready(&settings).await;
    eventually("following", async || {
        service.metric("views_streams_opened_total").await >= 1.0
    })
    .await;
    service.settle().await;
    let path = "/v1/timelines/public";
    let far = |seconds: i64| {
        let time =
            u32::try_from(chrono::DateTime::timestamp(&model::clock::Clock::now(&*service.clock)) + seconds).unwrap();
        Position::from(bson::Timestamp { time, increment: 1 })
    };
    let mut foreign = ConsistencyToken::new(StoreId(Uuid::new_v4()));
    for partition in Partition::all() {
        foreign.advance(partition, far(5));
    }
    assert_eq!(
        service
            .get_with(path, Caller::Nobody, &foreign.to_string())
            .await
            .status,
        200
    );
    // The clock of this process may be behind by a second.
    for (ahead, status) in [(1, 503), (10, 400), (59, 400), (120, 400)] {
        let token = service.token(far(ahead)).to_string();
        let answer = service.get_with(path, Caller::Nobody, &token).await;
        assert_eq!(answer.status, status, "{ahead} s: {}", answer.body);
        if status == 400 {
            assert_eq!(answer.body["errors"][0]["field"], "Consistency-Token");
        }
    }
    // The database's clock was set ahead, and its time never goes back. A position that the service has seen in the database is believed.
    let leases = service.database.collection::<Document>("leases");
    let ahead = doc! { "$set": { "position": far(60) } };
    leases.update_one(doc! { "partition": 17 }, ahead).await.unwrap();
    eventually("believed", async || {
        let token = service.token(far(61)).to_string();
        service.get_with(path, Caller::Nobody, &token).await.status == 503
    })
    .await;
    let token = service.token(far(70)).to_string();
    assert_eq!(service.get_with(path, Caller::Nobody, &token).await.status, 400);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_the_views_keeps_nobody_from_being_answered() {
    let mut service = Service::start_with(&[
        ("http.max_in_flight", "2"),
        ("consistency.max_wait", "1m"),
        ("consistency.max_waiting", "5"),
        ("consistency.max_waiting_per_caller", "4"),
    ])
    .await;
    let [ada, bob] = ["ada", "bob"].map(|handle| service.store.register(handle));
    service.settle().await;
    let token = service.token(service.next_position()).to_string();
    let path = "/v1/timelines/public";
    let mut waiting = JoinSet::new();
    let wait = |waiting: &mut JoinSet<_>, user| {
        let access = service.access_token(Caller::User(user)).unwrap();
        let request = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = request.get(format!("{}{path}", service.url)).bearer_auth(access);
        let request = request.header("Consistency-Token", &token);
        waiting.spawn(async move { request.send().await.unwrap().status().as_u16() });
    };
    let all_wait = async |count: f64| {
        eventually("waiting", async || {
            service.metric("http_requests_waiting{what=\"views\"}").await >= count
        })
        .await;
    };
    // One by one. Two that come at the same time, before they wait, would fill the places.
    for count in 1..=4 {
        wait(&mut waiting, ada);
        all_wait(f64::from(count)).await;
    }
    let refused =
        |answer: crate::service::Answer| (answer.status.as_u16(), answer.header("retry-after").map(str::to_owned));
    let fifth = service.get_with(path, Caller::User(ada), &token).await;
    assert_eq!(refused(fifth), (429, Some("1".to_owned())));
    assert_eq!(service.get_now(path, Caller::User(ada)).await.status, 200);
    assert_eq!(
        service.get(path, Caller::User(ada)).await.status,
        200,
        "who need not wait"
    );
    wait(&mut waiting, bob);
    all_wait(5.0).await;
    let sixth = service.get_with(path, Caller::User(bob), &token).await;
    assert_eq!(refused(sixth), (503, Some("1".to_owned())));
    assert_eq!(service.get_now(path, Caller::User(bob)).await.status, 200);
    assert!(waiting.try_join_next().is_none(), "all still wait");
    waiting.abort_all();
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_memory_is_never_older_than_the_token() {
    let mut service = Service::start().await;
    let [ada, bob] = ["ada", "bob"].map(|handle| service.store.register(handle));
    let post = service.store.post(ada, "text 0");
    service.settle().await;
    let path = format!("/v1/posts/{post}");
    for round in 1..=30 {
        service.store.edit(post, &format!("text {round}"));
        service.store.rename(ada, &format!("Ada {round}"));
        service.store.like(bob, post, round % 2 == 1);
        // Another reader loads the documents into the cache at any moment of this.
        let reader = service.reader(&path, Caller::User(bob));
        service.settle().await;
        reader.await.unwrap();
        let answer = service.get(&path, Caller::User(bob)).await.body;
        assert_eq!(answer["text"], format!("text {round}"));
        assert_eq!(answer["author"]["display_name"], format!("Ada {round}"));
        assert_eq!(answer["viewer"]["liked"], round % 2 == 1);
        assert_eq!(answer["counts"]["likes"], round % 2);
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_and_absences_are_answered_from_memory() {
    let mut service = Service::start().await;
    let [ada, bob] = ["ada", "bob"].map(|handle| service.store.register(handle));
    service.store.follow(ada, bob);
    let posts: Vec<_> = (0..5).map(|n| service.store.post(bob, &format!("{n}"))).collect();
    service.settle().await;
    service.home(ada, 100).await;
    let misses = service.metric("cache_misses_total").await;
    let hits = service.metric("cache_hits_total").await;
    assert_eq!(service.home(ada, 100).await, texts(posts.into_iter().rev()));
    assert_eq!(
        service.metric("cache_misses_total").await,
        misses,
        "even that ada blocks and mutes nobody is known"
    );
    // The posts, their author, the follow, and all blocks and mutes at once. Nobody likes a post, so no like is looked up.
    assert!(service.metric("cache_hits_total").await >= hits + 5.0 + 1.0 + 1.0 + 1.0);
    service.stop().await;
}
