//! Protected accounts and requests to follow, blocks, mutes.

use bson::{Bson, doc};
use chrono::{TimeDelta, Utc};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::service::{Answer, Service, User, send};

impl Service {
    async fn protect(&self, user: &User, protected: bool) -> Answer {
        let body = json!({ "protected": protected });
        self.patch("/v1/users/me", &user.token, body)
            .await
            .expect(StatusCode::OK)
    }

    /// Someone whose account is protected.
    async fn guarded(&self, handle: &str) -> User {
        let user = self.user(handle).await;
        self.protect(&user, true).await;
        user
    }

    async fn mute(&self, muter: &User, muted: &User, body: Value) -> Answer {
        let request = self.request(Method::PUT, &format!("/v1/users/{}/mute", muted.id));
        send(request.bearer_auth(&muter.token).json(&body)).await
    }

    async fn block(&self, blocker: &User, blocked: &User) -> Answer {
        let path = format!("/v1/users/{}/block", blocked.id);
        self.put(&path, &blocker.token).await.expect(StatusCode::OK)
    }

    async fn unblock(&self, blocker: &User, blocked: &User) -> Answer {
        let path = format!("/v1/users/{}/block", blocked.id);
        self.delete(&path, &blocker.token).await.expect(StatusCode::OK)
    }

    async fn answer_request(&self, of: &User, by: &User, verb: &str) -> Answer {
        let path = format!("/v1/follow-requests/{}/{verb}", of.id);
        self.post(&path, &by.token, json!({})).await
    }

    async fn events_of(&self, kind: &str, one: &User, other: &User) -> Vec<String> {
        let stream = format!("{kind}-{}-{}", one.id, other.id);
        self.stored().await.stream(&stream).await
    }
}

/// The fields of a relationship that are true.
fn true_fields(answer: &Answer) -> Vec<&str> {
    let fields = answer.body.as_object().unwrap().iter();
    fields
        .filter(|(_, value)| **value == true)
        .map(|(name, _)| name.as_str())
        .collect()
}

