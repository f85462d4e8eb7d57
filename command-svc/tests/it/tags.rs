//! Following tags.

use reqwest::StatusCode;
use serde_json::json;

use crate::service::Service;

fn path(tag: &str) -> String {
    format!("/v1/tags/{tag}/follow")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_spelling_of_a_tag_is_the_same_follow() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    for (spelling, shown) in [("Rust", "Rust"), ("rust", "Rust"), ("ＲＵＳＴ", "Rust")] {
        let answer = service.put(&path(spelling), &ada.token).await.expect(StatusCode::OK);
        assert_eq!(answer.body, json!({ "name": shown, "following": true }));
        assert!(!answer.header("consistency-token").is_empty());
    }
    for _ in 0..2 {
        let answer = service.delete(&path("RUST"), &ada.token).await.expect(StatusCode::OK);
        assert_eq!(answer.body, json!({ "name": "RUST", "following": false }));
    }
    // Nothing was followed, so nothing is written.
    service.delete(&path("東京"), &ada.token).await.expect(StatusCode::OK);
    // It has a combining dot. So it is another tag than the one without.
    service.put(&path("İstanbul"), &ada.token).await.expect(StatusCode::OK);
    service.put(&path("istanbul"), &ada.token).await.expect(StatusCode::OK);

    let hash = "521fe5c9ece1aa1f8b66228171598263574aefc6fa4ba06a61747ec81ee9f5a3";
    let stored = service.stored().await;
    let stream = stored.stream(&format!("tag-{}-{hash}", ada.id)).await;
    assert_eq!(stream, ["tag.followed", "tag.unfollowed"]);
    let of_ada = bson::doc! { "stream": { "$regex": format!("^tag-{}-", ada.id) } };
    assert_eq!(stored.count("events", of_ada).await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_tag_is_refused_by_name() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    for bad in [
        "2024",
        "two%20words",
        "%23rust",
        "a-b",
        "%00",
        "a%2Fb",
        &"a".repeat(600),
    ] {
        service.put(&path(bad), &ada.token).await.expect_field(400, "tag");
        service.delete(&path(bad), &ada.token).await.expect_field(400, "tag");
    }
    service
        .put(&path("rust"), "nonsense")
        .await
        .expect(StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_follows_more_tags_than_allowed() {
    let service = Service::start_with(|config| config.follows.max_tags = 2.try_into().unwrap()).await;
    let (ada, bob) = (service.user("ada").await, service.user("bob").await);
    service.follow(&ada, &bob).await;
    for _ in 0..2 {
        service.put(&path("one"), &ada.token).await.expect(StatusCode::OK);
        service.delete(&path("one"), &ada.token).await.expect(StatusCode::OK);
    }
    for tag in ["one", "two"] {
        service.put(&path(tag), &ada.token).await.expect(StatusCode::OK);
    }
    let answer = service.put(&path("three"), &ada.token).await.expect_field(422, "tag");
    assert_eq!(answer.problem(), "too-many-tags");
    service.put(&path("ONE"), &ada.token).await.expect(StatusCode::OK);
    service.put(&path("three"), &bob.token).await.expect(StatusCode::OK);
    service.delete(&path("two"), &ada.token).await.expect(StatusCode::OK);
    service.put(&path("three"), &ada.token).await.expect(StatusCode::OK);
}
