//! Lists, their members and their tags. Only its owner knows of a list.

use bson::doc;
use model::ids::UserId;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::service::{Answer, Service, User, send};

const NOBODY: &str = "0198c0de-0000-7000-8000-000000000001";

impl Service {
    async fn list(&self, owner: &User, title: &str) -> String {
        let body = json!({ "title": title });
        let made = self.post("/v1/lists", &owner.token, body).await;
        format!("/v1/lists/{}", made.expect(StatusCode::CREATED).text("id"))
    }
}

async fn create(service: &Service, owner: &User, key: &str, body: Value) -> Answer {
    let request = service.request(Method::POST, "/v1/lists");
    send(
        request
            .bearer_auth(&owner.token)
            .header("Idempotency-Key", key)
            .json(&body),
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_made_changed_and_deleted_without_a_trace_of_its_title() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    let body = json!({ "title": " Close friends " });
    let made = create(&service, &ada, "k1", body.clone())
        .await
        .expect(StatusCode::CREATED);
    let id = made.text("id");
    assert_eq!(
        made.body,
        json!({ "id": id, "title": "Close friends", "exclusive": false })
    );
    let path = format!("/v1/lists/{id}");
    assert_eq!(made.header("location"), path);
    assert!(!made.header("consistency-token").is_empty());

    for _ in 0..2 {
        let changed = service.patch(&path, &ada.token, json!({ "exclusive": true })).await;
        let expected = json!({ "id": id, "title": "Close friends", "exclusive": true });
        assert_eq!(changed.expect(StatusCode::OK).body, expected);
    }
    let renamed = service.patch(&path, &ada.token, json!({ "title": "Family" })).await;
    let expected = json!({ "id": id, "title": "Family", "exclusive": true });
    assert_eq!(renamed.expect(StatusCode::OK).body, expected);
    let again = create(&service, &ada, "k1", body.clone())
        .await
        .expect(StatusCode::CREATED);
    assert_eq!(again.body, made.body, "as the first request was answered");

    let deleted = service.delete(&path, &ada.token).await.expect(StatusCode::NO_CONTENT);
    assert!(!deleted.header("consistency-token").is_empty());
    service.delete(&path, &ada.token).await.expect(StatusCode::NOT_FOUND);
    let change = service.patch(&path, &ada.token, json!({ "title": "Back" })).await;
    change.expect(StatusCode::NOT_FOUND);
    create(&service, &ada, "k1", body).await.expect(StatusCode::NOT_FOUND);

    let stored = service.stored().await;
    let stream = format!("list-{id}");
    let types = ["list.created", "list.changed", "list.changed", "list.deleted"];
    assert_eq!(stored.stream(&stream).await, types);
    let titled = doc! { "stream": &stream, "data.title": { "$type": "string" } };
    assert_eq!(stored.count("events", titled).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_in_a_list_is_named() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    let list = service.list(&ada, "Friends").await;
    for (body, field) in [
        (json!({}), "title"),
        (json!({ "title": " " }), "title"),
        (json!({ "title": "two\nlines" }), "title"),
        (json!({ "title": "a".repeat(101) }), "title"),
        (json!({ "title": "a", "exclusive": "yes" }), "exclusive"),
        (json!({ "title": "a", "members": [] }), "members"),
    ] {
        let refused = service.post("/v1/lists", &ada.token, body.clone()).await;
        refused.expect_field(422, field);
        if body != json!({}) {
            service.patch(&list, &ada.token, body).await.expect_field(422, field);
        }
    }
    for (field, path) in [
        ("id", "/v1/lists/1/members/2".to_owned()),
        ("user", format!("{list}/members/@ada")),
        ("tag", format!("{list}/tags/2024")),
    ] {
        service.put(&path, &ada.token).await.expect_field(400, field);
        service.delete(&path, &ada.token).await.expect_field(400, field);
    }
    for other in [
        json!({ "title": "Other" }),
        json!({ "title": "Friends", "exclusive": true }),
    ] {
        create(&service, &ada, "k1", json!({ "title": "Friends" })).await;
        let reused = create(&service, &ada, "k1", other).await;
        assert_eq!(
            reused.expect_field(422, "Idempotency-Key").problem(),
            "idempotency-key-reused"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_and_tags_come_and_go_and_may_be_asked_for_twice() {
    let service = Service::start().await;
    let (ada, bob) = (service.user("ada").await, service.user("bob").await);
    let list = service.list(&ada, "Friends").await;
    // Bob does not follow her, nor she him; and her own posts may be in it.
    for member in [&bob, &ada] {
        let path = format!("{list}/members/{}", member.id);
        for (method, listed) in [(Method::PUT, true), (Method::DELETE, false), (Method::PUT, true)] {
            for _ in 0..2 {
                let answer = send(service.request(method.clone(), &path).bearer_auth(&ada.token)).await;
                let answer = answer.expect(StatusCode::OK);
                assert_eq!(answer.body, json!({ "id": member.id, "listed": listed }));
                assert!(!answer.header("consistency-token").is_empty());
            }
        }
    }
    for (tag, shown) in [("Rust", "Rust"), ("ＲＵＳＴ", "Rust")] {
        let answer = service.put(&format!("{list}/tags/{tag}"), &ada.token).await;
        assert_eq!(
            answer.expect(StatusCode::OK).body,
            json!({ "name": shown, "listed": true })
        );
    }
    for tag in ["rust", "never"] {
        let answer = service.delete(&format!("{list}/tags/{tag}"), &ada.token).await;
        assert_eq!(
            answer.expect(StatusCode::OK).body,
            json!({ "name": tag, "listed": false })
        );
    }
    let stored = service.stored().await;
    let id = list.rsplit('/').next().unwrap();
    let members = stored.stream(&format!("list_member-{id}-{}", bob.id)).await;
    assert_eq!(
        members,
        ["list_member.added", "list_member.removed", "list_member.added"]
    );
    let tags = doc! { "stream": { "$regex": format!("^list_tag-{id}-") } };
    assert_eq!(stored.count("events", tags).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn for_everybody_else_there_is_no_list() {
    let service = Service::start().await;
    let (ada, eve) = (service.user("ada").await, service.user("eve").await);
    let list = service.list(&ada, "Friends").await;
    let inside = [format!("{list}/members/{}", eve.id), format!("{list}/tags/rust")];
    service
        .patch(&list, &eve.token, json!({ "title": "Mine" }))
        .await
        .expect(StatusCode::NOT_FOUND);
    service.delete(&list, &eve.token).await.expect(StatusCode::NOT_FOUND);
    for path in &inside {
        service.put(path, &eve.token).await.expect(StatusCode::NOT_FOUND);
        service.delete(path, &eve.token).await.expect(StatusCode::NOT_FOUND);
        service.put(path, "nonsense").await.expect(StatusCode::UNAUTHORIZED);
        let nowhere = path.replace(list.rsplit('/').next().unwrap(), NOBODY);
        service.put(&nowhere, &ada.token).await.expect(StatusCode::NOT_FOUND);
    }
    let nobody = format!("{list}/members/{NOBODY}");
    service.put(&nobody, &ada.token).await.expect(StatusCode::NOT_FOUND);
    service.delete(&nobody, &ada.token).await.expect(StatusCode::OK);
    service.delete(&list, &ada.token).await.expect(StatusCode::NO_CONTENT);
    for path in &inside {
        service.put(path, &ada.token).await.expect(StatusCode::NOT_FOUND);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_whom_a_block_separates_comes_into_a_list() {
    let service = Service::start().await;
    let (ada, bob) = (service.user("ada").await, service.user("bob").await);
    for (blocker, blocked) in [(&ada, &bob), (&bob, &ada)] {
        let list = service.list(&ada, "Friends").await;
        let member = format!("{list}/members/{}", bob.id);
        service.put(&member, &ada.token).await.expect(StatusCode::OK);
        let block = format!("/v1/users/{}/block", blocked.id);
        service.put(&block, &blocker.token).await.expect(StatusCode::OK);
        let refused = service.put(&member, &ada.token).await.expect(StatusCode::FORBIDDEN);
        assert_eq!(refused.problem(), "blocked");
        service.delete(&member, &ada.token).await.expect(StatusCode::OK);
        service.delete(&block, &blocker.token).await.expect(StatusCode::OK);
        service.put(&member, &ada.token).await.expect(StatusCode::OK);
    }
}

/// The sweep may have deleted the list, and nothing would take the title out of an event after that.
#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_user_writes_no_title_with_the_last_token() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    let list = service.list(&ada, "Friends").await;
    service.delete_user(&ada.token).await.expect(StatusCode::NO_CONTENT);
    let changed = service.patch(&list, &ada.token, json!({ "title": "a secret" })).await;
    changed.expect(StatusCode::UNAUTHORIZED);
    assert!(!service.stored().await.mentions("a secret").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lists_and_filters_of_a_user_are_counted_by_an_index() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    service.list(&ada, "Friends").await;
    let id = ada.id.parse::<UserId>().unwrap();
    let stored = service.stored().await;
    for (index, created, text) in [
        ("lists_of", "list.created", "data.title"),
        ("filters_of", "filter.created", "data.content"),
    ] {
        let kept = doc! { "type": created, "data.owner": id, text: { "$exists": true } };
        let find = doc! { "find": "events", "filter": kept };
        let explained = stored.0.run_command(doc! { "explain": find }).await.unwrap();
        assert!(explained.to_string().contains(index), "{explained}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_no_more_lists_members_and_tags_than_allowed() {
    let service = Service::start_with(|config| {
        let two = 2.try_into().unwrap();
        (config.lists.max, config.lists.max_members, config.lists.max_tags) = (two, two, two);
    })
    .await;
    let ada = service.user("ada").await;
    let first = service.list(&ada, "First").await;
    create(&service, &ada, "k1", json!({ "title": "Second" }))
        .await
        .expect(StatusCode::CREATED);
    let third = json!({ "title": "Third" });
    let refused = service.post("/v1/lists", &ada.token, third.clone()).await;
    assert_eq!(refused.expect_field(422, "title").problem(), "too-many-lists");
    // What was done is answered again, and a change needs no place.
    create(&service, &ada, "k1", json!({ "title": "Second" }))
        .await
        .expect(StatusCode::CREATED);
    service
        .patch(&first, &ada.token, json!({ "title": "1st" }))
        .await
        .expect(StatusCode::OK);
    service.delete(&first, &ada.token).await.expect(StatusCode::NO_CONTENT);
    let list = service.list(&ada, "Third").await;
    let refused = service.post("/v1/lists", &ada.token, third).await;
    refused.expect_field(422, "title");

    let [bob, eve, zoe] = [
        service.user("bob").await,
        service.user("eve").await,
        service.user("zoe").await,
    ];
    let members = [&bob, &eve, &zoe].map(|user| format!("{list}/members/{}", user.id));
    let tags = ["one", "two", "three"].map(|tag| format!("{list}/tags/{tag}"));
    for (paths, field, problem) in [
        (members, "user", "too-many-list-members"),
        (tags, "tag", "too-many-list-tags"),
    ] {
        for path in &paths[..2] {
            service.put(path, &ada.token).await.expect(StatusCode::OK);
        }
        let refused = service.put(&paths[2], &ada.token).await;
        assert_eq!(refused.expect_field(422, field).problem(), problem);
        service.put(&paths[0], &ada.token).await.expect(StatusCode::OK);
        service.delete(&paths[0], &ada.token).await.expect(StatusCode::OK);
        service.put(&paths[2], &ada.token).await.expect(StatusCode::OK);
    }
}
