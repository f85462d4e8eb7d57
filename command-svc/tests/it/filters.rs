//! Filters: who can change them, how many there are, and what is left of them.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::service::{Answer, Service, User, send};

const FILTERS: &str = "/v1/filters";

async fn create(service: &Service, user: &User, key: &str, body: &Value) -> Answer {
    let request = service.request(Method::POST, FILTERS).bearer_auth(&user.token);
    send(request.header("Idempotency-Key", key).json(body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_is_created_changed_and_deleted_by_its_owner_alone() {
    let service = Service::start().await;
    let (ada, bob) = (service.user("ada").await, service.user("bob").await);
    let body = json!({ "phrases": [" Spoiler ", "season two"], "contexts": ["public", "home", "home"], "expires_at": "2133-01-31T13:00:00+01:00" });
    let created = create(&service, &ada, "once", &body).await.expect(StatusCode::CREATED);
    let id = created.text("id");
    let mut expected = json!({
        "id": id,
        "phrases": ["Spoiler", "season two"],
        "whole_word": false,
        "contexts": ["home", "public"],
        "action": "warn",
        "expires_at": "2133-01-31T12:00:00.000Z",
    });
    assert_eq!(created.body, expected);
    let path = format!("{FILTERS}/{id}");
    assert_eq!(created.header("location"), path);
    let again = create(&service, &ada, "once", &body).await.expect(StatusCode::CREATED);
    assert_eq!(again.header("location"), path);
    assert_eq!(again.body, created.body);
    let other = json!({ "phrases": ["Spoiler"], "contexts": ["home"] });
    create(&service, &ada, "once", &other)
        .await
        .expect_field(422, "Idempotency-Key");

    for (method, body) in [
        (Method::PATCH, json!({ "action": "hide" })),
        (Method::DELETE, Value::Null),
    ] {
        let request = service.request(method, &path).bearer_auth(&bob.token).json(&body);
        send(request).await.expect(StatusCode::NOT_FOUND);
    }
    let nothing = service.patch(&path, &ada.token, json!({})).await.expect(StatusCode::OK);
    assert_eq!(nothing.body, expected);
    assert!(!nothing.header("consistency-token").is_empty());
    for (changes, field, value) in [
        (json!({ "action": "hide" }), "action", json!("hide")),
        (json!({ "whole_word": true }), "whole_word", json!(true)),
        (json!({ "contexts": ["thread"] }), "contexts", json!(["thread"])),
        (
            json!({ "phrases": ["secret words"] }),
            "phrases",
            json!(["secret words"]),
        ),
        (json!({ "expires_at": null }), "expires_at", Value::Null),
    ] {
        expected[field] = value;
        let changed = service.patch(&path, &ada.token, changes).await.expect(StatusCode::OK);
        assert_eq!(changed.body, expected);
    }
    let stored = service.stored().await;
    assert!(stored.mentions("secret words").await && stored.mentions("season two").await);

    let deleted = service.delete(&path, &ada.token).await.expect(StatusCode::NO_CONTENT);
    assert!(!deleted.header("consistency-token").is_empty());
    service.delete(&path, &ada.token).await.expect(StatusCode::NOT_FOUND);
    service
        .patch(&path, &ada.token, json!({}))
        .await
        .expect(StatusCode::NOT_FOUND);
    create(&service, &ada, "once", &body)
        .await
        .expect(StatusCode::NOT_FOUND);
    assert!(!stored.mentions("secret words").await && !stored.mentions("season two").await);
    let mut types = vec!["filter.changed"; 7];
    (types[0], types[6]) = ("filter.created", "filter.deleted");
    assert_eq!(stored.stream(&format!("filter-{}-{id}", ada.id)).await, types);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_field_is_named() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    let good = json!({ "phrases": ["a"], "contexts": ["home"] });
    let created = service
        .post(FILTERS, &ada.token, good.clone())
        .await
        .expect(StatusCode::CREATED);
    let path = format!("{FILTERS}/{}", created.text("id"));
    let past = "2001-01-31T12:00:00Z";
    for (field, value, named) in [
        ("phrases", json!([]), "phrases"),
        ("phrases", json!(vec!["a"; 51]), "phrases"),
        ("phrases", json!(["a", " "]), "phrases[1]"),
        ("phrases", json!(["a".repeat(101)]), "phrases[0]"),
        ("phrases", json!(["two\nlines"]), "phrases[0]"),
        ("phrases", json!(vec!["a".repeat(82); 50]), "phrases"),
        ("phrases", json!("a"), "phrases"),
        ("phrases", json!(null), "phrases"),
        ("contexts", json!([]), "contexts"),
        ("contexts", json!(["elsewhere"]), "contexts[0]"),
        ("contexts", json!(null), "contexts"),
        ("action", json!("burn"), "action"),
        ("whole_word", json!("yes"), "whole_word"),
        ("expires_at", json!("tomorrow"), "expires_at"),
        ("expires_at", json!(past), "expires_at"),
        ("owner", json!("somebody"), "owner"),
    ] {
        let mut body = good.clone();
        body[field] = value.clone();
        service.post(FILTERS, &ada.token, body).await.expect_field(422, named);
        service
            .patch(&path, &ada.token, json!({ field: value }))
            .await
            .expect_field(422, named);
    }
    for missing in ["phrases", "contexts"] {
        let mut body = good.clone();
        body.as_object_mut().unwrap().remove(missing);
        service.post(FILTERS, &ada.token, body).await.expect_field(422, missing);
    }
    service
        .post(FILTERS, "nonsense", good)
        .await
        .expect(StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_has_more_than_a_hundred_filters() {
    let service = Service::start().await;
    let (ada, bob) = (service.user("ada").await, service.user("bob").await);
    let body = json!({ "phrases": ["a"], "contexts": ["home"] });
    let mut last = String::new();
    for number in 0..100 {
        let created = create(&service, &ada, &number.to_string(), &body).await;
        last = format!("{FILTERS}/{}", created.expect(StatusCode::CREATED).text("id"));
    }
    service
        .patch(&last, &ada.token, json!({ "action": "hide" }))
        .await
        .expect(StatusCode::OK);
    let refused = create(&service, &ada, "101", &body).await.expect_field(422, "phrases");
    assert_eq!(refused.problem(), "too-many-filters");
    create(&service, &ada, "99", &body).await.expect(StatusCode::CREATED);
    create(&service, &bob, "101", &body).await.expect(StatusCode::CREATED);
    service.delete(&last, &ada.token).await.expect(StatusCode::NO_CONTENT);
    create(&service, &ada, "101", &body).await.expect(StatusCode::CREATED);
    create(&service, &ada, "102", &body).await.expect_field(422, "phrases");
}
