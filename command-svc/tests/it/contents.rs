//! What a post says besides its text: a warning, a language, and whom it mentions. And who sees it by that.

use bson::doc;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::service::{Answer, Service, User};

async fn write(service: &Service, author: &User, body: Value) -> Answer {
    let answer = service.post("/v1/posts", &author.token, body).await;
    answer.expect(StatusCode::CREATED)
}

/// The users whom a post mentions.
fn mentioned(answer: &Answer) -> Vec<Value> {
    let mentions = answer.body["entities"]["mentions"].as_array().unwrap();
    mentions.iter().map(|mention| mention["user"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warning_and_a_language_are_kept_until_they_are_changed() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    let plain = write(&service, &ada, json!({ "text": "Hello" })).await;
    for absent in ["warning", "language"] {
        assert_eq!(plain.body[absent], json!(null));
    }
    assert_eq!(plain.body["attachments"], json!([]));
    let body = json!({ "text": "The butler", "warning": " Spoilers\r\n", "language": "EN-gb" });
    let post = write(&service, &ada, body).await;
    assert_eq!(
        (&post.body["warning"], &post.body["language"]),
        (&json!("Spoilers"), &json!("en-GB"))
    );

    let path = format!("/v1/posts/{}", post.text("id"));
    let edit = async |body: Value| service.patch(&path, &ada.token, body).await.expect(StatusCode::OK);
    let edited = edit(json!({ "text": "The gardener" })).await;
    assert_eq!(
        (&edited.body["warning"], &edited.body["language"]),
        (&json!("Spoilers"), &json!("en-GB"))
    );
    let edited = edit(json!({ "warning": null })).await;
    assert_eq!(
        (&edited.body["warning"], &edited.body["text"]),
        (&json!(null), &json!("The gardener"))
    );
    let edited = edit(json!({ "language": "de", "warning": "Krimi" })).await;
    assert_eq!(
        (&edited.body["warning"], &edited.body["language"]),
        (&json!("Krimi"), &json!("de"))
    );
    for same in [
        json!({}),
        json!({ "warning": "Krimi", "language": "DE", "text": "The gardener" }),
    ] {
        assert_eq!(edit(same).await.body, edited.body);
    }
    let stored = service.stored().await;
    let stream = stored.stream(&format!("post-{}", post.text("id"))).await;
    assert_eq!(stream, ["post.created", "post.edited", "post.edited", "post.edited"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mention_names_the_user_who_has_the_handle_then() {
    let service = Service::start().await;
    let (ada, bob, eve) = (
        service.user("ada").await,
        service.user("bob").await,
        service.user("eve").await,
    );
    service.delete_user(&eve.token).await.expect(StatusCode::NO_CONTENT);
    let post = write(&service, &ada, json!({ "text": "@bob @eve @zoe @Ada @bob" })).await;
    let known = [json!(bob.id), json!(null), json!(null), json!(ada.id), json!(bob.id)];
    assert_eq!(mentioned(&post), known);

    let zoe = service.user("zoe").await;
    let path = format!("/v1/posts/{}", post.text("id"));
    let edit = async |text: &str| {
        let answer = service.patch(&path, &ada.token, json!({ "text": text })).await;
        mentioned(&answer.expect(StatusCode::OK))
    };
    assert_eq!(
        edit("@bob @eve @zoe @Ada @bob").await,
        known,
        "the same text means whom it meant"
    );
    assert_eq!(edit("@zoe and @eve").await, [json!(zoe.id), json!(null)]);
    let stored = service.stored().await;
    let plain = stored.count("events", doc! { "type": "post.edited", "schema": 1 });
    assert_eq!(plain.await, 1, "whom a public post mentions needs no new schema");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_earlier_programs_would_lose_needs_the_new_schema() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    for (body, schema) in [
        (json!({ "text": "Hello" }), 1),
        (json!({ "text": "Hello", "visibility": "followers" }), 1),
        (json!({ "text": "Hello", "visibility": "unlisted" }), 2),
        (json!({ "text": "Hello", "visibility": "mentioned" }), 2),
        (json!({ "text": "Hello", "warning": "spoilers" }), 2),
        (json!({ "text": "Hello", "language": "en" }), 2),
    ] {
        let post = write(&service, &ada, body.clone()).await.text("id");
        let stream = doc! { "stream": format!("post-{post}") };
        let events = service.stored().await.all("events", stream).await;
        assert_eq!(events[0].get_i32("schema").unwrap(), schema, "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_mentioned_sees_it_and_who_is_edited_out_does_not() {
    let service = Service::start().await;
    let (ada, bob, eve) = (
        service.user("ada").await,
        service.user("bob").await,
        service.user("eve").await,
    );
    service.follow(&eve, &ada).await;
    for (visibility, follower_sees) in [("mentioned", false), ("followers", true)] {
        let body = json!({ "text": "Between us, @bob", "visibility": visibility });
        let post = write(&service, &ada, body).await.text("id");
        let path = format!("/v1/posts/{post}");
        let sees = async |user: &User| {
            let like = service.put(&format!("{path}/like"), &user.token).await;
            let answer = json!({ "text": "Yes", "in_reply_to": post });
            let reply = service.post("/v1/posts", &user.token, answer).await;
            let keep = service.put(&format!("{path}/bookmark"), &user.token).await;
            let seen = [like, reply, keep].map(|answer| answer.status != StatusCode::NOT_FOUND);
            assert!(seen.iter().all(|one| *one == seen[0]), "{seen:?}");
            seen[0]
        };
        assert!(sees(&bob).await && sees(&ada).await);
        assert_eq!(sees(&eve).await, follower_sees);
        let repost = service.put(&format!("{path}/repost"), &bob.token).await;
        assert_eq!(repost.expect(StatusCode::FORBIDDEN).problem(), "not-public");

        let edit = async |text: &str| {
            let edited = service.patch(&path, &ada.token, json!({ "text": text })).await;
            edited.expect(StatusCode::OK)
        };
        edit("Between us, @eve").await;
        assert!(!sees(&bob).await && sees(&eve).await, "{visibility}");
        edit("Between nobody").await;
        assert_eq!(sees(&eve).await, follower_sees);
        assert!(sees(&ada).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unlisted_post_is_open_to_everybody() {
    let service = Service::start().await;
    let (ada, bob) = (service.user("ada").await, service.user("bob").await);
    let post = write(&service, &ada, json!({ "text": "Psst", "visibility": "unlisted" })).await;
    assert_eq!(post.body["visibility"], "unlisted");
    for what in ["like", "bookmark", "repost"] {
        let path = format!("/v1/posts/{}/{what}", post.text("id"));
        service.put(&path, &bob.token).await.expect(StatusCode::OK);
    }
}
