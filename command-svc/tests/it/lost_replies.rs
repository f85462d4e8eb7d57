//! The database carries out a request, but its reply is lost. Each reply is lost twice, because the driver repeats a write once by itself.

use bson::{Document, doc};
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::proxy::{is, plain_insert};
use crate::service::{Service, send};

fn commit(command: &Document) -> bool {
    command.contains_key("commitTransaction")
}

fn to_sessions(verb: &'static str) -> impl Fn(&Document) -> bool {
    move |command| is(command, verb, "sessions")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_is_repeated_and_happens_once() {
    let (service, proxy) = Service::start_behind_proxy().await;
    let ada = service.user("ada").await;
    proxy.lose(2, plain_insert("events"));
    let post = service.write(&ada, "Hello").await;
    assert_eq!(proxy.lost(), 2);
    let stored = service.stored().await;
    assert_eq!(stored.count("events", doc! { "type": "post.created" }).await, 1);
    assert_eq!(stored.stream(&format!("post-{post}")).await, ["post.created"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_with_an_idempotency_key_knows_itself() {
    let (service, proxy) = Service::start_behind_proxy().await;
    let ada = service.user("ada").await;
    proxy.lose(2, plain_insert("events"));
    let request = service
        .request(Method::POST, "/v1/posts")
        .bearer_auth(&ada.token)
        .header("Idempotency-Key", "k1");
    send(request.json(&json!({ "text": "Hello" })))
        .await
        .expect(StatusCode::CREATED);
    assert_eq!(proxy.lost(), 2);
    assert_eq!(
        service
            .stored()
            .await
            .count("events", doc! { "type": "post.created" })
            .await,
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_was_told_of_a_failure_finds_by_its_key_what_happened() {
    let (service, proxy) = Service::start_behind_proxy().await;
    let ada = service.user("ada").await;
    let create = || {
        let request = service
            .request(Method::POST, "/v1/posts")
            .bearer_auth(&ada.token)
            .header("Idempotency-Key", "k1");
        send(request.json(&json!({ "text": "Hello" })))
    };
    // Loses the reply to every attempt, and to the driver's repetition of every attempt.
    proxy.lose(usize::MAX, plain_insert("events"));
    create().await.expect(StatusCode::SERVICE_UNAVAILABLE);
    assert!(proxy.lost() >= 4);
    proxy.lose(0, plain_insert("events"));
    let post = create().await.expect(StatusCode::CREATED).text("id");
    let stored = service.stored().await;
    assert_eq!(stored.stream(&format!("post-{post}")).await, ["post.created"]);
    assert_eq!(stored.count("events", doc! { "type": "post.created" }).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_is_settled_and_happens_once() {
    let (service, proxy) = Service::start_behind_proxy().await;
    proxy.lose(2, commit);
    service.register("ada").await.expect(StatusCode::CREATED);
    assert_eq!(proxy.lost(), 2);
    let stored = service.stored().await;
    for (collection, expected) in [("events", 1), ("credentials", 1), ("claims", 2)] {
        assert_eq!(stored.count(collection, doc! {}).await, expected, "{collection}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_redacts_is_settled_too() {
    let (service, proxy) = Service::start_behind_proxy().await;
    let ada = service.user("ada").await;
    let post = service.write(&ada, "a secret").await;
    proxy.lose(2, commit);
    service
        .delete(&format!("/v1/posts/{post}"), &ada.token)
        .await
        .expect(StatusCode::NO_CONTENT);
    assert_eq!(proxy.lost(), 2);
    let stored = service.stored().await;
    assert_eq!(
        stored.stream(&format!("post-{post}")).await,
        ["post.created", "post.deleted"]
    );
    assert!(!stored.mentions("a secret").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_breaks_halfway_is_repeated() {
    let (service, proxy) = Service::start_behind_proxy().await;
    proxy.lose(2, |command| is(command, "insert", "credentials"));
    service.register("ada").await.expect(StatusCode::CREATED);
    assert_eq!(proxy.lost(), 2);
    let stored = service.stored().await;
    for (collection, expected) in [("events", 1), ("credentials", 1), ("claims", 2)] {
        assert_eq!(stored.count(collection, doc! {}).await, expected, "{collection}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_is_repeated() {
    let (service, proxy) = Service::start_behind_proxy().await;
    let ada = service.user("ada").await;
    let like = format!("/v1/posts/{}/like", service.write(&ada, "Hello").await);
    service.put(&like, &ada.token).await.expect(StatusCode::OK);
    proxy.lose(2, plain_insert("marks"));
    service.put(&like, &ada.token).await.expect(StatusCode::OK);
    assert_eq!(proxy.lost(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_repeated_and_begins_one_session() {
    let (service, proxy) = Service::start_behind_proxy().await;
    service.register("ada").await.expect(StatusCode::CREATED);
    proxy.lose(2, to_sessions("insert"));
    let token = service
        .log_in("ada")
        .await
        .expect(StatusCode::CREATED)
        .text("refresh_token");
    assert_eq!(proxy.lost(), 2);
    assert_eq!(service.stored().await.count("sessions", doc! {}).await, 1);
    service
        .post_anonymously("/v1/sessions/refresh", json!({ "refresh_token": token }))
        .await
        .expect(StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_is_repeated_and_gives_the_one_successor() {
    let (service, proxy) = Service::start_behind_proxy().await;
    let ada = service.user("ada").await;
    let refresh = |token: &str| service.post_anonymously("/v1/sessions/refresh", json!({ "refresh_token": token }));
    proxy.lose(2, to_sessions("update"));
    let next = refresh(&ada.refresh_token)
        .await
        .expect(StatusCode::OK)
        .text("refresh_token");
    assert_eq!(proxy.lost(), 2);
    refresh(&next).await.expect(StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_is_repeated() {
    let (service, proxy) = Service::start_behind_proxy().await;
    let ada = service.user("ada").await;
    proxy.lose(2, to_sessions("delete"));
    service
        .delete("/v1/sessions/current", &ada.token)
        .await
        .expect(StatusCode::NO_CONTENT);
    assert_eq!(proxy.lost(), 2);
    assert_eq!(service.stored().await.count("sessions", doc! {}).await, 0);
}

/// Only later logins need the address.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_succeeds_even_if_its_address_can_not_be_noted() {
    let (service, proxy) = Service::start_behind_proxy().await;
    service.register("ada").await.expect(StatusCode::CREATED);
    proxy.lose(2, |command: &Document| is(command, "update", "origins"));
    service.log_in("ada").await.expect(StatusCode::CREATED);
    assert_eq!(proxy.lost(), 2);
}
