//! Reports, and what moderators do.

use std::time::Duration;

use commands::{Cause, Retractions, Roles};
use event_log::event_store::{EventStore, Retries};
use model::ids::{PostId, ReportId};
use model::values::{Handle, Role};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::service::{Answer, Service, User, send};

impl Service {
    /// Gives a user a role, as `microblog role` does.
    async fn give(&self, handle: &str, role: Option<Role>) {
        let roles = Roles::open(&self.stored().await.0, self.clock.clone()).await.unwrap();
        let handle = Handle::parse(handle).unwrap();
        assert!(roles.set(&handle, role).await.unwrap());
        assert!(!roles.set(&handle, role).await.unwrap());
    }

    async fn moderator(&self, handle: &str, role: Role) -> User {
        let user = self.user(handle).await;
        self.give(handle, Some(role)).await;
        user
    }

    async fn report(&self, reporter: &User, user: &User, posts: &[&str]) -> Answer {
        let body = json!({ "user": user.id, "posts": posts, "comment": "Spam." });
        self.post("/v1/reports", &reporter.token, body).await
    }

    async fn suspend(&self, by: &User, user: &User) -> Answer {
        self.put(&suspension(user), &by.token).await
    }
}

fn hide(post: &str) -> String {
    format!("/v1/posts/{post}/hide")
}

