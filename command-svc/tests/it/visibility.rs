//! If the actor may not see a post, the answer is 404, before any other check.

use reqwest::StatusCode;
use serde_json::json;

use crate::service::{Answer, Service, User};

/// Every action on a post of another user.
async fn attempts(service: &Service, user: &User, post: &str) -> Vec<(&'static str, Answer)> {
    let path = format!("/v1/posts/{post}");
    vec![
        ("like", service.put(&format!("{path}/like"), &user.token).await),
        ("unlike", service.delete(&format!("{path}/like"), &user.token).await),
        ("repost", service.put(&format!("{path}/repost"), &user.token).await),
        ("unrepost", service.delete(&format!("{path}/repost"), &user.token).await),
        (
            "reply",
            service
                .post(
                    "/v1/posts",
                    &user.token,
                    json!({ "text": "Hello", "in_reply_to": post }),
                )
                .await,
        ),
        (
            "edit",
            service.patch(&path, &user.token, json!({ "text": "Mine" })).await,
        ),
        ("delete", service.delete(&path, &user.token).await),
    ]
}

async fn statuses(service: &Service, user: &User, post: &str) -> Vec<(&'static str, u16)> {
    attempts(service, user, post)
        .await
        .into_iter()
        .map(|(what, answer)| (what, answer.status.as_u16()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_for_followers_is_not_there_for_others() {
    let service = Service::start().await;
    let (ada, bob, eve) = (
        service.user("ada").await,
        service.user("bob").await,
        service.user("eve").await,
    );
    service.follow(&bob, &ada).await;
    // Only those who follow the author count, not those whom the author follows.
    service.follow(&ada, &eve).await;
    let post = service.write_to_followers(&ada, "Among friends").await;
    for (what, answer) in attempts(&service, &eve, &post).await {
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{what}");
        assert_eq!(answer.problem(), "not-found", "{what}");
    }
    let expected = [
        ("like", 200),
        ("unlike", 200),
        ("repost", 403),
        ("unrepost", 200),
        ("reply", 201),
        ("edit", 403),
        ("delete", 403),
    ];
    assert_eq!(statuses(&service, &bob, &post).await, expected);
    let own = service
        .put(&format!("/v1/posts/{post}/repost"), &ada.token)
        .await
        .expect(StatusCode::FORBIDDEN);
    assert_eq!(own.problem(), "not-public");
    service
        .put(&format!("/v1/posts/{post}/like"), &ada.token)
        .await
        .expect(StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_unfollows_sees_it_no_longer_but_can_take_a_like_back() {
    let service = Service::start().await;
    let (ada, bob) = (service.user("ada").await, service.user("bob").await);
    service.follow(&bob, &ada).await;
    let post = service.write_to_followers(&ada, "Among friends").await;
    let like = format!("/v1/posts/{post}/like");
    service.put(&like, &bob.token).await.expect(StatusCode::OK);
    service
        .delete(&format!("/v1/users/{}/follow", ada.id), &bob.token)
        .await
        .expect(StatusCode::OK);
    service.put(&like, &bob.token).await.expect(StatusCode::NOT_FOUND);
    service.delete(&like, &bob.token).await.expect(StatusCode::OK);
    service.delete(&like, &bob.token).await.expect(StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_their_author_all_posts_are_gone() {
    let service = Service::start().await;
    let (ada, bob) = (service.user("ada").await, service.user("bob").await);
    service.follow(&bob, &ada).await;
    let posts = [
        service.write(&ada, "To all").await,
        service.write_to_followers(&ada, "Among friends").await,
    ];
    service.delete_user(&ada.token).await.expect(StatusCode::NO_CONTENT);
    for post in posts {
        for (what, answer) in attempts(&service, &bob, &post).await {
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_never_was_is_not_there() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    for (what, answer) in attempts(&service, &ada, "0198c0de-0000-7000-8000-000000000001").await {
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{what}");
    }
    // The id of something else that exists.
    for (what, answer) in attempts(&service, &ada, &ada.id).await {
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{what}");
    }
}
