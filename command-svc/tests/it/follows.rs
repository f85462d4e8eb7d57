//! Following.

use bson::doc;
use reqwest::StatusCode;
use serde_json::json;

use crate::service::Service;

#[tokio::test(flavor = "multi_thread")]
async fn following_says_how_two_users_stand() {
    let service = Service::start().await;
    let (ada, bob) = (service.user("ada").await, service.user("bob").await);
    let relationship = |id: &str, following: bool, followed_by: bool| {
        json!({
            "id": id,
            "following": following,
            "requested": false,
            "followed_by": followed_by,
            "requested_by": false,
            "blocking": false,
            "blocked_by": false,
            "muting": false,
            "muted_until": null,
        })
    };
    let (to_bob, to_ada) = (
        format!("/v1/users/{}/follow", bob.id),
        format!("/v1/users/{}/follow", ada.id),
    );
    let answer = service.put(&to_bob, &ada.token).await.expect(StatusCode::OK);
    assert_eq!(answer.body, relationship(&bob.id, true, false));
    assert!(!answer.header("consistency-token").is_empty());
    let answer = service.put(&to_bob, &ada.token).await.expect(StatusCode::OK);
    assert_eq!(answer.body, relationship(&bob.id, true, false));
    let answer = service.put(&to_ada, &bob.token).await.expect(StatusCode::OK);
    assert_eq!(answer.body, relationship(&ada.id, true, true));
    let answer = service.delete(&to_bob, &ada.token).await.expect(StatusCode::OK);
    assert_eq!(answer.body, relationship(&bob.id, false, true));
    let answer = service.delete(&to_bob, &ada.token).await.expect(StatusCode::OK);
    assert_eq!(answer.body, relationship(&bob.id, false, true));
    let stream = service
        .stored()
        .await
        .stream(&format!("follow-{}-{}", ada.id, bob.id))
        .await;
    assert_eq!(stream, ["follow.followed", "follow.unfollowed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_follows_themselves() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    let path = format!("/v1/users/{}/follow", ada.id);
    let answer = service.put(&path, &ada.token).await.expect_field(422, "id");
    assert_eq!(answer.problem(), "follow-oneself");
    service.delete(&path, &ada.token).await.expect_field(422, "id");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_there_can_not_be_followed() {
    let service = Service::start().await;
    let (ada, bob) = (service.user("ada").await, service.user("bob").await);
    service.follow(&ada, &bob).await;
    service.delete_user(&bob.token).await.expect(StatusCode::NO_CONTENT);
    for id in [bob.id.as_str(), "0198c0de-0000-7000-8000-000000000001"] {
        let path = format!("/v1/users/{id}/follow");
        service.put(&path, &ada.token).await.expect(StatusCode::NOT_FOUND);
        service.delete(&path, &ada.token).await.expect(StatusCode::NOT_FOUND);
    }
    assert_eq!(
        service
            .stored()
            .await
            .count("events", doc! { "type": { "$regex": "^follow" } })
            .await,
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_follows_more_accounts_than_allowed_however_often_they_changed_their_mind() {
    let service = Service::start_with(|config| config.follows.max = 2.try_into().unwrap()).await;
    let [ada, bob, eve, joe] = [
        service.user("ada").await,
        service.user("bob").await,
        service.user("eve").await,
        service.user("joe").await,
    ];
    let path = |id: &str| format!("/v1/users/{id}/follow");
    // Follows of other users, and likes, are not counted.
    service.follow(&bob, &ada).await;
    for _ in 0..3 {
        service.follow(&ada, &bob).await;
        service.delete(&path(&bob.id), &ada.token).await.expect(StatusCode::OK);
    }
    service.follow(&ada, &bob).await;
    service.follow(&ada, &eve).await;
    let answer = service.put(&path(&joe.id), &ada.token).await.expect_field(422, "id");
    assert_eq!(answer.problem(), "too-many-follows");
    // A user who follows already gets the same answer as before.
    service.follow(&ada, &eve).await;
    service.delete(&path(&bob.id), &ada.token).await.expect(StatusCode::OK);
    service.follow(&ada, &joe).await;
    service.put(&path(&bob.id), &ada.token).await.expect_field(422, "id");
}