fn suspension(user: &User) -> String {
    format!("/v1/users/{}/suspension", user.id)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_is_about_posts_that_the_reporter_sees() {
    let service = Service::start().await;
    let (ada, bob, eve) = (
        service.user("ada").await,
        service.user("bob").await,
        service.user("eve").await,
    );
    let (open, closed) = (
        service.write(&bob, "open").await,
        service.write_to_followers(&bob, "closed").await,
    );
    let other = service.write(&eve, "other").await;
    let answer = service
        .report(&ada, &bob, &[&open, &open])
        .await
        .expect(StatusCode::CREATED);
    assert_eq!(answer.body["posts"], json!([open]));
    assert_eq!(answer.body["state"], "open");
    assert_eq!(answer.body["comment"], "Spam.");
    assert_eq!(answer.body["resolved_by"], Value::Null);
    let unknown = PostId::from_bytes([1; 16]).to_string();
    for posts in [[&closed], [&other], [&unknown]] {
        service.report(&ada, &bob, &[posts[0]]).await.expect_field(422, "posts");
    }
    service
        .report(&ada, &bob, &[open.as_str(); 11])
        .await
        .expect_field(422, "posts");
    service.report(&ada, &ada, &[]).await.expect_field(422, "user");
    service.delete_user(&eve.token).await.expect(StatusCode::NO_CONTENT);
    service.report(&ada, &eve, &[]).await.expect_field(422, "user");
    let long = json!({ "user": bob.id, "comment": "x".repeat(1_001) });
    service
        .post("/v1/reports", &ada.token, long)
        .await
        .expect_field(422, "comment");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_with_a_key_is_made_once() {
    let service = Service::start().await;
    let (ada, bob) = (service.user("ada").await, service.user("bob").await);
    let post = service.write(&bob, "spam").await;
    let report = async |comment: &str| {
        let body = json!({ "user": bob.id, "posts": [&post], "comment": comment });
        let request = service.request(Method::POST, "/v1/reports").bearer_auth(&ada.token);
        send(request.header("Idempotency-Key", "once").json(&body)).await
    };
    let first = report("Spam.").await.expect(StatusCode::CREATED);
    // The reporter does not see the post any more. It is the same request.
    service
        .delete(&format!("/v1/posts/{post}"), &bob.token)
        .await
        .expect(StatusCode::NO_CONTENT);
    let again = report("Spam.").await.expect(StatusCode::CREATED);
    assert_eq!(again.body, first.body);
    let other = report("Other.").await.expect_field(422, "Idempotency-Key");
    assert_eq!(other.problem(), "idempotency-key-reused");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_moderators_act_and_only_admins_act_on_moderators() {
    let service = Service::start().await;
    let (ada, bob) = (service.user("ada").await, service.user("bob").await);
    let (mod1, mod2) = (
        service.moderator("mod1", Role::Moderator).await,
        service.moderator("mod2", Role::Moderator).await,
    );
    let root = service.moderator("root", Role::Admin).await;
    let act = async |by: &User, user: &User| {
        let post = service.write(user, "text").await;
        let report = service.report(&bob, user, &[&post]).await.expect(StatusCode::CREATED);
        let resolve = format!("/v1/reports/{}/resolve", report.text("id"));
        let mut answers = vec![service.post(&resolve, &by.token, Value::Null).await];
        answers.push(service.put(&hide(&post), &by.token).await);
        answers.push(service.delete(&hide(&post), &by.token).await);
        answers.push(service.put(&suspension(user), &by.token).await);
        answers.push(service.delete(&suspension(user), &by.token).await);
        answers
    };
    for (by, user, refused) in [
        (&ada, &mod1, Some("not-a-moderator")),
        (&mod1, &ada, None),
        (&mod1, &mod2, Some("not-an-admin")),
        (&mod1, &root, Some("not-an-admin")),
        (&root, &mod1, None),
        (&root, &ada, None),
    ] {
        for answer in act(by, user).await {
            match refused {
                None => drop(answer.expect(StatusCode::OK)),
                Some(problem) => assert_eq!(answer.expect(StatusCode::FORBIDDEN).problem(), problem),
            }
        }
    }
    // Whoever is no moderator learns nothing.
    let unknown = PostId::from_bytes([1; 16]).to_string();
    service
        .put(&hide(&unknown), &ada.token)
        .await
        .expect(StatusCode::FORBIDDEN);
    service
        .put(&hide(&unknown), &mod1.token)
        .await
        .expect(StatusCode::NOT_FOUND);
    let nothing = format!("/v1/reports/{}/resolve", ReportId::from_bytes([1; 16]));
    service
        .post(&nothing, &mod1.token, Value::Null)
        .await
        .expect(StatusCode::NOT_FOUND);
    let oneself = service.suspend(&root, &root).await.expect_field(422, "id");
    assert_eq!(oneself.problem(), "suspend-oneself");
    // The role of somebody who is deleted protects nobody.
    let about = service.report(&bob, &mod2, &[]).await.expect(StatusCode::CREATED);
    let resolve = format!("/v1/reports/{}/resolve", about.text("id"));
    let refused = service.post(&resolve, &mod1.token, Value::Null).await;
    assert_eq!(refused.expect(StatusCode::FORBIDDEN).problem(), "not-an-admin");
    service.delete_user(&mod2.token).await.expect(StatusCode::NO_CONTENT);
    service
        .post(&resolve, &mod1.token, Value::Null)
        .await
        .expect(StatusCode::OK);
    // A role that was taken is over at once.
    service.give("mod1", None).await;
    service.suspend(&mod1, &ada).await.expect(StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_act_is_one_event_by_its_moderator() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    let judge = service.moderator("judge", Role::Moderator).await;
    let post = service.write(&ada, "text").await;
    let report = service.report(&judge, &ada, &[]).await.expect(StatusCode::CREATED);
    let resolve = format!("/v1/reports/{}/resolve", report.text("id"));
    for _ in 0..2 {
        let answer = service.put(&hide(&post), &judge.token).await.expect(StatusCode::OK);
        assert_eq!(answer.body, json!({ "hidden": true }));
        assert!(!answer.header("consistency-token").is_empty());
        let answer = service.suspend(&judge, &ada).await.expect(StatusCode::OK);
        assert_eq!(answer.body, json!({ "suspended": true }));
        let answer = service.post(&resolve, &judge.token, Value::Null).await;
        assert_eq!(answer.expect(StatusCode::OK).body["state"], "resolved");
    }
    for _ in 0..2 {
        let answer = service.delete(&hide(&post), &judge.token).await.expect(StatusCode::OK);
        assert_eq!(answer.body, json!({ "hidden": false }));
        let answer = service
            .delete(&suspension(&ada), &judge.token)
            .await
            .expect(StatusCode::OK);
        assert_eq!(answer.body, json!({ "suspended": false }));
    }
    let stored = service.stored().await;
    for (stream, expected) in [
        (
            format!("post-{post}"),
            &["post.created", "post.hidden", "post.unhidden"],
        ),
        (
            format!("user-{}", ada.id),
            &["user.registered", "user.suspended", "user.restored"],
        ),
    ] {
        assert_eq!(stored.stream(&stream).await, expected);
    }
    let by_judge = bson::doc! { "actor": judge.id.parse::<model::ids::UserId>().unwrap() };
    // The registration, the role, the report and its end, and four acts.
    assert_eq!(stored.count("events", by_judge).await, 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_reacts_to_what_a_moderator_hides() {
    let service = Service::start().await;
    let (ada, bob) = (service.user("ada").await, service.user("bob").await);
    let judge = service.moderator("judge", Role::Moderator).await;
    let [hidden, of_suspended] = [service.write(&ada, "one").await, service.write(&bob, "two").await];
    let like = |post: &str| format!("/v1/posts/{post}/like");
    service.put(&like(&hidden), &bob.token).await.expect(StatusCode::OK);
    service.put(&hide(&hidden), &judge.token).await.expect(StatusCode::OK);
    service.suspend(&judge, &bob).await.expect(StatusCode::OK);
    for post in [&hidden, &of_suspended] {
        for reaction in ["like", "repost", "bookmark"] {
            let answer = service.put(&format!("/v1/posts/{post}/{reaction}"), &judge.token).await;
            answer.expect(StatusCode::NOT_FOUND);
        }
        let reply = json!({ "text": "reply", "in_reply_to": post });
        service
            .post("/v1/posts", &judge.token, reply)
            .await
            .expect(StatusCode::NOT_FOUND);
    }
    // The author still has it, and an edit does not show it again.
    let edit = json!({ "text": "edited" });
    let edited = service.patch(&format!("/v1/posts/{hidden}"), &ada.token, edit).await;
    assert_eq!(edited.expect(StatusCode::OK).body["hidden"], true);
    service
        .put(&like(&hidden), &judge.token)
        .await
        .expect(StatusCode::NOT_FOUND);
    service
        .delete(&format!("/v1/posts/{hidden}"), &ada.token)
        .await
        .expect(StatusCode::NO_CONTENT);
    service.delete_user(&bob.token).await.expect(StatusCode::NO_CONTENT);
    service
        .delete(&suspension(&bob), &judge.token)
        .await
        .expect(StatusCode::NOT_FOUND);
}

/// Reads the routes from the description, so that none is forgotten.
#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_user_writes_nothing_and_keeps_the_account() {
    /// What is left to a suspended user, who also reads as before.
    const ALLOWED: [&str; 8] = [
        "POST /v1/users",
        "POST /v1/users/password-resets",
        "POST /v1/sessions",
        "POST /v1/sessions/refresh",
        "DELETE /v1/sessions/current",
        "DELETE /v1/sessions/{id}",
        "DELETE /v1/users/me",
        "POST /v1/streams/tickets",
    ];
    let service = Service::start().await;
    let (ada, bob) = (service.user("ada").await, service.user("bob").await);
    let judge = service.moderator("judge", Role::Moderator).await;
    let post = service.write(&ada, "text").await;
    service.suspend(&judge, &ada).await.expect(StatusCode::OK);
    let events = async || service.stored().await.count("events", bson::doc! {}).await;
    let before = events().await;

    // Whoever adds a route with a body adds it here.
    let body = |route: &str| match route {
        "POST /v1/posts" => json!({ "text": "text", "visibility": "followers" }),
        "PATCH /v1/posts/{id}" => json!({ "text": "other" }),
        "PATCH /v1/users/me" => json!({ "bio": "A life." }),
        "POST /v1/reports" => json!({ "user": bob.id }),
        "POST /v1/lists" => json!({ "title": "Friends" }),
        "PATCH /v1/lists/{id}" => json!({ "exclusive": true }),
        "POST /v1/filters" => json!({ "phrases": ["a word"], "contexts": ["home"] }),
        "PATCH /v1/filters/{id}" => json!({ "whole_word": true }),
        "PUT /v1/notifications/read" => json!({ "up_to": PostId::from_bytes([1; 16]) }),
        _ => Value::Null,
    };
    let described: Value = serde_json::to_value(command_svc::openapi()).unwrap();
    for (path, operations) in described["paths"].as_object().unwrap() {
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            let route = format!("{method} {path}");
            if operations.get(method.as_str().to_lowercase()).is_none() || ALLOWED.contains(&route.as_str()) {
                continue;
            }
            let id = if path.starts_with("/v1/posts") { &post } else { &bob.id };
            let concrete = path
                .replace("{id}", id)
                .replace("{user}", &bob.id)
                .replace("{quote}", &post)
                .replace("{tag}", "rust");
            let mut request = service.request(method, &concrete).bearer_auth(&ada.token);
            if !body(&route).is_null() {
                request = request.json(&body(&route));
            }
            let answer = send(request).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{route}: {}", answer.body);
            assert_eq!(answer.problem(), "suspended", "{route}");
        }
    }
    assert_eq!(events().await, before, "nothing was written");

    let again = service.session(&ada.id, "ada").await;
    let me = send(service.request(Method::GET, "/v1/users/me").bearer_auth(&again.token)).await;
    assert_eq!(me.expect(StatusCode::OK).body["suspended"], true);
    let password = json!({ "password": "another password", "current_password": crate::service::PASSWORD });
    let changed = service.patch("/v1/users/me", &again.token, password).await;
    changed.expect(StatusCode::OK);
    service
        .delete("/v1/sessions/current", &again.token)
        .await
        .expect(StatusCode::NO_CONTENT);
    service
        .delete(&suspension(&ada), &judge.token)
        .await
        .expect(StatusCode::OK);
    service.write(&ada, "I am back").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_words_of_a_deleted_reporter_go_and_the_report_stays() {
    let service = Service::start().await;
    let (ada, bob) = (service.user("ada").await, service.user("bob").await);
    let judge = service.moderator("judge", Role::Moderator).await;
    let resolve = |report: &Answer| format!("/v1/reports/{}/resolve", report.text("id"));
    let report = async || service.report(&ada, &bob, &[]).await.expect(StatusCode::CREATED);
    let (open, resolved) = (report().await, report().await);
    service
        .post(&resolve(&resolved), &judge.token, Value::Null)
        .await
        .expect(StatusCode::OK);
    assert!(service.stored().await.mentions("Spam.").await);
    let store = EventStore::open(service.stored().await.0, service.clock.clone(), Retries::default())
        .await
        .unwrap();
    let retractions = Retractions::new(store, Duration::from_secs(30));
    let cause = Cause {
        actor: ada.id.parse().unwrap(),
        correlation_id: "a deletion".to_owned(),
        causation_id: None,
        traceparent: None,
    };
    for report in [&open, &resolved] {
        let id: ReportId = report.text("id").parse().unwrap();
        assert!(retractions.redact_report(id, &cause).await.unwrap().is_some());
        assert!(retractions.redact_report(id, &cause).await.unwrap().is_none());
    }
    assert!(!service.stored().await.mentions("Spam.").await);
    // Also a report of a user who is deleted can be resolved.
    service.delete_user(&bob.token).await.expect(StatusCode::NO_CONTENT);
    let answer = service.post(&resolve(&open), &judge.token, Value::Null).await;
    let answer = answer.expect(StatusCode::OK);
    assert_eq!(
        (&answer.body["comment"], &answer.body["state"]),
        (&Value::Null, &json!("resolved"))
    );
}
