//! Likes and reposts.

use bson::{Bson, doc};
use reqwest::StatusCode;
use serde_json::json;

use crate::service::{Service, User};

/// The id of the repost that a user made of a post.
async fn repost_id(service: &Service, user: &User, post: &str) -> String {
    let stream = format!("repost-{}-{post}", user.id);
    let mut events = service
        .stored()
        .await
        .all("events", doc! { "stream": stream, "type": "repost.reposted" })
        .await;
    events.sort_by_key(|event| event.get_i64("version").unwrap());
    match events.last().unwrap().get_document("data").unwrap().get("id") {
        Some(Bson::Binary(id)) => id.to_uuid().unwrap().to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn liking_and_reposting_can_be_repeated_and_taken_back() {
    let service = Service::start().await;
    let (ada, bob) = (service.user("ada").await, service.user("bob").await);
    let post = service.write(&ada, "Hello").await;
    for (what, said, events) in [
        ("like", "liked", ["like.liked", "like.unliked", "like.liked"]),
        (
            "repost",
            "reposted",
            ["repost.reposted", "repost.unreposted", "repost.reposted"],
        ),
    ] {
        let path = format!("/v1/posts/{post}/{what}");
        let expect = |on: bool| json!({ said: on });
        for (method, on) in [
            ("delete", false),
            ("put", true),
            ("put", true),
            ("delete", false),
            ("delete", false),
            ("put", true),
        ] {
            let answer = match method {
                "put" => service.put(&path, &bob.token).await,
                _ => service.delete(&path, &bob.token).await,
            };
            let answer = answer.expect(StatusCode::OK);
            assert_eq!(answer.body, expect(on));
            assert!(!answer.header("consistency-token").is_empty());
        }
        assert_eq!(
            service
                .stored()
                .await
                .stream(&format!("{what}-{}-{post}", bob.id))
                .await,
            events
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_may_like_and_repost_ones_own() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    let post = service.write(&ada, "Hello").await;
    service
        .put(&format!("/v1/posts/{post}/like"), &ada.token)
        .await
        .expect(StatusCode::OK);
    service
        .put(&format!("/v1/posts/{post}/repost"), &ada.token)
        .await
        .expect(StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repost_means_its_original() {
    let service = Service::start().await;
    let (ada, bob, eve) = (
        service.user("ada").await,
        service.user("bob").await,
        service.user("eve").await,
    );
    let post = service.write(&ada, "Hello").await;
    service
        .put(&format!("/v1/posts/{post}/repost"), &bob.token)
        .await
        .expect(StatusCode::OK);
    let repost = repost_id(&service, &bob, &post).await;

    service
        .put(&format!("/v1/posts/{repost}/like"), &eve.token)
        .await
        .expect(StatusCode::OK);
    service
        .put(&format!("/v1/posts/{repost}/repost"), &eve.token)
        .await
        .expect(StatusCode::OK);
    let reply = json!({ "text": "Hello yourself", "in_reply_to": repost });
    let reply = service
        .post("/v1/posts", &eve.token, reply)
        .await
        .expect(StatusCode::CREATED);
    assert_eq!(reply.body["in_reply_to"], post);
    let stored = service.stored().await;
    assert_eq!(stored.stream(&format!("like-{}-{post}", eve.id)).await, ["like.liked"]);
    assert_eq!(
        stored.stream(&format!("repost-{}-{post}", eve.id)).await,
        ["repost.reposted"]
    );
    service
        .delete(&format!("/v1/posts/{repost}/like"), &eve.token)
        .await
        .expect(StatusCode::OK);
    assert_eq!(
        stored.stream(&format!("like-{}-{post}", eve.id)).await,
        ["like.liked", "like.unliked"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retracted_repost_means_nothing_and_the_next_one_is_another() {
    let service = Service::start().await;
    let (ada, bob) = (service.user("ada").await, service.user("bob").await);
    let post = service.write(&ada, "Hello").await;
    let path = format!("/v1/posts/{post}/repost");
    service.put(&path, &bob.token).await.expect(StatusCode::OK);
    let first = repost_id(&service, &bob, &post).await;
    service.delete(&path, &bob.token).await.expect(StatusCode::OK);
    service
        .put(&format!("/v1/posts/{first}/like"), &ada.token)
        .await
        .expect(StatusCode::NOT_FOUND);
    service.put(&path, &bob.token).await.expect(StatusCode::OK);
    let second = repost_id(&service, &bob, &post).await;
    assert_ne!(first, second);
    service
        .put(&format!("/v1/posts/{first}/like"), &ada.token)
        .await
        .expect(StatusCode::NOT_FOUND);
    service
        .put(&format!("/v1/posts/{second}/like"), &ada.token)
        .await
        .expect(StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repost_of_what_was_deleted_means_nothing() {
    let service = Service::start().await;
    let (ada, bob) = (service.user("ada").await, service.user("bob").await);
    let post = service.write(&ada, "Hello").await;
    service
        .put(&format!("/v1/posts/{post}/repost"), &bob.token)
        .await
        .expect(StatusCode::OK);
    let repost = repost_id(&service, &bob, &post).await;
    service
        .delete(&format!("/v1/posts/{post}"), &ada.token)
        .await
        .expect(StatusCode::NO_CONTENT);
    service
        .put(&format!("/v1/posts/{repost}/like"), &ada.token)
        .await
        .expect(StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repost_is_deleted_like_a_post_and_has_no_text_to_edit() {
    let service = Service::start().await;
    let (ada, bob) = (service.user("ada").await, service.user("bob").await);
    let post = service.write(&ada, "Hello").await;
    service
        .put(&format!("/v1/posts/{post}/repost"), &bob.token)
        .await
        .expect(StatusCode::OK);
    let path = format!("/v1/posts/{}", repost_id(&service, &bob, &post).await);
    service
        .patch(&path, &ada.token, json!({ "text": "Mine" }))
        .await
        .expect(StatusCode::FORBIDDEN);
    service.delete(&path, &ada.token).await.expect(StatusCode::FORBIDDEN);
    let edit = service
        .patch(&path, &bob.token, json!({ "text": "Mine" }))
        .await
        .expect_field(422, "id");
    assert_eq!(edit.problem(), "repost-has-no-text");
    service.delete(&path, &bob.token).await.expect(StatusCode::NO_CONTENT);
    service.delete(&path, &bob.token).await.expect(StatusCode::NOT_FOUND);
    let stream = service
        .stored()
        .await
        .stream(&format!("repost-{}-{post}", bob.id))
        .await;
    assert_eq!(stream, ["repost.reposted", "repost.unreposted"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repost_is_found_by_an_index() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    for n in 0..20 {
        let post = service.write(&ada, &format!("Post {n}")).await;
        service
            .put(&format!("/v1/posts/{post}/repost"), &ada.token)
            .await
            .expect(StatusCode::OK);
    }
    let stored = service.stored().await;
    let one = stored.all("events", doc! { "type": "repost.reposted" }).await.remove(0);
    let id = one.get_document("data").unwrap().get("id").unwrap().clone();
    let find = doc! { "find": "events", "filter": { "type": "repost.reposted", "data.id": id } };
    let explained = stored.0.run_command(doc! { "explain": find }).await.unwrap();
    assert!(explained.to_string().contains("repost_id"), "{explained}");
}