fn follow(followee: &User) -> String {
    format!("/v1/users/{}/follow", followee.id)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_protected_account_is_asked_and_accepts() {
    let service = Service::start().await;
    let (ada, bob) = (service.guarded("ada").await, service.user("bob").await);
    let post = service.write_to_followers(&ada, "Among friends").await;
    let like = format!("/v1/posts/{post}/like");
    for _ in 0..2 {
        let asked = service.put(&follow(&ada), &bob.token).await.expect(StatusCode::OK);
        assert_eq!(true_fields(&asked), ["requested"]);
    }
    service.put(&like, &bob.token).await.expect(StatusCode::NOT_FOUND);
    for _ in 0..2 {
        let accepted = service
            .answer_request(&bob, &ada, "accept")
            .await
            .expect(StatusCode::OK);
        assert_eq!(true_fields(&accepted), ["followed_by"]);
        assert!(!accepted.header("consistency-token").is_empty());
    }
    service.put(&like, &bob.token).await.expect(StatusCode::OK);
    service
        .answer_request(&bob, &ada, "reject")
        .await
        .expect(StatusCode::NOT_FOUND);
    let removed = format!("/v1/followers/{}", bob.id);
    for _ in 0..2 {
        let removed = service.delete(&removed, &ada.token).await.expect(StatusCode::OK);
        assert_eq!(true_fields(&removed), [""; 0]);
    }
    service
        .answer_request(&bob, &ada, "accept")
        .await
        .expect(StatusCode::NOT_FOUND);
    assert_eq!(
        service.events_of("follow", &bob, &ada).await,
        ["follow.requested", "follow.accepted", "follow.removed"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_rejected_or_withdrawn() {
    let service = Service::start().await;
    let (ada, bob) = (service.guarded("ada").await, service.user("bob").await);
    service.follow(&bob, &ada).await;
    service.follow(&ada, &bob).await;
    let rejected = service.answer_request(&bob, &ada, "reject").await;
    assert_eq!(true_fields(&rejected.expect(StatusCode::OK)), ["following"]);
    let again = service.put(&follow(&ada), &bob.token).await.expect(StatusCode::OK);
    assert_eq!(true_fields(&again), ["followed_by", "requested"]);
    let withdrawn = service.delete(&follow(&ada), &bob.token).await.expect(StatusCode::OK);
    assert_eq!(true_fields(&withdrawn), ["followed_by"]);
    service
        .answer_request(&bob, &ada, "accept")
        .await
        .expect(StatusCode::NOT_FOUND);
    assert_eq!(
        service.events_of("follow", &bob, &ada).await,
        [
            "follow.requested",
            "follow.rejected",
            "follow.requested",
            "follow.cancelled"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_with_the_protection_is_in_its_event() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    let body = json!({ "protected": true, "bio": "Private." });
    let changed = service
        .patch("/v1/users/me", &ada.token, body)
        .await
        .expect(StatusCode::OK);
    assert_eq!(changed.body["protected"], true);
    assert_eq!(changed.body["bio"], "Private.");
    service.protect(&ada, true).await;
    assert_eq!(service.protect(&ada, false).await.body["protected"], false);
    let stream = service.stored().await.stream(&format!("user-{}", ada.id)).await;
    assert_eq!(stream, ["user.registered", "user.protected", "user.unprotected"]);
    let wrong = json!({ "protected": "yes" });
    let answer = service.patch("/v1/users/me", &ada.token, wrong).await;
    answer.expect_field(422, "protected");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_protected_account_writes_to_its_followers() {
    let service = Service::start().await;
    let (ada, bob) = (service.user("ada").await, service.user("bob").await);
    let earlier = service.write(&ada, "To all").await;
    let to_bob = service.write(&bob, "Hello").await;
    service.protect(&ada, true).await;
    for answered in [None, Some(&to_bob)] {
        let mut body = json!({ "text": "Among friends", "in_reply_to": answered });
        let written = service.post("/v1/posts", &ada.token, body.clone()).await;
        assert_eq!(written.expect(StatusCode::CREATED).body["visibility"], "followers");
        body["visibility"] = json!("followers");
        let written = service.post("/v1/posts", &ada.token, body.clone()).await;
        assert_eq!(written.expect(StatusCode::CREATED).body["visibility"], "followers");
        body["visibility"] = json!("public");
        let refused = service.post("/v1/posts", &ada.token, body).await;
        refused.expect_field(422, "visibility");
    }
    // What was public before is hidden as long as the account is protected.
    let (like, repost) = (
        format!("/v1/posts/{earlier}/like"),
        format!("/v1/posts/{earlier}/repost"),
    );
    service.put(&like, &bob.token).await.expect(StatusCode::NOT_FOUND);
    service.follow(&bob, &ada).await;
    service
        .answer_request(&bob, &ada, "accept")
        .await
        .expect(StatusCode::OK);
    service.put(&like, &bob.token).await.expect(StatusCode::OK);
    let refused = service.put(&repost, &bob.token).await.expect(StatusCode::FORBIDDEN);
    assert_eq!(refused.problem(), "not-public");
    service.put(&repost, &ada.token).await.expect(StatusCode::OK);
    service.protect(&ada, false).await;
    service.put(&repost, &bob.token).await.expect(StatusCode::OK);
}

/// The first request was answered under other circumstances. Its repetition gets the same answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_does_not_ask_for_the_protection_again() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    let create = async |key: &str, body: Value| {
        let request = service.request(Method::POST, "/v1/posts").bearer_auth(&ada.token);
        send(request.header("Idempotency-Key", key).json(&body)).await
    };
    let public = json!({ "text": "Hello", "visibility": "public" });
    let first = create("k1", public.clone()).await.expect(StatusCode::CREATED);
    service.protect(&ada, true).await;
    let again = create("k1", public.clone()).await.expect(StatusCode::CREATED);
    assert_eq!(again.body, first.body);
    create("k2", public).await.expect_field(422, "visibility");
    let first = create("k3", json!({ "text": "Hello" }))
        .await
        .expect(StatusCode::CREATED);
    assert_eq!(first.body["visibility"], "followers");
    service.protect(&ada, false).await;
    let again = create("k3", json!({ "text": "Hello" }))
        .await
        .expect(StatusCode::CREATED);
    assert_eq!(again.body, first.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_hides_posts_both_ways_and_refuses_follows() {
    let service = Service::start().await;
    let (ada, bob) = (service.user("ada").await, service.user("bob").await);
    let eve = service.user("eve").await;
    let (by_ada, by_bob) = (service.write(&ada, "Hello").await, service.write(&bob, "Hello").await);
    let by_eve = service.write(&eve, "Hello").await;
    let like = |post: &str| format!("/v1/posts/{post}/like");
    service.put(&like(&by_ada), &bob.token).await.expect(StatusCode::OK);
    service.follow(&bob, &ada).await;
    for _ in 0..2 {
        let blocked = service.block(&ada, &bob).await;
        // The follow is about to end.
        assert_eq!(true_fields(&blocked), ["blocking"]);
    }
    for (user, other, post) in [(&bob, &ada, &by_ada), (&ada, &bob, &by_bob)] {
        for path in [format!("/v1/posts/{post}/repost"), format!("/v1/posts/{post}/bookmark")] {
            service.put(&path, &user.token).await.expect(StatusCode::NOT_FOUND);
        }
        let reply = json!({ "text": "Well", "in_reply_to": post });
        service
            .post("/v1/posts", &user.token, reply)
            .await
            .expect(StatusCode::NOT_FOUND);
        let refused = service.put(&follow(other), &user.token).await;
        assert_eq!(refused.expect(StatusCode::FORBIDDEN).problem(), "blocked");
    }
    // What is one's own can be taken back, once.
    service.delete(&like(&by_ada), &bob.token).await.expect(StatusCode::OK);
    service
        .delete(&like(&by_ada), &bob.token)
        .await
        .expect(StatusCode::NOT_FOUND);
    // A repost by somebody blocked is hidden, whoever wrote the original.
    let repost = format!("/v1/posts/{by_eve}/repost");
    service.put(&repost, &ada.token).await.expect(StatusCode::OK);
    let reposted = service.stored().await.state("repost.reposted").await;
    let Some(Bson::Binary(repost)) = reposted.get("id") else {
        unreachable!()
    };
    let repost = repost.to_uuid().unwrap().to_string();
    service
        .put(&like(&repost), &bob.token)
        .await
        .expect(StatusCode::NOT_FOUND);
    service.put(&like(&by_eve), &bob.token).await.expect(StatusCode::OK);
    for _ in 0..2 {
        service.unblock(&ada, &bob).await;
    }
    service.put(&like(&repost), &bob.token).await.expect(StatusCode::OK);
    service.put(&like(&by_ada), &bob.token).await.expect(StatusCode::OK);
    assert_eq!(
        service.events_of("block", &ada, &bob).await,
        ["block.blocked", "block.unblocked"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_names_the_follows_of_its_time() {
    let service = Service::start().await;
    let (ada, bob) = (service.guarded("ada").await, service.user("bob").await);
    service.follow(&bob, &ada).await;
    service.block(&bob, &ada).await;
    // The block has ended the request.
    let refused = service.answer_request(&bob, &ada, "accept").await;
    refused.expect(StatusCode::NOT_FOUND);
    let block = service.stored().await.state("block.blocked").await;
    assert_eq!(
        block.get_document("ends").unwrap(),
        &doc! { "by_blocker": 1_i64, "by_blocked": 0_i64 }
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mute_lasts_as_long_as_it_says() {
    let service = Service::start().await;
    let (ada, bob) = (service.user("ada").await, service.user("bob").await);
    let path = format!("/v1/users/{}/mute", bob.id);
    let muted = service.put(&path, &ada.token).await.expect(StatusCode::OK);
    assert_eq!(true_fields(&muted), ["muting"]);
    assert_eq!(muted.body["muted_until"], Value::Null);
    let muted = service.mute(&ada, &bob, Value::Null).await.expect(StatusCode::OK);
    assert_eq!(true_fields(&muted), ["muting"]);
    let until = (Utc::now() + TimeDelta::hours(1)).format("%Y-%m-%dT%H:%M:%S.000Z");
    let body = json!({ "until": until.to_string(), "notifications": true });
    for _ in 0..2 {
        let muted = service.mute(&ada, &bob, body.clone()).await.expect(StatusCode::OK);
        assert_eq!(true_fields(&muted), ["muting"]);
        assert_eq!(muted.body["muted_until"], until.to_string());
    }
    service.clock.advance(std::time::Duration::from_secs(2 * 60 * 60));
    let later = service.session(&ada.id, "ada").await;
    let followed = service.put(&follow(&bob), &later.token).await.expect(StatusCode::OK);
    assert_eq!(true_fields(&followed), ["following"]);
    assert_eq!(followed.body["muted_until"], Value::Null);
    for _ in 0..2 {
        let unmuted = service.delete(&path, &later.token).await.expect(StatusCode::OK);
        assert_eq!(true_fields(&unmuted), ["following"]);
    }
    assert_eq!(
        service.events_of("mute", &ada, &bob).await,
        ["mute.muted", "mute.muted", "mute.unmuted"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mute_needs_an_end_that_can_come() {
    let service = Service::start().await;
    let (ada, bob) = (service.user("ada").await, service.user("bob").await);
    for until in ["2020-01-31T12:00:00Z", "tomorrow", "2030-01-31", ""] {
        let answer = service.mute(&ada, &bob, json!({ "until": until })).await;
        answer.expect_field(422, "until");
    }
    for bad in [json!([]), json!("1h")] {
        service.mute(&ada, &bob, bad).await.expect_field(422, "body");
    }
    let text = service.request(Method::PUT, &format!("/v1/users/{}/mute", bob.id));
    let text = send(text.bearer_auth(&ada.token).body("until tomorrow")).await;
    text.expect(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let unknown = service.mute(&ada, &bob, json!({ "for": "1h" })).await;
    unknown.expect_field(422, "for");
    assert_eq!(service.events_of("mute", &ada, &bob).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_blocks_or_mutes_themselves_or_somebody_who_is_gone() {
    let service = Service::start().await;
    let (ada, bob) = (service.user("ada").await, service.user("bob").await);
    service.delete_user(&bob.token).await.expect(StatusCode::NO_CONTENT);
    for what in ["block", "mute", "follow"] {
        let own = format!("/v1/users/{}/{what}", ada.id);
        let refused = service.put(&own, &ada.token).await.expect_field(422, "id");
        assert_eq!(refused.problem(), format!("{what}-oneself"));
        let gone = format!("/v1/users/{}/{what}", bob.id);
        service.put(&gone, &ada.token).await.expect(StatusCode::NOT_FOUND);
        service.delete(&gone, &ada.token).await.expect(StatusCode::NOT_FOUND);
    }
}
