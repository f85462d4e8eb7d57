//! What the sweep does after a user's deletion, without HTTP.

use std::time::Duration;

use bson::doc;
use commands::{Cause, Retractions};
use event_log::event_store::{EventStore, Retries};
use model::clock::SystemClock;
use model::events::StreamId;
use model::ids::{ListId, PostId, UserId};
use model::tags::TagKey;
use reqwest::StatusCode;
use serde_json::json;

use crate::service::Service;

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_user_s_traces_are_taken_back_once() {
    let service = Service::start().await;
    let (ada, bob) = (service.user("ada").await, service.user("bob").await);
    service.follow(&ada, &bob).await;
    service.follow(&bob, &ada).await;
    let (own, others) = (
        service.write_to_followers(&ada, "a secret").await,
        service.write(&bob, "Hello").await,
    );
    for what in ["like", "repost"] {
        service
            .put(&format!("/v1/posts/{others}/{what}"), &ada.token)
            .await
            .expect(StatusCode::OK);
    }
    let eve = service.user("eve").await;
    for who in [&ada, &eve] {
        let protected = service.patch("/v1/users/me", &who.token, json!({ "protected": true }));
        protected.await.expect(StatusCode::OK);
    }
    service.follow(&ada, &eve).await;
    service.follow(&eve, &ada).await;
    let bob_s_page = format!("/v1/users/{}", bob.id);
    for what in ["block", "mute"] {
        service
            .put(&format!("{bob_s_page}/{what}"), &ada.token)
            .await
            .expect(StatusCode::OK);
    }
    service
        .put("/v1/tags/Rust/follow", &ada.token)
        .await
        .expect(StatusCode::OK);
    let list = service
        .post("/v1/lists", &ada.token, json!({ "title": "a secret list" }))
        .await
        .expect(StatusCode::CREATED)
        .text("id");
    for what in [format!("members/{}", eve.id), "tags/rust".to_owned()] {
        service
            .put(&format!("/v1/lists/{list}/{what}"), &ada.token)
            .await
            .expect(StatusCode::OK);
    }
    // Now neither of them can see the other any more.
    service.delete_user(&bob.token).await.expect(StatusCode::NO_CONTENT);
    service.delete_user(&ada.token).await.expect(StatusCode::NO_CONTENT);

    let stored = service.stored().await;
    let store = EventStore::open(stored.0.clone(), SystemClock::shared(), Retries::default())
        .await
        .unwrap();
    let user = |id: &str| id.parse::<UserId>().unwrap();
    let post = |id: &str| id.parse::<PostId>().unwrap();
    let tombstone = store
        .read_stream(&StreamId::user(user(&ada.id)))
        .await
        .unwrap()
        .pop()
        .unwrap();
    let cause = Cause::of(&tombstone);
    let retractions = Retractions::new(store.clone(), Duration::from_secs(10));
    let (ada_id, bob_id, eve_id) = (user(&ada.id), user(&bob.id), user(&eve.id));
    for (round, expected) in [("first", true), ("second", false)] {
        // Spawned, as in the projector.
        let (retractions, cause, own, others) = (retractions.clone(), cause.clone(), post(&own), post(&others));
        let list: ListId = list.parse().unwrap();
        let done = tokio::spawn(async move {
            [
                retractions.unfollow(ada_id, bob_id, &cause).await.unwrap(),
                retractions.unfollow(bob_id, ada_id, &cause).await.unwrap(),
                retractions.unfollow(ada_id, eve_id, &cause).await.unwrap(),
                retractions.unfollow(eve_id, ada_id, &cause).await.unwrap(),
                retractions.unblock(ada_id, bob_id, &cause).await.unwrap(),
                retractions.unmute(ada_id, bob_id, &cause).await.unwrap(),
                retractions.unlike(ada_id, others, &cause).await.unwrap(),
                retractions.unrepost(ada_id, others, &cause).await.unwrap(),
                retractions
                    .unfollow_tag(ada_id, TagKey::of("rust"), &cause)
                    .await
                    .unwrap(),
                retractions.unlist(list, eve_id, &cause).await.unwrap(),
                retractions.unlist_tag(list, TagKey::of("rust"), &cause).await.unwrap(),
                retractions.delete_list(list, &cause).await.unwrap(),
                retractions.delete_post(own, &cause).await.unwrap(),
            ]
        });
        for (n, position) in done.await.unwrap().iter().enumerate() {
            assert_eq!(position.is_some(), expected, "{round} {n}");
        }
    }
    assert!(!stored.mentions("a secret").await);
    let written =
        doc! { "causation_id": tombstone.id, "actor": tombstone.actor, "correlation_id": &tombstone.correlation_id };
    assert_eq!(stored.count("events", written).await, 13);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_never_was_is_nothing_to_take_back() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    let stored = service.stored().await;
    let store = EventStore::open(stored.0.clone(), SystemClock::shared(), Retries::default())
        .await
        .unwrap();
    let ada = ada.id.parse().unwrap();
    let event = store.read_stream(&StreamId::user(ada)).await.unwrap().pop().unwrap();
    let (retractions, cause) = (Retractions::new(store, Duration::from_secs(10)), Cause::of(&event));
    let now = chrono::Utc::now();
    let (somebody, something) = (UserId::new(now), PostId::new(now));
    assert_eq!(retractions.unfollow(somebody, ada, &cause).await.unwrap(), None);
    assert_eq!(retractions.unlike(ada, something, &cause).await.unwrap(), None);
    assert_eq!(retractions.unrepost(ada, something, &cause).await.unwrap(), None);
    let list = ListId::new(now);
    assert_eq!(retractions.unlist(list, ada, &cause).await.unwrap(), None);
    assert_eq!(retractions.delete_list(list, &cause).await.unwrap(), None);
    assert_eq!(retractions.delete_post(something, &cause).await.unwrap(), None);
    assert_eq!(json!(stored.count("events", doc! {}).await), json!(1));
}
