//! Writing, editing and deleting posts.

use bson::doc;
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::service::{Service, send};

#[tokio::test(flavor = "multi_thread")]
async fn a_post_is_answered_as_it_is() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    let answer = service
        .post("/v1/posts", &ada.token, json!({ "text": "  Hi @Bob! #rust \r\n" }))
        .await;
    let answer = answer.expect(StatusCode::CREATED);
    assert_eq!(answer.body["text"], "Hi @Bob! #rust");
    assert_eq!(answer.body["author"], json!({ "id": ada.id, "handle": "ada" }));
    assert_eq!(answer.body["entities"]["mentions"][0]["handle"], "bob");
    assert_eq!(
        answer.body["entities"]["hashtags"][0],
        json!({ "tag": "rust", "start": 9, "end": 14 })
    );
    assert_eq!(answer.body["visibility"], "public");
    for absent in ["counts", "viewer"] {
        assert_eq!(answer.body.get(absent), None);
    }
    assert_eq!(answer.header("location"), format!("/v1/posts/{}", answer.text("id")));
    assert_eq!(answer.header("etag"), "\"1\"");
    assert!(!answer.header("consistency-token").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn any_language_and_any_sign_comes_back_as_it_was() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    let longest = "👨‍👩‍👧‍👦".repeat(500);
    for text in [
        "\"quotes\", 'single', `back`, \\backslash\\, {braces}, $where, <b>&amp;</b>",
        "two\nlines\tand a tab",
        "日本語 العربية हिन्दी Ελληνικά 👍🏽",
        "null",
        "'; db.dropDatabase(); //",
        longest.as_str(),
    ] {
        let answer = service
            .post("/v1/posts", &ada.token, json!({ "text": text }))
            .await
            .expect(StatusCode::CREATED);
        assert_eq!(answer.body["text"], text);
    }
    let decomposed = service
        .post("/v1/posts", &ada.token, json!({ "text": "cafe\u{301}" }))
        .await;
    assert_eq!(decomposed.expect(StatusCode::CREATED).body["text"], "café");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_names_what_it_answers() {
    let service = Service::start().await;
    let (ada, bob) = (service.user("ada").await, service.user("bob").await);
    let post = service.write(&ada, "Hello").await;
    let body = json!({ "text": "Hello yourself", "in_reply_to": post, "visibility": "followers" });
    let answer = service
        .post("/v1/posts", &bob.token, body)
        .await
        .expect(StatusCode::CREATED);
    assert_eq!(answer.body["in_reply_to"], post);
    assert_eq!(answer.body["visibility"], "followers");
    let body = json!({ "text": "Hello", "in_reply_to": null, "visibility": null });
    let answer = service
        .post("/v1/posts", &bob.token, body)
        .await
        .expect(StatusCode::CREATED);
    assert_eq!(
        (&answer.body["in_reply_to"], &answer.body["visibility"]),
        (&json!(null), &json!("public"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_changes_the_text_and_keeps_the_rest() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    let post = service
        .post("/v1/posts", &ada.token, json!({ "text": "Hello" }))
        .await
        .expect(StatusCode::CREATED);
    let path = format!("/v1/posts/{}", post.text("id"));
    let edited = service
        .patch(&path, &ada.token, json!({ "text": "Hello #again" }))
        .await
        .expect(StatusCode::OK);
    assert_eq!(edited.header("etag"), "\"2\"");
    assert_eq!(edited.body["text"], "Hello #again");
    assert_eq!(edited.body["entities"]["hashtags"][0]["tag"], "again");
    assert_eq!(edited.body["created_at"], post.body["created_at"]);
    assert_eq!(post.body["edited_at"], json!(null));
    assert!(edited.body["edited_at"].is_string());

    let same = service
        .patch(&path, &ada.token, json!({ "text": " Hello #again " }))
        .await
        .expect(StatusCode::OK);
    assert_eq!(same.header("etag"), "\"2\"");
    assert_eq!(same.body, edited.body);
    let stored = service.stored().await;
    assert_eq!(
        stored.stream(&format!("post-{}", post.text("id"))).await,
        ["post.created", "post.edited"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_of_another_version_is_refused() {
    let service = Service::start().await;
    let (ada, bob) = (service.user("ada").await, service.user("bob").await);
    let path = format!("/v1/posts/{}", service.write(&ada, "Hello").await);
    let edit = |token: &str, version: &'static str, text: &'static str| {
        let request = service
            .request(Method::PATCH, &path)
            .bearer_auth(token)
            .header("If-Match", version);
        send(request.json(&json!({ "text": text })))
    };
    edit(&ada.token, "\"1\"", "Second").await.expect(StatusCode::OK);
    edit(&ada.token, "\"1\"", "Third").await.expect_field(412, "If-Match");
    edit(&ada.token, "W/\"2\"", "Third")
        .await
        .expect(StatusCode::PRECONDITION_FAILED);
    edit(&ada.token, "nonsense", "Third")
        .await
        .expect_field(400, "If-Match");
    edit(&bob.token, "\"1\"", "Mine").await.expect(StatusCode::FORBIDDEN);
    edit(&ada.token, "\"2\"", "Third").await.expect(StatusCode::OK);
    let delete = |version: &'static str| {
        send(
            service
                .request(Method::DELETE, &path)
                .bearer_auth(&ada.token)
                .header("If-Match", version),
        )
    };
    delete("\"2\"").await.expect(StatusCode::PRECONDITION_FAILED);
    delete("\"3\"").await.expect(StatusCode::NO_CONTENT);
}

#[tokio::test(flavor = "multi_thread")]
async fn anothers_post_is_left_alone() {
    let service = Service::start().await;
    let (ada, bob) = (service.user("ada").await, service.user("bob").await);
    let path = format!("/v1/posts/{}", service.write(&ada, "Hello").await);
    service
        .patch(&path, &bob.token, json!({ "text": "Mine" }))
        .await
        .expect(StatusCode::FORBIDDEN);
    service.delete(&path, &bob.token).await.expect(StatusCode::FORBIDDEN);
    assert_eq!(
        service
            .stored()
            .await
            .count("events", doc! { "actor": { "$exists": true }, "type": "post.created" })
            .await,
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_post_is_gone_with_its_words() {
    let service = Service::start().await;
    let (ada, bob) = (service.user("ada").await, service.user("bob").await);
    let body = json!({ "text": "a first secret", "warning": "of a secret love" });
    let post = service.post("/v1/posts", &ada.token, body).await;
    let post = post.expect(StatusCode::CREATED).text("id");
    let path = format!("/v1/posts/{post}");
    service
        .patch(
            &path,
            &ada.token,
            json!({ "text": "another secret", "warning": "of a secret" }),
        )
        .await
        .expect(StatusCode::OK);
    let answer = service.delete(&path, &ada.token).await.expect(StatusCode::NO_CONTENT);
    assert!(!answer.header("consistency-token").is_empty());
    assert!(!service.stored().await.mentions("secret").await);

    service.delete(&path, &ada.token).await.expect(StatusCode::NOT_FOUND);
    for user in [&ada, &bob] {
        service
            .patch(&path, &user.token, json!({ "text": "Back" }))
            .await
            .expect(StatusCode::NOT_FOUND);
        service
            .put(&format!("{path}/like"), &user.token)
            .await
            .expect(StatusCode::NOT_FOUND);
        service
            .delete(&format!("{path}/like"), &user.token)
            .await
            .expect(StatusCode::NOT_FOUND);
        service
            .put(&format!("{path}/repost"), &user.token)
            .await
            .expect(StatusCode::NOT_FOUND);
        service
            .delete(&format!("{path}/repost"), &user.token)
            .await
            .expect(StatusCode::NOT_FOUND);
        let reply = json!({ "text": "Where are you?", "in_reply_to": post });
        service
            .post("/v1/posts", &user.token, reply)
            .await
            .expect(StatusCode::NOT_FOUND);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_says_where_it_came_from() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    let request = service.request(Method::POST, "/v1/posts").bearer_auth(&ada.token);
    let correlation = "0198c0de-0000-7000-8000-00000000c0de";
    let answer = send(
        request
            .header("X-Request-Id", correlation)
            .json(&json!({ "text": "Hello" })),
    )
    .await;
    let answer = answer.expect(StatusCode::CREATED);
    assert_eq!(answer.header("x-request-id"), correlation);
    let events = service
        .stored()
        .await
        .all("events", doc! { "stream": format!("post-{}", answer.text("id")) })
        .await;
    let event = &events[0];
    assert_eq!(event.get_str("correlation_id").unwrap(), correlation);
    assert_eq!(event.get_i64("version").unwrap(), 1);
    assert_eq!(event.get_i32("schema").unwrap(), 1);
    let last_byte = u8::from_str_radix(&ada.id[34..], 16).unwrap();
    assert_eq!(event.get_i32("partition").unwrap(), i32::from(last_byte % 64));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_reads_no_more_than_it_decides_on() {
    let (service, proxy) = Service::start_behind_proxy().await;
    let (ada, bob) = (service.user("ada").await, service.user("bob").await);
    proxy.asked();
    service.write_to_followers(&ada, "Hello, friends").await;
    assert_eq!(
        proxy.asked(),
        ["find events", "insert events"],
        "the actor, who may be suspended"
    );
    let post = service.write(&ada, "Hello").await;
    assert_eq!(
        proxy.asked(),
        ["find events", "insert events"],
        "the actor, who may also be protected"
    );
    service.write(&ada, "Hello @bob, @ada, @nobody and @bob").await;
    assert_eq!(
        proxy.asked(),
        ["find events", "find credentials", "insert events"],
        "whom it mentions, too"
    );
    let reply = json!({ "text": "Hello yourself", "in_reply_to": post });
    service
        .post("/v1/posts", &bob.token, reply)
        .await
        .expect(StatusCode::CREATED);
    assert_eq!(
        proxy.asked(),
        [&["find events"; 5][..], &["insert events"]].concat(),
        "the actor, the post, its author, a block by either"
    );
    service
        .put(&format!("/v1/posts/{post}/like"), &bob.token)
        .await
        .expect(StatusCode::OK);
    assert_eq!(
        proxy.asked(),
        [&["find events"; 6][..], &["insert events"]].concat(),
        "the actor, the post, its author, a block by either, the like"
    );
}
