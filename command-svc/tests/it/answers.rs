//! Example answers, as clients can rely on them.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::service::{Answer, PASSWORD, Service};

/// Replaces ids, times and tokens by placeholders.
fn redacted(value: &Value) -> Value {
    match value {
        Value::String(text) if uuid::Uuid::try_parse(text).is_ok() => json!("[id]"),
        Value::String(text) if chrono::DateTime::parse_from_rfc3339(text).is_ok() => json!("[time]"),
        Value::String(text) if text.len() > 70 && !text.contains(' ') => json!("[token]"),
        Value::Array(items) => items.iter().map(redacted).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), redacted(value)))
            .collect(),
        other => other.clone(),
    }
}

fn shown(answer: &Answer) -> Value {
    let header = |name: &str| answer.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let location = header("location").map(|location| {
        let (place, _id) = location.rsplit_once('/').unwrap();
        format!("{place}/[id]")
    });
    json!({
        "status": answer.status.as_u16(),
        "location": location,
        "etag": header("etag"),
        "consistency-token": header("consistency-token").is_some(),
        "body": redacted(&answer.body),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn of_users_and_sessions() {
    let service = Service::start().await;
    let body = json!({ "handle": "ada", "email": "ada@example.org", "password": PASSWORD, "display_name": "Ada" });
    let registered = service.post_anonymously("/v1/users", body.clone()).await;
    insta::assert_json_snapshot!("registered", shown(&registered));
    insta::assert_json_snapshot!(
        "handle_taken",
        shown(&service.post_anonymously("/v1/users", body).await)
    );
    let session = service.log_in("ada").await;
    insta::assert_json_snapshot!("logged_in", shown(&session));
    let token = session.text("access_token");
    let refresh = json!({ "refresh_token": session.text("refresh_token") });
    insta::assert_json_snapshot!(
        "refreshed",
        shown(&service.post_anonymously("/v1/sessions/refresh", refresh).await)
    );
    let wrong = json!({ "handle": "ada", "password": "wrong" });
    insta::assert_json_snapshot!(
        "login_failed",
        shown(&service.post_anonymously("/v1/sessions", wrong).await)
    );
    let bio = json!({ "bio": "Notes on an engine." });
    insta::assert_json_snapshot!("changed", shown(&service.patch("/v1/users/me", &token, bio).await));
    let bad = json!({ "handle": "no spaces", "email": "nothing", "password": "short" });
    insta::assert_json_snapshot!("invalid", shown(&service.post_anonymously("/v1/users", bad).await));
    let without = service.post("/v1/posts", "nonsense", json!({ "text": "Hello" })).await;
    insta::assert_json_snapshot!("token_not_good", shown(&without));
    insta::assert_json_snapshot!(
        "logged_out",
        shown(&service.delete("/v1/sessions/current", &token).await)
    );
    let token = service.log_in("ada").await.text("access_token");
    insta::assert_json_snapshot!("user_deleted", shown(&service.delete_user(&token).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_posts_and_what_people_do_with_them() {
    let service = Service::start().await;
    let (ada, bob) = (service.user("ada").await, service.user("bob").await);
    let text = json!({ "text": "Hi @bob, see https://example.org #rust" });
    let created = service.post("/v1/posts", &ada.token, text).await;
    insta::assert_json_snapshot!("created", shown(&created));
    let id = created.text("id");
    let reply = json!({ "text": "Hi!", "in_reply_to": id, "visibility": "followers" });
    let replied = service.post("/v1/posts", &bob.token, reply).await;
    insta::assert_json_snapshot!("replied", shown(&replied));
    let edited = service
        .patch(&format!("/v1/posts/{id}"), &ada.token, json!({ "text": "Hi." }))
        .await;
    insta::assert_json_snapshot!("edited", shown(&edited));
    let anothers = service
        .patch(&format!("/v1/posts/{id}"), &bob.token, json!({ "text": "Mine." }))
        .await;
    insta::assert_json_snapshot!("anothers", shown(&anothers));
    let hidden = service
        .put(&format!("/v1/posts/{}/like", replied.text("id")), &ada.token)
        .await;
    insta::assert_json_snapshot!("hidden", shown(&hidden));
    let own = service
        .put(&format!("/v1/posts/{}/repost", replied.text("id")), &bob.token)
        .await;
    insta::assert_json_snapshot!("not_public", shown(&own));
    insta::assert_json_snapshot!(
        "liked",
        shown(&service.put(&format!("/v1/posts/{id}/like"), &bob.token).await)
    );
    insta::assert_json_snapshot!(
        "reposted",
        shown(&service.put(&format!("/v1/posts/{id}/repost"), &bob.token).await)
    );
    let follow = service
        .put(&format!("/v1/users/{}/follow", ada.id), &bob.token)
        .await
        .expect(StatusCode::OK);
    insta::assert_json_snapshot!("followed", shown(&follow));
    let bad_id = service.put("/v1/posts/1/like", &bob.token).await;
    insta::assert_json_snapshot!("bad_id", shown(&bad_id));
    insta::assert_json_snapshot!(
        "post_deleted",
        shown(&service.delete(&format!("/v1/posts/{id}"), &ada.token).await)
    );
}
