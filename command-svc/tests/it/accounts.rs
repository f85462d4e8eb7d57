//! What only the owner of an account may do, and how it is protected against somebody with a stolen token.

use bson::doc;
use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::service::{Answer, PASSWORD, Service, User, send};

async fn change(service: &Service, user: &User, body: Value) -> Answer {
    service.patch("/v1/users/me", &user.token, body).await
}

fn takeover(current: &str) -> Value {
    json!({ "password": "of the thief", "email": "thief@example.org", "current_password": current })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_was_ended_changes_nothing() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    let thief = service.session(&ada.id, "ada").await;
    let new = "another password";
    change(&service, &ada, json!({ "password": new, "current_password": PASSWORD }))
        .await
        .expect(StatusCode::OK);
    // The thief's token is valid for a quarter of an hour, but not for this, even if the thief knows the password.
    for current in [PASSWORD, new] {
        let refused = change(&service, &thief, takeover(current)).await;
        assert_eq!(refused.expect(StatusCode::UNAUTHORIZED).problem(), "invalid-token");
        let request = service
            .request(Method::DELETE, "/v1/users/me")
            .bearer_auth(&thief.token);
        send(request.json(&json!({ "current_password": current })))
            .await
            .expect(StatusCode::UNAUTHORIZED);
    }
    change(&service, &thief, json!({ "bio": "Stolen." }))
        .await
        .expect(StatusCode::UNAUTHORIZED);
    // The session that changed the password continues.
    change(&service, &ada, json!({ "bio": "Mine." }))
        .await
        .expect(StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_does_one_that_logged_out_or_that_was_not_used_for_too_long() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    let other = service.session(&ada.id, "ada").await;
    service
        .delete("/v1/sessions/current", &ada.token)
        .await
        .expect(StatusCode::NO_CONTENT);
    change(&service, &ada, json!({ "bio": "Still here." }))
        .await
        .expect(StatusCode::UNAUTHORIZED);
    service.delete_user(&ada.token).await.expect(StatusCode::UNAUTHORIZED);

    // The database removes the session up to a minute later.
    let expired = doc! { "$set": { "expires_at": bson::DateTime::now() } };
    let sessions = service.stored().await.0.collection::<bson::Document>("sessions");
    sessions.update_many(doc! {}, expired).await.unwrap();
    change(&service, &other, json!({ "bio": "Still here." }))
        .await
        .expect(StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_changed_by_who_knows_the_password() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    for change in [
        json!({ "email": "thief@example.org" }),
        json!({ "password": "of the thief" }),
    ] {
        let path = "/v1/users/me";
        let missing = service.patch(path, &ada.token, change.clone()).await;
        missing.expect_field(422, "current_password");
        for wrong in ["wrong password", "", "short"] {
            let mut body = change.clone();
            body["current_password"] = json!(wrong);
            let refused = service.patch(path, &ada.token, body).await;
            let refused = refused.expect_field(403, "current_password");
            assert_eq!(refused.problem(), "current-password-wrong");
        }
    }
    let delete = async |body: Value| {
        let request = service.request(Method::DELETE, "/v1/users/me").bearer_auth(&ada.token);
        send(request.json(&body)).await
    };
    delete(json!({})).await.expect_field(422, "current_password");
    let refused = delete(json!({ "current_password": "wrong password" })).await;
    assert_eq!(
        refused.expect(StatusCode::FORBIDDEN).problem(),
        "current-password-wrong"
    );
    let stored = service.stored().await;
    assert_eq!(stored.stream(&format!("user-{}", ada.id)).await, ["user.registered"]);
    // Public fields need no password.
    change(&service, &ada, json!({ "bio": "An engine." }))
        .await
        .expect(StatusCode::OK);
    service.delete_user(&ada.token).await.expect(StatusCode::NO_CONTENT);
}

/// Several sessions know the password and change it at the same time. One comes first. The others are decided on the state that it leaves.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_change_the_password_at_once_one_does() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    let mut sessions = vec![ada.clone()];
    for _ in 0..3 {
        sessions.push(service.session(&ada.id, "ada").await);
    }
    let password = |number: usize| format!("password number {number}");
    let changes = sessions.iter().enumerate().map(|(number, session)| {
        let body = json!({ "password": password(number), "current_password": PASSWORD });
        change(&service, session, body)
    });
    let answers = join_all(changes).await;
    let changed: Vec<usize> = (0..4).filter(|&at| answers[at].status == StatusCode::OK).collect();
    assert_eq!(changed.len(), 1, "{answers:?}");
    for (number, session) in sessions.iter().enumerate() {
        let won = number == changed[0];
        let expected = if won { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
        if !won {
            assert_eq!(
                answers[number].status,
                StatusCode::UNAUTHORIZED,
                "{:?}",
                answers[number]
            );
        }
        service.refresh(&session.refresh_token).await.expect(expected);
        let login = json!({ "handle": "ada", "password": password(number) });
        let login = service.post_anonymously("/v1/sessions", login).await;
        assert_eq!(login.status.is_success(), won, "{number}: {}", login.body);
    }
}

/// The password is verified. Then the same session changes it, before the first command appends its event.
#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_was_right_a_moment_ago_opens_nothing() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    let to = |number: usize| json!({ "password": format!("password number {number}"), "current_password": PASSWORD });
    let answers = join_all((0..4).map(|number| change(&service, &ada, to(number)))).await;
    let changed = answers.iter().filter(|answer| answer.status == StatusCode::OK).count();
    assert_eq!(changed, 1, "{answers:?}");
    for answer in answers.iter().filter(|answer| answer.status != StatusCode::OK) {
        assert!(
            matches!(answer.problem(), "contended" | "current-password-wrong"),
            "{answer:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_the_same_however_it_was_typed() {
    let service = Service::start().await;
    let body = json!({ "handle": "ada", "email": "ada@example.org", "password": "Cafe\u{301} de Zu\u{308}rich" });
    service
        .post_anonymously("/v1/users", body)
        .await
        .expect(StatusCode::CREATED);
    for typed in ["Caf\u{E9} de Z\u{FC}rich", "Cafe\u{301}\u{A0}de\u{3000}Z\u{FC}rich"] {
        let login = json!({ "handle": "ada", "password": typed });
        service
            .post_anonymously("/v1/sessions", login)
            .await
            .expect(StatusCode::CREATED);
    }
    let body = json!({ "handle": "bob", "email": "bob@example.org", "password": "12345678\u{7}" });
    service
        .post_anonymously("/v1/users", body)
        .await
        .expect_field(422, "password");
}
