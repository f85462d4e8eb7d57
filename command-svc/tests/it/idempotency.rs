//! `Idempotency-Key`: the same request twice is one post.

use bson::doc;
use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::service::{Answer, Service, send};

async fn create(service: &Service, token: &str, key: &str, body: Value) -> Answer {
    let request = service
        .request(Method::POST, "/v1/posts")
        .bearer_auth(token)
        .header("Idempotency-Key", key);
    send(request.json(&body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_is_answered_as_the_first_one_was() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    let first = create(&service, &ada.token, "k1", json!({ "text": "Hello" }))
        .await
        .expect(StatusCode::CREATED);
    let path = format!("/v1/posts/{}", first.text("id"));
    service
        .patch(&path, &ada.token, json!({ "text": "Edited" }))
        .await
        .expect(StatusCode::OK);
    // The same body, written in another way.
    for body in [
        json!({ "text": "Hello" }),
        json!({ "visibility": "public", "text": " Hello ", "in_reply_to": null, "warning": null, "language": null }),
    ] {
        let again = create(&service, &ada.token, "k1", body)
            .await
            .expect(StatusCode::CREATED);
        assert_eq!(again.body, first.body);
        for header in ["location", "etag"] {
            assert_eq!(again.header(header), first.header(header));
        }
        assert!(!again.header("consistency-token").is_empty());
    }
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
async fn the_same_key_with_another_body_is_refused() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    create(&service, &ada.token, "k1", json!({ "text": "Hello" }))
        .await
        .expect(StatusCode::CREATED);
    for body in [
        json!({ "text": "Other" }),
        json!({ "text": "Hello", "visibility": "followers" }),
        json!({ "text": "Hello", "warning": "spoilers" }),
        json!({ "text": "Hello", "language": "en" }),
    ] {
        let refused = create(&service, &ada.token, "k1", body)
            .await
            .expect_field(422, "Idempotency-Key");
        assert_eq!(refused.problem(), "idempotency-key-reused");
    }
    create(&service, &ada.token, "k2", json!({ "text": "Hello" }))
        .await
        .expect(StatusCode::CREATED);
    assert_eq!(
        service
            .stored()
            .await
            .count("events", doc! { "type": "post.created" })
            .await,
        2
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_belong_to_their_users() {
    let service = Service::start().await;
    let (ada, bob) = (service.user("ada").await, service.user("bob").await);
    let first = create(&service, &ada.token, "k1", json!({ "text": "Hello" }))
        .await
        .expect(StatusCode::CREATED);
    let second = create(&service, &bob.token, "k1", json!({ "text": "Hello" }))
        .await
        .expect(StatusCode::CREATED);
    assert_ne!(first.text("id"), second.text("id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_since_is_gone() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    let post = create(&service, &ada.token, "k1", json!({ "text": "Hello" }))
        .await
        .expect(StatusCode::CREATED)
        .text("id");
    service
        .delete(&format!("/v1/posts/{post}"), &ada.token)
        .await
        .expect(StatusCode::NO_CONTENT);
    create(&service, &ada.token, "k1", json!({ "text": "Hello" }))
        .await
        .expect(StatusCode::NOT_FOUND);
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
async fn a_reply_is_repeated_though_what_it_answers_is_gone() {
    let service = Service::start().await;
    let (ada, bob) = (service.user("ada").await, service.user("bob").await);
    let post = service.write(&ada, "Hello").await;
    let reply = json!({ "text": "Hello yourself", "in_reply_to": post });
    let first = create(&service, &bob.token, "k1", reply.clone())
        .await
        .expect(StatusCode::CREATED);
    service
        .delete(&format!("/v1/posts/{post}"), &ada.token)
        .await
        .expect(StatusCode::NO_CONTENT);
    let again = create(&service, &bob.token, "k1", reply)
        .await
        .expect(StatusCode::CREATED);
    assert_eq!(again.body, first.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_at_the_same_time_are_one_post() {
    let service = Service::start().await;
    let (ada, bob) = (service.user("ada").await, service.user("bob").await);
    let post = service.write(&ada, "Hello").await;
    for (round, in_reply_to) in [(1, json!(null)), (2, json!(post))] {
        let key = format!("round-{round}");
        let body = json!({ "text": "Hello yourself", "in_reply_to": in_reply_to });
        let answers = join_all((0..12).map(|_| create(&service, &bob.token, &key, body.clone()))).await;
        let mut bodies: Vec<_> = answers
            .into_iter()
            .map(|answer| answer.expect(StatusCode::CREATED).body)
            .collect();
        bodies.dedup();
        assert_eq!(bodies.len(), 1, "{bodies:?}");
    }
    assert_eq!(
        service
            .stored()
            .await
            .count("events", doc! { "type": "post.created" })
            .await,
        3
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_none_is_refused_and_where_it_means_nothing_ignored() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    let long = "k".repeat(129);
    for key in ["", "with space", &long] {
        create(&service, &ada.token, key, json!({ "text": "Hello" }))
            .await
            .expect_field(400, "Idempotency-Key");
    }
    let like = format!("/v1/posts/{}/like", service.write(&ada, "Hello").await);
    for _ in 0..2 {
        let request = service
            .request(Method::PUT, &like)
            .bearer_auth(&ada.token)
            .header("Idempotency-Key", "k1");
        send(request).await.expect(StatusCode::OK);
        let body = json!({ "handle": "ada", "password": crate::service::PASSWORD });
        let request = service
            .request(Method::POST, "/v1/sessions")
            .header("Idempotency-Key", "k1");
        send(request.json(&body)).await.expect(StatusCode::CREATED);
    }
}
