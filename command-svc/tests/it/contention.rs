//! Many clients want the same thing at the same time.

use bson::doc;
use futures_util::future::join_all;
use reqwest::StatusCode;
use serde_json::json;

use crate::service::Service;

#[tokio::test(flavor = "multi_thread")]
async fn a_race_for_a_handle_has_one_winner() {
    let service = Service::start().await;
    for round in 0..3 {
        let handle = format!("ada{round}");
        let register = |n: usize| {
            let email = format!("{handle}-{n}@example.org");
            let body = json!({ "handle": handle, "email": email, "password": "correct horse battery" });
            service.post_anonymously("/v1/users", body)
        };
        let answers = join_all((0..4).map(register)).await;
        let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status.as_u16()).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 409, 409, 409]);
        for refused in answers
            .into_iter()
            .filter(|answer| answer.status == StatusCode::CONFLICT)
        {
            refused.expect_field(409, "handle");
        }
    }
    let stored = service.stored().await;
    assert_eq!(stored.count("events", doc! {}).await, 3);
    assert_eq!(stored.count("credentials", doc! {}).await, 3);
    assert_eq!(stored.count("claims", doc! {}).await, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_at_the_same_time_all_count_or_are_told_to_try_again() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    let post = service.write(&ada, "Hello").await;
    let path = format!("/v1/posts/{post}");
    let texts: Vec<_> = (0..12).map(|n| json!({ "text": format!("Edit {n}") })).collect();
    let answers = join_all(texts.into_iter().map(|text| service.patch(&path, &ada.token, text))).await;
    let done = answers.iter().filter(|answer| answer.status == StatusCode::OK).count();
    for refused in answers.iter().filter(|answer| answer.status != StatusCode::OK) {
        assert_eq!((refused.status, refused.problem()), (StatusCode::CONFLICT, "contended"));
        refused.header("retry-after");
    }
    assert!(done >= 4, "each round has a winner, and every client tries four times");
    let stored = service.stored().await;
    assert_eq!(stored.stream(&format!("post-{post}")).await.len(), 1 + done);
    let mut tags: Vec<_> = answers.iter().filter_map(|answer| answer.headers.get("etag")).collect();
    tags.sort_unstable();
    tags.dedup();
    assert_eq!(tags.len(), done, "each has a version of its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn likes_at_the_same_time_are_one_like() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    let post = service.write(&ada, "Hello").await;
    let path = format!("/v1/posts/{post}/like");
    for answer in join_all((0..8).map(|_| service.put(&path, &ada.token))).await {
        answer.expect(StatusCode::OK);
    }
    assert_eq!(
        service.stored().await.stream(&format!("like-{}-{post}", ada.id)).await,
        ["like.liked"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_too_long_is_told_to_come_back() {
    let service = Service::start_with(|config| {
        config.command.max_hashing = std::num::NonZeroU32::new(1);
        config.command.max_queueing = std::time::Duration::from_millis(1);
    })
    .await;
    let answers = join_all((0..6).map(|_| service.log_in("nobody"))).await;
    let (tried, sent_away): (Vec<_>, Vec<_>) = answers
        .into_iter()
        .partition(|answer| answer.status == StatusCode::UNAUTHORIZED);
    assert!(!tried.is_empty());
    assert!(!sent_away.is_empty());
    for answer in sent_away {
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.header("retry-after"), "1");
    }
}
