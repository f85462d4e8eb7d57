//! What users see of their own account and of their sessions.

use std::time::Duration;

use bson::doc;
use reqwest::header::USER_AGENT;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::service::{Answer, PASSWORD, Service, send};

async fn get(service: &Service, path: &str, token: &str) -> Answer {
    send(service.request(Method::GET, path).bearer_auth(token)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_sees_ones_own_address_and_the_version_to_change() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    let seen = get(&service, "/v1/users/me", &ada.token).await.expect(StatusCode::OK);
    assert_eq!(seen.text("id"), ada.id);
    assert_eq!(
        (seen.text("handle"), seen.text("email")),
        ("ada".to_owned(), "ada@example.org".to_owned())
    );
    assert_eq!(seen.header("cache-control"), "no-store");
    let request = service.request(Method::PATCH, "/v1/users/me").bearer_auth(&ada.token);
    let change = json!({ "email": "ada@example.net", "bio": "An engine.", "current_password": PASSWORD });
    let request = request.header("If-Match", seen.header("etag")).json(&change);
    let changed = send(request).await.expect(StatusCode::OK);
    // The change is visible at once, without its consistency token.
    let seen = get(&service, "/v1/users/me", &ada.token).await.expect(StatusCode::OK);
    assert_eq!(
        (seen.text("bio"), seen.text("email")),
        ("An engine.".to_owned(), "ada@example.net".to_owned())
    );
    assert_eq!(seen.header("etag"), changed.header("etag"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_sees_ones_sessions_and_ends_them() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    let bob = service.user("bob").await;
    let log_in = async |agent: &str| {
        let login = service.request(Method::POST, "/v1/sessions").header(USER_AGENT, agent);
        send(login.json(&json!({ "handle": "ada", "password": PASSWORD })))
            .await
            .expect(StatusCode::CREATED)
    };
    service.clock.advance(Duration::from_secs(60));
    let phone = log_in(&format!("  Phone/1.0 {}", "x".repeat(200))).await;
    service.clock.advance(Duration::from_secs(60));
    let laptop = log_in("Laptop/2.0").await;
    service.clock.advance(Duration::from_secs(60));
    service
        .refresh(&phone.text("refresh_token"))
        .await
        .expect(StatusCode::OK);
    // As earlier versions stored it, without the name of the device.
    let sessions = service.stored().await.0.collection::<bson::Document>("sessions");
    let unset = doc! { "$unset": { "device": "" } };
    sessions
        .update_many(doc! { "device": "Laptop/2.0" }, unset)
        .await
        .unwrap();

    let list = async |token: &str| {
        let listed = get(&service, "/v1/sessions", token).await.expect(StatusCode::OK);
        assert_eq!(listed.header("cache-control"), "no-store");
        listed.body["items"].as_array().unwrap().clone()
    };
    let listed = list(&laptop.text("access_token")).await;
    assert_eq!(listed.len(), 3, "{listed:?}");
    let device = listed[0]["device"].as_str().unwrap();
    assert_eq!(
        (device.len(), &device[..10]),
        (120, "Phone/1.0 "),
        "the last used first"
    );
    assert!(listed[0]["last_used_at"].as_str() > listed[0]["created_at"].as_str());
    assert_eq!(
        (&listed[1]["device"], &listed[1]["current"]),
        (&Value::Null, &json!(true))
    );
    assert_eq!(listed[1]["last_used_at"], listed[1]["created_at"]);
    assert_eq!(listed[2]["current"], false);

    // Users can't end the sessions of others. The answer is the same as for a session that never existed.
    let path = format!("/v1/sessions/{}", listed[0]["id"].as_str().unwrap());
    service.delete(&path, &bob.token).await.expect(StatusCode::NOT_FOUND);
    service.delete(&path, &ada.token).await.expect(StatusCode::NO_CONTENT);
    service.delete(&path, &ada.token).await.expect(StatusCode::NOT_FOUND);
    service
        .refresh(&phone.text("refresh_token"))
        .await
        .expect(StatusCode::UNAUTHORIZED);
    service
        .delete("/v1/sessions/no-id", &ada.token)
        .await
        .expect_field(400, "id");
    assert_eq!(list(&ada.token).await.len(), 2);

    // A session that has ended sees nothing and ends nothing.
    let over = phone.text("access_token");
    let ours = format!("/v1/sessions/{}", listed[1]["id"].as_str().unwrap());
    for path in ["/v1/users/me", "/v1/sessions"] {
        get(&service, path, &over).await.expect(StatusCode::UNAUTHORIZED);
    }
    service.delete(&ours, &over).await.expect(StatusCode::UNAUTHORIZED);
    service
        .delete(&ours, &laptop.text("access_token"))
        .await
        .expect(StatusCode::NO_CONTENT);
    assert_eq!(list(&ada.token).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_are_over_are_not_listed() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    let sessions = service.stored().await.0.collection::<bson::Document>("sessions");
    for over in [
        doc! { "expires_at": bson::DateTime::now() },
        // What a login leaves behind if it races with a password change.
        doc! { "epoch": -1_i64 },
    ] {
        service.log_in("ada").await.expect(StatusCode::CREATED);
        let last = sessions
            .find_one(doc! {})
            .sort(doc! { "created_at": -1 })
            .await
            .unwrap()
            .unwrap();
        sessions
            .update_one(doc! { "_id": last.get("_id").unwrap() }, doc! { "$set": over })
            .await
            .unwrap();
    }
    let listed = get(&service, "/v1/sessions", &ada.token).await.expect(StatusCode::OK);
    assert_eq!(listed.body["items"].as_array().unwrap().len(), 1, "{}", listed.body);
}
