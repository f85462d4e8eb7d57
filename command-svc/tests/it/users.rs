//! Registering, changing, deleting.

use bson::doc;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::service::{PASSWORD, Service, send};

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_registered_with_a_place_to_look_at() {
    let service = Service::start().await;
    let body = json!({ "handle": "Ada", "email": "Ada@Example.org", "password": PASSWORD, "display_name": " Ada L. " });
    let answer = service
        .post_anonymously("/v1/users", body)
        .await
        .expect(StatusCode::CREATED);
    assert_eq!(answer.body["handle"], "ada");
    assert_eq!(answer.body["display_name"], "Ada L.");
    assert_eq!(answer.body["bio"], "");
    assert_eq!(answer.body.get("counts"), None);
    assert_eq!(answer.body.get("email"), None);
    assert_eq!(answer.header("location"), format!("/v1/users/{}", answer.text("id")));
    assert_eq!(answer.header("etag"), "\"1\"");
    assert!(!answer.header("consistency-token").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_gives_no_display_name_is_shown_by_handle() {
    let service = Service::start().await;
    let answer = service.register("ada").await.expect(StatusCode::CREATED);
    assert_eq!(answer.body["display_name"], "ada");
}

#[tokio::test(flavor = "multi_thread")]
async fn handles_and_addresses_are_taken_once_whatever_their_case() {
    let service = Service::start().await;
    service.register("ada").await.expect(StatusCode::CREATED);
    let register = |handle: &str, email: &str| {
        service.post_anonymously(
            "/v1/users",
            json!({ "handle": handle, "email": email, "password": PASSWORD }),
        )
    };
    let handle = register("ADA", "other@example.org").await.expect_field(409, "handle");
    assert_eq!(handle.problem(), "handle-taken");
    let email = register("bob", "ADA@example.org").await.expect_field(409, "email");
    assert_eq!(email.problem(), "email-taken");
    register("bob", "bob@example.org").await.expect(StatusCode::CREATED);
    let stored = service.stored().await;
    assert_eq!(stored.count("events", doc! {}).await, 2);
    assert_eq!(stored.count("credentials", doc! {}).await, 2);
    assert_eq!(stored.count("claims", doc! {}).await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_and_addresses_enter_no_event() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    service
        .patch(
            "/v1/users/me",
            &ada.token,
            json!({ "email": "new@example.org", "password": "another password", "current_password": PASSWORD }),
        )
        .await
        .expect(StatusCode::OK);
    let stored = service.stored().await;
    let events = format!("{:?}", stored.all("events", doc! {}).await);
    for secret in ["example.org", PASSWORD, "another password", "argon2"] {
        assert!(!events.contains(secret), "{secret}");
    }
    assert!(!stored.mentions("another password").await);
    assert!(!stored.mentions(&ada.refresh_token).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_is_changed_field_by_field() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    let answer = service
        .patch("/v1/users/me", &ada.token, json!({ "bio": "An engine.\nNotes." }))
        .await;
    let answer = answer.expect(StatusCode::OK);
    assert_eq!(answer.body["bio"], "An engine.\nNotes.");
    assert_eq!(answer.body["display_name"], "ada");
    assert_eq!(answer.header("etag"), "\"2\"");
    let answer = service
        .patch("/v1/users/me", &ada.token, json!({ "bio": "", "display_name": "Ada" }))
        .await;
    let answer = answer.expect(StatusCode::OK);
    assert_eq!(
        (&answer.body["bio"], &answer.body["display_name"]),
        (&json!(""), &json!("Ada"))
    );
    let stored = service.stored().await;
    let expected = ["user.registered", "user.profile_changed", "user.profile_changed"];
    assert_eq!(stored.stream(&format!("user-{}", ada.id)).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fields_of_a_profile_are_replaced_together() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    let change = async |body: Value| {
        service
            .patch("/v1/users/me", &ada.token, body)
            .await
            .expect(StatusCode::OK)
    };
    let fields = json!([{ "name": " Web ", "value": "https://example.org" }, { "name": "Web", "value": "two" }]);
    let answer = change(json!({ "fields": fields })).await;
    let kept = json!([{ "name": "Web", "value": "https://example.org" }, { "name": "Web", "value": "two" }]);
    assert_eq!((&answer.body["fields"], &answer.body["avatar"]), (&kept, &json!(null)));
    assert_eq!(change(json!({ "bio": "Notes." })).await.body["fields"], kept);
    assert_eq!(change(json!({ "fields": [] })).await.body["fields"], json!([]));
    let stored = service.stored().await;
    let stream = doc! { "stream": format!("user-{}", ada.id) };
    let mut schemas: Vec<(i64, i32)> = Vec::new();
    for event in stored.all("events", stream).await {
        schemas.push((event.get_i64("version").unwrap(), event.get_i32("schema").unwrap()));
    }
    schemas.sort_unstable();
    assert_eq!(
        schemas,
        [(1, 1), (2, 2), (3, 2), (4, 1)],
        "only a profile with fields needs the new schema"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_to_what_is_there_writes_nothing() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    for same in [
        json!({}),
        json!({ "display_name": "ada" }),
        json!({ "email": "ADA@example.org", "current_password": PASSWORD }),
    ] {
        let answer = service
            .patch("/v1/users/me", &ada.token, same)
            .await
            .expect(StatusCode::OK);
        assert_eq!(answer.header("etag"), "\"1\"");
        assert!(!answer.header("consistency-token").is_empty());
    }
    assert_eq!(service.stored().await.count("events", doc! {}).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_another_version_is_refused() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    let change = |version: &'static str, bio: &'static str| {
        let request = service.request(Method::PATCH, "/v1/users/me").bearer_auth(&ada.token);
        send(request.header("If-Match", version).json(&json!({ "bio": bio })))
    };
    change("\"1\"", "One.").await.expect(StatusCode::OK);
    change("\"1\"", "Two.").await.expect_field(412, "If-Match");
    change("*", "Two.").await.expect(StatusCode::OK);
    change("3", "Three.").await.expect_field(400, "If-Match");
    change("\"2\", \"3\"", "Three.").await.expect(StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_address_is_reserved_and_the_former_one_is_free() {
    let service = Service::start().await;
    let (ada, bob) = (service.user("ada").await, service.user("bob").await);
    let email = |email: &str| json!({ "email": email, "current_password": PASSWORD });
    let taken = service
        .patch("/v1/users/me", &ada.token, email("bob@example.org"))
        .await;
    taken.expect_field(409, "email");
    service
        .patch("/v1/users/me", &ada.token, email("ada@example.net"))
        .await
        .expect(StatusCode::OK);
    service
        .patch("/v1/users/me", &bob.token, email("ada@example.org"))
        .await
        .expect(StatusCode::OK);
    let log_in =
        |email: &str| service.post_anonymously("/v1/sessions", json!({ "email": email, "password": PASSWORD }));
    log_in("ada@example.net").await.expect(StatusCode::CREATED);
    log_in("ada@example.org").await.expect(StatusCode::CREATED);
    log_in("bob@example.org").await.expect(StatusCode::UNAUTHORIZED);
    let stream = service.stored().await.stream(&format!("user-{}", ada.id)).await;
    assert_eq!(stream, ["user.registered", "user.credentials_changed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_ends_the_other_sessions() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    let other = service
        .log_in("ada")
        .await
        .expect(StatusCode::CREATED)
        .text("refresh_token");
    let body = json!({ "password": "another password", "display_name": "Ada", "current_password": PASSWORD });
    let changed = service
        .patch("/v1/users/me", &ada.token, body)
        .await
        .expect(StatusCode::OK);
    assert_eq!(changed.body["display_name"], "Ada");

    let refresh = |token: &str| service.post_anonymously("/v1/sessions/refresh", json!({ "refresh_token": token }));
    refresh(&other).await.expect(StatusCode::UNAUTHORIZED);
    refresh(&ada.refresh_token).await.expect(StatusCode::OK);
    service.log_in("ada").await.expect(StatusCode::UNAUTHORIZED);
    let body = json!({ "handle": "ada", "password": "another password" });
    service
        .post_anonymously("/v1/sessions", body)
        .await
        .expect(StatusCode::CREATED);
    let stream = service.stored().await.stream(&format!("user-{}", ada.id)).await;
    assert_eq!(stream, ["user.registered", "user.credentials_changed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_deleted_leaves_a_handle_and_nothing_else() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    let fields = json!([{ "name": "Kin", "value": "Byron" }]);
    let change = json!({ "display_name": "Countess", "bio": "Notes on an engine.", "fields": fields });
    service
        .patch("/v1/users/me", &ada.token, change)
        .await
        .expect(StatusCode::OK);
    let answer = service.delete_user(&ada.token).await.expect(StatusCode::NO_CONTENT);
    assert!(!answer.header("consistency-token").is_empty());

    let stored = service.stored().await;
    let stream = stored.stream(&format!("user-{}", ada.id)).await;
    assert_eq!(stream, ["user.registered", "user.profile_changed", "user.deleted"]);
    for gone in ["Countess", "engine", "Kin", "Byron", "example.org", "argon2"] {
        assert!(!stored.mentions(gone).await, "{gone}");
    }
    assert_eq!(stored.count("sessions", doc! {}).await, 0);

    // The token stays valid for some minutes, but its user does not exist any more.
    for answer in [
        service.delete_user(&ada.token).await,
        service
            .patch("/v1/users/me", &ada.token, json!({ "bio": "Back." }))
            .await,
        service.log_in("ada").await,
        service
            .post_anonymously("/v1/sessions/refresh", json!({ "refresh_token": ada.refresh_token }))
            .await,
    ] {
        answer.expect(StatusCode::UNAUTHORIZED);
    }
    // The address may be used again, the handle may not.
    let register = |handle: &str| {
        let body = json!({ "handle": handle, "email": "ada@example.org", "password": PASSWORD });
        service.post_anonymously("/v1/users", body)
    };
    register("ada").await.expect_field(409, "handle");
    register("ada2").await.expect(StatusCode::CREATED);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_version_that_was_seen_is_deleted() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    let delete = |version: &'static str| {
        let request = service.request(Method::DELETE, "/v1/users/me").bearer_auth(&ada.token);
        send(
            request
                .header("If-Match", version)
                .json(&json!({ "current_password": PASSWORD })),
        )
    };
    delete("\"2\"").await.expect(StatusCode::PRECONDITION_FAILED);
    delete("\"1\"").await.expect(StatusCode::NO_CONTENT);
}

/// A command that changes a count that others see is refused. What nobody can see, the deletion sweep takes back.
#[tokio::test(flavor = "multi_thread")]
async fn the_token_of_somebody_who_is_deleted_changes_no_count() {
    let service = Service::start().await;
    let [ada, bob, eve] = [
        service.user("ada").await,
        service.user("bob").await,
        service.user("eve").await,
    ];
    let post = service.write(&bob, "Hello").await;
    let secret = service.write_to_followers(&eve, "Hello, friends").await;
    service.follow(&ada, &eve).await;
    service.delete_user(&ada.token).await.expect(StatusCode::NO_CONTENT);
    let before = service.stored().await.count("events", doc! {}).await;
    for answer in [
        service.put(&format!("/v1/posts/{post}/like"), &ada.token).await,
        service.put(&format!("/v1/posts/{secret}/like"), &ada.token).await,
        service.put(&format!("/v1/posts/{post}/repost"), &ada.token).await,
        service.put(&format!("/v1/users/{}/follow", bob.id), &ada.token).await,
        service.put(&format!("/v1/users/{}/follow", eve.id), &ada.token).await,
        service
            .post(
                "/v1/posts",
                &ada.token,
                json!({ "text": "Hello, too", "in_reply_to": post }),
            )
            .await,
    ] {
        assert_eq!(answer.expect(StatusCode::UNAUTHORIZED).problem(), "invalid-token");
    }
    assert_eq!(service.stored().await.count("events", doc! {}).await, before);
    service.write(&ada, "Nobody sees this.").await;
}
