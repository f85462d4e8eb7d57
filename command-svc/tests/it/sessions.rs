//! Logging in, staying logged in, logging out.

use std::time::Duration;

use bson::doc;
use reqwest::StatusCode;
use serde_json::json;
use service::config::Secret;

use crate::service::{Answer, PASSWORD, Service};

async fn refresh(service: &Service, token: &str) -> Answer {
    service.refresh(token).await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_logs_in_by_handle_or_by_address() {
    let service = Service::start().await;
    service.register("ada").await.expect(StatusCode::CREATED);
    for body in [
        json!({ "handle": "ADA", "password": PASSWORD }),
        json!({ "email": "Ada@example.org", "password": PASSWORD }),
    ] {
        let answer = service
            .post_anonymously("/v1/sessions", body)
            .await
            .expect(StatusCode::CREATED);
        assert_eq!(answer.body["token_type"], "Bearer");
        assert_eq!(answer.body["expires_in"], 900);
        assert_eq!(answer.header("cache-control"), "no-store");
        service
            .post("/v1/posts", &answer.text("access_token"), json!({ "text": "Hello" }))
            .await
            .expect(StatusCode::CREATED);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_login_does_not_say_why() {
    let service = Service::start().await;
    service.register("ada").await.expect(StatusCode::CREATED);
    let mut answers = Vec::new();
    for body in [
        json!({ "handle": "ada", "password": "wrong" }),
        json!({ "handle": "ada", "password": "" }),
        json!({ "handle": "ada", "password": PASSWORD.to_uppercase() }),
        json!({ "handle": "bob", "password": PASSWORD }),
        json!({ "handle": "not a handle", "password": PASSWORD }),
        json!({ "email": "bob@example.org", "password": PASSWORD }),
        json!({ "email": "nothing", "password": PASSWORD }),
    ] {
        let answer = service
            .post_anonymously("/v1/sessions", body)
            .await
            .expect(StatusCode::UNAUTHORIZED);
        assert_eq!(answer.problem(), "wrong-credentials");
        assert!(answer.header("www-authenticate").starts_with("Bearer"));
        answers.push(answer.body);
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "all failures look the same: {answers:?}");
    assert_eq!(service.stored().await.count("sessions", doc! {}).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refresh_gives_the_next_token() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    let mut token = ada.refresh_token.clone();
    for _ in 0..3 {
        let answer = refresh(&service, &token).await.expect(StatusCode::OK);
        let next = answer.text("refresh_token");
        assert_ne!(next, token);
        token = next;
        service
            .post("/v1/posts", &answer.text("access_token"), json!({ "text": "Hello" }))
            .await
            .expect(StatusCode::CREATED);
    }
    assert_eq!(service.stored().await.count("sessions", doc! {}).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_can_be_asked_for_again_for_a_while() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    let next = refresh(&service, &ada.refresh_token)
        .await
        .expect(StatusCode::OK)
        .text("refresh_token");
    service.clock.advance(Duration::from_secs(59));
    let again = refresh(&service, &ada.refresh_token)
        .await
        .expect(StatusCode::OK)
        .text("refresh_token");
    assert_eq!(again, next);
    refresh(&service, &next).await.expect(StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_used_again_later_ends_the_session() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    let other = service.log_in("ada").await.text("refresh_token");
    let next = refresh(&service, &ada.refresh_token)
        .await
        .expect(StatusCode::OK)
        .text("refresh_token");
    service.clock.advance(Duration::from_secs(61));
    let reused = refresh(&service, &ada.refresh_token)
        .await
        .expect(StatusCode::UNAUTHORIZED);
    assert_eq!(reused.problem(), "session-over");
    refresh(&service, &next).await.expect(StatusCode::UNAUTHORIZED);
    refresh(&service, &other).await.expect(StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_two_refreshes_old_ends_the_session_at_once() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    let second = refresh(&service, &ada.refresh_token)
        .await
        .expect(StatusCode::OK)
        .text("refresh_token");
    let third = refresh(&service, &second)
        .await
        .expect(StatusCode::OK)
        .text("refresh_token");
    refresh(&service, &ada.refresh_token)
        .await
        .expect(StatusCode::UNAUTHORIZED);
    refresh(&service, &third).await.expect(StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn refreshes_at_the_same_time_agree_on_the_successor() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    let answers = futures_util::future::join_all((0..8).map(|_| refresh(&service, &ada.refresh_token))).await;
    let mut tokens: Vec<_> = answers
        .into_iter()
        .map(|answer| answer.expect(StatusCode::OK).text("refresh_token"))
        .collect();
    tokens.dedup();
    assert_eq!(tokens.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_refresh_token_ends_nothing() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    let mut forged = ada.refresh_token.clone().into_bytes();
    let last = forged.len() - 2;
    forged[last] = if forged[last] == b'A' { b'B' } else { b'A' };
    for token in ["", "nothing", &String::from_utf8(forged).unwrap(), &ada.token] {
        refresh(&service, token).await.expect(StatusCode::UNAUTHORIZED);
    }
    refresh(&service, &ada.refresh_token).await.expect(StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_expires_when_it_is_not_used() {
    let service = Service::start_with(|config| config.auth.refresh_token_ttl = Duration::from_secs(60 * 60)).await;
    let ada = service.user("ada").await;
    service.clock.advance(Duration::from_secs(59 * 60));
    let next = refresh(&service, &ada.refresh_token)
        .await
        .expect(StatusCode::OK)
        .text("refresh_token");
    service.clock.advance(Duration::from_secs(59 * 60));
    let next = refresh(&service, &next)
        .await
        .expect(StatusCode::OK)
        .text("refresh_token");
    service.clock.advance(Duration::from_secs(61 * 60));
    refresh(&service, &next).await.expect(StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn logging_out_ends_one_session() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    let other = service.log_in("ada").await.text("refresh_token");
    service
        .delete("/v1/sessions/current", &ada.token)
        .await
        .expect(StatusCode::NO_CONTENT);
    refresh(&service, &ada.refresh_token)
        .await
        .expect(StatusCode::UNAUTHORIZED);
    refresh(&service, &other).await.expect(StatusCode::OK);
    // Repeated, because the answer may be lost.
    service
        .delete("/v1/sessions/current", &ada.token)
        .await
        .expect(StatusCode::NO_CONTENT);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_former_credentials_is_over_even_if_it_is_still_there() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    // What a login leaves behind if it verified the former password just before that changed.
    let stored = service.stored().await;
    stored
        .0
        .collection::<bson::Document>("credentials")
        .update_one(doc! {}, doc! { "$inc": { "epoch": 1_i64 } })
        .await
        .unwrap();
    refresh(&service, &ada.refresh_token)
        .await
        .expect(StatusCode::UNAUTHORIZED);
    assert_eq!(stored.count("sessions", doc! {}).await, 0);
}

/// A new password ends at most so many sessions, in one transaction.
#[tokio::test(flavor = "multi_thread")]
async fn one_has_a_hundred_sessions_and_known_addresses_at_most() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    let stored = service.stored().await;
    for (collection, latest) in [("sessions", "rotated_at"), ("origins", "expires_at")] {
        let documents = stored.0.collection::<bson::Document>(collection);
        let mut document = documents.find_one(doc! {}).await.unwrap().unwrap();
        // The time in the existing document.
        let newest = document.get_datetime(latest).unwrap().timestamp_millis();
        let earlier = |seconds: i64| bson::DateTime::from_millis(newest - seconds * 1000);
        let others = (0..150_u8).map(|number| {
            let id = bson::Binary {
                subtype: bson::spec::BinarySubtype::Uuid,
                bytes: vec![number; 16],
            };
            document.insert("_id", id);
            document.insert(latest, earlier(60 + i64::from(number)));
            document.clone()
        });
        let others: Vec<_> = others.collect();
        documents.insert_many(others).await.unwrap();
    }
    let second = service.log_in("ada").await.expect(StatusCode::CREATED);
    for collection in ["sessions", "origins"] {
        assert_eq!(stored.count(collection, doc! {}).await, 100, "{collection}");
    }
    // The oldest sessions have ended.
    for token in [&ada.refresh_token, &second.text("refresh_token")] {
        refresh(&service, token).await.expect(StatusCode::OK);
    }
    let oldest = bson::Binary {
        subtype: bson::spec::BinarySubtype::Uuid,
        bytes: vec![149; 16],
    };
    assert_eq!(stored.count("sessions", doc! { "_id": oldest }).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_goes_on_while_it_sets_another_password() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    let mut token = ada.refresh_token.clone();
    for round in 0..8 {
        let password = |number: u32| match number {
            0 => PASSWORD.to_owned(),
            number => format!("password number {number}"),
        };
        let body = json!({ "password": password(round + 1), "current_password": password(round) });
        let mut change = std::pin::pin!(service.patch("/v1/users/me", &ada.token, body));
        loop {
            let (answer, changed) = {
                // Awaited to its end: an abandoned request would use its token again, perhaps after the next two.
                let mut refreshing = std::pin::pin!(refresh(&service, &token));
                tokio::select! {
                    changed = &mut change => (refreshing.await, Some(changed)),
                    answer = &mut refreshing => (answer, None),
                }
            };
            token = answer.expect(StatusCode::OK).text("refresh_token");
            if let Some(changed) = changed {
                changed.expect(StatusCode::OK);
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_of_a_confidential_client_stays_and_is_worth_nothing_without_the_secret() {
    const SECRET: &str = "only the gateway and command-svc know this";
    let service = Service::start_with(|config| config.auth.client_secret = Some(Secret::new(SECRET))).await;
    service.register("ada").await.expect(StatusCode::CREATED);
    let login = json!({ "handle": "ada", "password": PASSWORD, "client_secret": SECRET });
    let session = service
        .post_anonymously("/v1/sessions", login)
        .await
        .expect(StatusCode::CREATED);
    let token = session.text("refresh_token");
    let proven = json!({ "refresh_token": token, "client_secret": SECRET });
    for _ in 0..3 {
        // Whoever has the token alone can neither use it nor end the session with it.
        refresh(&service, &token).await.expect(StatusCode::UNAUTHORIZED);
        let refused = json!({ "refresh_token": token, "client_secret": "guessed" });
        let refused = service.post_anonymously("/v1/sessions/refresh", refused).await;
        assert_eq!(
            refused.expect(StatusCode::UNPROCESSABLE_ENTITY).body["errors"][0]["field"],
            "client_secret"
        );
        let again = service.post_anonymously("/v1/sessions/refresh", proven.clone()).await;
        assert_eq!(again.expect(StatusCode::OK).text("refresh_token"), token);
    }
    // Others' sessions go on as they were.
    let ordinary = service.log_in("ada").await.text("refresh_token");
    let next = refresh(&service, &ordinary)
        .await
        .expect(StatusCode::OK)
        .text("refresh_token");
    assert_ne!(next, ordinary);
    service
        .delete("/v1/sessions/current", &session.text("access_token"))
        .await
        .expect(StatusCode::NO_CONTENT);
    let over = service.post_anonymously("/v1/sessions/refresh", proven).await;
    over.expect(StatusCode::UNAUTHORIZED);
}
