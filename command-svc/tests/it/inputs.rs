//! Bad input is answered with a problem that names the field, never with a 500.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::service::{PASSWORD, Service, send};

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_field_is_named() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    let post = service.write(&ada, "Hello").await;
    let edit = format!("/v1/posts/{post}");
    let user = |field: &str, value: Value| {
        let mut body = json!({ "handle": "bob", "email": "bob@example.org", "password": PASSWORD });
        body[field] = value;
        body
    };
    let long = |length: usize| Value::from("x".repeat(length));
    let cases: Vec<(Method, &str, Value, &str)> = vec![
        (Method::POST, "/v1/users", user("handle", json!("")), "handle"),
        (Method::POST, "/v1/users", user("handle", json!("no spaces")), "handle"),
        (Method::POST, "/v1/users", user("handle", json!("ünïcode")), "handle"),
        (Method::POST, "/v1/users", user("handle", long(31)), "handle"),
        (Method::POST, "/v1/users", user("handle", json!(5)), "handle"),
        (Method::POST, "/v1/users", user("handle", json!(null)), "handle"),
        (
            Method::POST,
            "/v1/users",
            user("handle", json!({ "$ne": "" })),
            "handle",
        ),
        (Method::POST, "/v1/users", user("email", json!("nothing")), "email"),
        (
            Method::POST,
            "/v1/users",
            user("email", json!(["a@example.org"])),
            "email",
        ),
        (
            Method::POST,
            "/v1/users",
            user("password", json!("1234567")),
            "password",
        ),
        (Method::POST, "/v1/users", user("password", long(257)), "password"),
        (
            Method::POST,
            "/v1/users",
            user("display_name", json!("")),
            "display_name",
        ),
        (
            Method::POST,
            "/v1/users",
            user("display_name", json!("two\nlines")),
            "display_name",
        ),
        (
            Method::POST,
            "/v1/users",
            user("display_name", long(51)),
            "display_name",
        ),
        (Method::POST, "/v1/users", user("admin", json!(true)), "admin"),
        (
            Method::POST,
            "/v1/users",
            json!({ "handle": "bob", "password": PASSWORD }),
            "email",
        ),
        (Method::POST, "/v1/users", json!([]), "body"),
        (Method::POST, "/v1/users", json!("bob"), "body"),
        (
            Method::PATCH,
            "/v1/users/me",
            json!({ "display_name": " " }),
            "display_name",
        ),
        (Method::PATCH, "/v1/users/me", json!({ "bio": long(301) }), "bio"),
        (Method::PATCH, "/v1/users/me", json!({ "bio": "\u{0}" }), "bio"),
        (Method::PATCH, "/v1/users/me", json!({ "email": "nothing" }), "email"),
        (
            Method::PATCH,
            "/v1/users/me",
            json!({ "password": "short" }),
            "password",
        ),
        (Method::PATCH, "/v1/users/me", json!({ "handle": "another" }), "handle"),
        (Method::PATCH, "/v1/users/me", json!({ "bio": 1 }), "bio"),
        (
            Method::PATCH,
            "/v1/users/me",
            json!({ "fields": [{ "name": "Web", "value": "x" }, { "name": " ", "value": "x" }] }),
            "fields[1].name",
        ),
        (
            Method::PATCH,
            "/v1/users/me",
            json!({ "fields": [{ "name": long(65), "value": "x" }] }),
            "fields[0].name",
        ),
        (
            Method::PATCH,
            "/v1/users/me",
            json!({ "fields": [{ "name": "Web", "value": long(257) }] }),
            "fields[0].value",
        ),
        (
            Method::PATCH,
            "/v1/users/me",
            json!({ "fields": [{ "name": "Web", "value": "two\nlines" }] }),
            "fields[0].value",
        ),
        (
            Method::PATCH,
            "/v1/users/me",
            json!({ "fields": [{ "name": "Web" }] }),
            "fields[0].value",
        ),
        (
            Method::PATCH,
            "/v1/users/me",
            json!({ "fields": vec![json!({ "name": "Web", "value": "x" }); 5] }),
            "fields",
        ),
        (Method::PATCH, "/v1/users/me", json!({ "fields": {} }), "fields"),
        (Method::POST, "/v1/sessions", json!({ "password": PASSWORD }), "handle"),
        (
            Method::POST,
            "/v1/sessions",
            json!({ "handle": "a", "email": "b", "password": "c" }),
            "email",
        ),
        (Method::POST, "/v1/sessions", json!({ "handle": "ada" }), "password"),
        (
            Method::POST,
            "/v1/sessions",
            json!({ "handle": "ada", "password": { "$ne": "" } }),
            "password",
        ),
        (Method::POST, "/v1/sessions/refresh", json!({}), "refresh_token"),
        (
            Method::POST,
            "/v1/sessions/refresh",
            json!({ "refresh_token": 1 }),
            "refresh_token",
        ),
        (Method::POST, "/v1/posts", json!({}), "text"),
        (Method::POST, "/v1/posts", json!({ "text": "" }), "text"),
        (Method::POST, "/v1/posts", json!({ "text": " \n\t " }), "text"),
        (Method::POST, "/v1/posts", json!({ "text": null }), "text"),
        (Method::POST, "/v1/posts", json!({ "text": long(501) }), "text"),
        (
            Method::POST,
            "/v1/posts",
            json!({ "text": "e\u{301}".repeat(501) }),
            "text",
        ),
        (
            Method::POST,
            "/v1/posts",
            json!({ "text": format!("a{}", "\u{301}".repeat(10_000)) }),
            "text",
        ),
        (Method::POST, "/v1/posts", json!({ "text": "bell \u{7}" }), "text"),
        (Method::POST, "/v1/posts", json!({ "text": "a\u{85}b" }), "text"),
        (
            Method::POST,
            "/v1/posts",
            json!({ "text": "Hello", "visibility": "private" }),
            "visibility",
        ),
        (
            Method::POST,
            "/v1/posts",
            json!({ "text": "Hello", "in_reply_to": "1" }),
            "in_reply_to",
        ),
        (
            Method::POST,
            "/v1/posts",
            json!({ "text": "Hello", "in_reply_to": 1 }),
            "in_reply_to",
        ),
        (
            Method::POST,
            "/v1/posts",
            json!({ "text": "Hello", "extra": 1 }),
            "extra",
        ),
        (Method::PATCH, &edit, json!({ "text": "" }), "text"),
        (
            Method::PATCH,
            &edit,
            json!({ "text": "Hello", "visibility": "public" }),
            "visibility",
        ),
        (Method::PATCH, &edit, json!({ "text": null }), "text"),
        (Method::PATCH, &edit, json!({ "warning": "" }), "warning"),
        (Method::PATCH, &edit, json!({ "warning": long(501) }), "warning"),
        (Method::PATCH, &edit, json!({ "language": "english" }), "language"),
        (
            Method::POST,
            "/v1/posts",
            json!({ "text": "Hello", "warning": " " }),
            "warning",
        ),
        (
            Method::POST,
            "/v1/posts",
            json!({ "text": "Hello", "warning": "bell \u{7}" }),
            "warning",
        ),
        (
            Method::POST,
            "/v1/posts",
            json!({ "text": "Hello", "language": "en_US" }),
            "language",
        ),
        (
            Method::POST,
            "/v1/posts",
            json!({ "text": "Hello", "language": 5 }),
            "language",
        ),
    ];
    for (method, path, body, field) in cases {
        let case = format!("{method} {path} {body:.200}");
        let answer = send(service.request(method, path).bearer_auth(&ada.token).json(&body)).await;
        assert_eq!(
            answer.status,
            StatusCode::UNPROCESSABLE_ENTITY,
            "{case}: {}",
            answer.body
        );
        answer.expect_field(422, field);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_is_wrong_is_told_at_once() {
    let service = Service::start().await;
    let body = json!({ "handle": "no spaces", "email": "nothing", "password": "short", "display_name": "" });
    let answer = service.post_anonymously("/v1/users", body).await;
    let answer = answer
        .expect_field(422, "handle")
        .expect_field(422, "email")
        .expect_field(422, "password");
    answer.expect_field(422, "display_name");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_id_in_a_path_is_named() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    for id in [
        "1",
        "me",
        "0198c0de000070008000000000000001",
        "%00",
        "..%2f..",
        &"9".repeat(2_000),
    ] {
        for path in [
            format!("/v1/posts/{id}/like"),
            format!("/v1/posts/{id}/repost"),
            format!("/v1/users/{id}/follow"),
        ] {
            service.put(&path, &ada.token).await.expect_field(400, "id");
            service.delete(&path, &ada.token).await.expect_field(400, "id");
        }
        let path = format!("/v1/posts/{id}");
        service
            .patch(&path, &ada.token, json!({ "text": "Hello" }))
            .await
            .expect_field(400, "id");
        service.delete(&path, &ada.token).await.expect_field(400, "id");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_none_is_refused() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    let post = |content_type: &'static str, body: Vec<u8>| {
        let request = service.request(Method::POST, "/v1/posts").bearer_auth(&ada.token);
        send(request.header("Content-Type", content_type).body(body))
    };
    post("application/json", b"".to_vec())
        .await
        .expect(StatusCode::BAD_REQUEST);
    post("application/json", b"{\"text\":".to_vec())
        .await
        .expect(StatusCode::BAD_REQUEST);
    post("application/json", b"{\"text\":\"\xff\"}".to_vec())
        .await
        .expect(StatusCode::BAD_REQUEST);
    post("application/json", b"{\"text\":\"a\"}{}".to_vec())
        .await
        .expect(StatusCode::BAD_REQUEST);
    post("text/plain", b"{\"text\":\"a\"}".to_vec())
        .await
        .expect(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let large = format!("{{\"text\":\"{}\"}}", "x".repeat(64 * 1024));
    post("application/json", large.into_bytes())
        .await
        .expect(StatusCode::PAYLOAD_TOO_LARGE);
    let duplicate = post("application/json", b"{\"text\":\"a\",\"text\":\"b\"}".to_vec()).await;
    duplicate.expect_field(422, "text");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consistency_token_is_passed_on_or_refused() {
    let service = Service::start().await;
    let (ada, bob) = (service.user("ada").await, service.user("bob").await);
    let create = |token: &str, seen: &str| {
        let request = service
            .request(Method::POST, "/v1/posts")
            .bearer_auth(token)
            .header("Consistency-Token", seen);
        send(request.json(&json!({ "text": "Hello" })))
    };
    create(&ada.token, "nonsense!")
        .await
        .expect_field(400, "Consistency-Token");

    let parse = |text: &str| text.parse::<event_log::consistency::ConsistencyToken>().unwrap();
    let first = service
        .post("/v1/posts", &ada.token, json!({ "text": "Hello" }))
        .await
        .expect(StatusCode::CREATED);
    let seen = first.header("consistency-token");
    let second = create(&bob.token, seen).await.expect(StatusCode::CREATED);
    let (before, mut after) = (parse(seen), parse(second.header("consistency-token")));
    let unmerged = after.clone();
    after.merge(&before);
    assert_eq!(after, unmerged, "the later token has seen what the earlier one had");
}
