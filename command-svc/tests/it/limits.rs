//! A client that asks too often is told when to come back. Other clients are not affected.

use std::net::IpAddr;

use reqwest::{Method, StatusCode};
use serde_json::json;
use service::config::Quota;

use crate::service::{PASSWORD, Service, User};

#[tokio::test(flavor = "multi_thread")]
async fn each_class_has_its_limit() {
    let service = Service::start_with(|config| {
        config.rate_limit.enabled = true;
        config.rate_limit.write = Quota::new(3, 1);
        config.rate_limit.login = Quota::new(3, 1);
        config.rate_limit.register = Quota::new(2, 1);
    })
    .await;
    let (ada, bob) = (service.user("ada").await, service.user("bob").await);
    let too_fast = service.register("eve").await.expect(StatusCode::TOO_MANY_REQUESTS);
    assert!(too_fast.header("retry-after").parse::<u32>().unwrap() > 1);

    // Two logins, and this one.
    service.log_in("ada").await.expect(StatusCode::CREATED);
    service.log_in("ada").await.expect(StatusCode::TOO_MANY_REQUESTS);

    let write = async |user: &User| service.post("/v1/posts", &user.token, json!({ "text": "Hello" })).await;
    for left in ["2", "1", "0"] {
        let answer = write(&ada).await.expect(StatusCode::CREATED);
        assert_eq!(answer.header("x-ratelimit-limit"), "3");
        assert_eq!(answer.header("x-ratelimit-remaining"), left);
        answer.header("x-ratelimit-reset");
    }
    let refused = write(&ada).await.expect(StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.problem(), "too-many-requests");
    refused.header("retry-after");
    write(&bob).await.expect(StatusCode::CREATED);
}

/// Hundreds of people may share one address, and all of their sessions are refreshed at the same time.
#[tokio::test(flavor = "multi_thread")]
async fn refreshes_are_counted_by_session() {
    let service = Service::start_with(|config| {
        config.rate_limit.enabled = true;
        config.rate_limit.login = Quota::new(3, 1);
        config.rate_limit.write = Quota::new(1, 1);
        config.rate_limit.refresh = Quota::new(4, 1);
    })
    .await;
    let people = [service.user("ada").await, service.user("bob").await];
    for person in &people {
        for _ in 0..4 {
            service.refresh(&person.refresh_token).await.expect(StatusCode::OK);
        }
        let too_fast = service.refresh(&person.refresh_token).await;
        too_fast.expect(StatusCode::TOO_MANY_REQUESTS).header("retry-after");
    }
    // An unknown token counts like a login, and one login is left.
    service.refresh("nothing").await.expect(StatusCode::UNAUTHORIZED);
    service.refresh("nothing").await.expect(StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test(flavor = "multi_thread")]
async fn refreshes_are_counted_by_address_too_whatever_was_sent() {
    let service = Service::start_with(|config| {
        config.rate_limit.enabled = true;
        config.rate_limit.refresh_address = Quota::new(3, 1);
    })
    .await;
    let ada = service.user("ada").await;
    let malformed = json!({ "token": 1 });
    for left in ["2", "1"] {
        let answer = service
            .post_anonymously("/v1/sessions/refresh", malformed.clone())
            .await
            .expect(StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(answer.header("x-ratelimit-remaining"), left);
    }
    service.refresh(&ada.refresh_token).await.expect(StatusCode::OK);
    let refused = service.post_anonymously("/v1/sessions/refresh", malformed).await;
    refused.expect(StatusCode::TOO_MANY_REQUESTS).header("retry-after");
}

/// The counted keys are kept in memory, so a key must not be as long as a body can be.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_long_for_an_address_is_counted_for_nobody() {
    let service = Service::start_with(|config| {
        config.rate_limit.enabled = true;
        config.rate_limit.account = Quota::new(1, 1);
    })
    .await;
    for (email, second) in [
        (
            format!("{}@example.org", "a".repeat(242)),
            StatusCode::TOO_MANY_REQUESTS,
        ),
        (format!("{}@example.org", "a".repeat(243)), StatusCode::UNAUTHORIZED),
    ] {
        for expected in [StatusCode::UNAUTHORIZED, second] {
            let login = json!({ "email": email, "password": PASSWORD });
            service.post_anonymously("/v1/sessions", login).await.expect(expected);
        }
    }
}

/// Logs in from one of the loopback addresses of this machine.
async fn log_in_from(service: &Service, last: u8, login: &str, password: &str) -> StatusCode {
    let client = reqwest::Client::builder().local_address(IpAddr::from([127, 0, 0, last]));
    let request = client.build().unwrap().post(format!("{}/v1/sessions", service.url));
    let name = if login.contains('@') { "email" } else { "handle" };
    let sent = request.json(&json!({ name: login, "password": password })).send().await;
    sent.unwrap().status()
}

#[tokio::test(flavor = "multi_thread")]
async fn many_addresses_cannot_guess_and_lock_nobody_out() {
    let mut service = Service::start_with(|config| {
        config.rate_limit.enabled = true;
        config.rate_limit.account = Quota::new(3, 1);
    })
    .await;
    service.register("ada").await.expect(StatusCode::CREATED);
    service.register("bob").await.expect(StatusCode::CREATED);
    let (home, abroad) = (2, 3);
    assert_eq!(log_in_from(&service, home, "ada", PASSWORD).await, StatusCode::CREATED);
    let mut refused = 0;
    for stranger in 10..20 {
        match log_in_from(&service, stranger, "ADA", "wrong password").await {
            StatusCode::TOO_MANY_REQUESTS => refused += 1,
            other => assert_eq!(other, StatusCode::UNAUTHORIZED),
        }
    }
    assert_eq!(refused, 8, "each from an address of its own, and all on one account");
    // From elsewhere, even the right password is not tried. At home nothing changes, with handle and with e-mail address.
    assert_eq!(
        log_in_from(&service, abroad, "ada", PASSWORD).await,
        StatusCode::TOO_MANY_REQUESTS
    );
    for login in ["ada", "ada", "ada@example.org"] {
        assert_eq!(log_in_from(&service, home, login, PASSWORD).await, StatusCode::CREATED);
        assert_eq!(
            log_in_from(&service, home, login, "wrong password").await,
            StatusCode::UNAUTHORIZED
        );
    }
    assert_eq!(
        log_in_from(&service, abroad, "bob", PASSWORD).await,
        StatusCode::CREATED
    );
    // An account that does not exist is counted in the same way.
    for attempt in 0..4 {
        let expected = if attempt < 3 {
            StatusCode::UNAUTHORIZED
        } else {
            StatusCode::TOO_MANY_REQUESTS
        };
        assert_eq!(log_in_from(&service, 30 + attempt, "nobody", PASSWORD).await, expected);
    }

    // Another process knows the address, too. The address itself is stored nowhere.
    let database = service.database.take();
    let mut other = Service::start_on(service.config.clone()).await;
    other.database = database;
    for stranger in 40..44 {
        log_in_from(&other, stranger, "ada", "wrong password").await;
    }
    assert_eq!(
        log_in_from(&other, abroad, "ada", PASSWORD).await,
        StatusCode::TOO_MANY_REQUESTS
    );
    assert_eq!(log_in_from(&other, home, "ada", PASSWORD).await, StatusCode::CREATED);
    assert!(!other.stored().await.mentions("127.0.0").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_current_password_is_tried_as_seldom() {
    let service = Service::start_with(|config| {
        config.rate_limit.enabled = true;
        config.rate_limit.account = Quota::new(3, 1);
    })
    .await;
    let ada = service.user("ada").await;
    let other = service.session(&ada.id, "ada").await;
    let guess = async |user: &User, current: &str| {
        let body = json!({ "password": "another password", "current_password": current });
        service.patch("/v1/users/me", &user.token, body).await
    };
    for _ in 0..3 {
        guess(&ada, "wrong password").await.expect(StatusCode::FORBIDDEN);
    }
    guess(&ada, PASSWORD).await.expect(StatusCode::TOO_MANY_REQUESTS);
    service
        .delete_user(&ada.token)
        .await
        .expect(StatusCode::TOO_MANY_REQUESTS);
    // A thief who has stolen one session uses up the allowance of that session only.
    guess(&other, PASSWORD).await.expect(StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_cannot_try_the_current_passwords_of_many() {
    let service = Service::start_with(|config| {
        config.rate_limit.enabled = true;
        config.rate_limit.login = Quota::new(4, 1);
    })
    .await;
    let people = [service.user("ada").await, service.user("bob").await];
    let mut answers = Vec::new();
    for person in &people {
        for _ in 0..2 {
            let request = service
                .request(Method::DELETE, "/v1/users/me")
                .bearer_auth(&person.token);
            let request = request.json(&json!({ "current_password": "wrong password" }));
            answers.push(crate::service::send(request).await.status.as_u16());
        }
    }
    assert_eq!(answers, [403, 403, 429, 429]);
}

/// Somebody who knew the former password may have logged in with it from anywhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_makes_all_addresses_unknown_but_the_one_it_came_from() {
    let service = Service::start_with(|config| {
        config.rate_limit.enabled = true;
        config.rate_limit.account = Quota::new(3, 1);
    })
    .await;
    // The login and the password change both come from the address of the tests.
    let ada = service.user("ada").await;
    let thief = 2;
    assert_eq!(log_in_from(&service, thief, "ada", PASSWORD).await, StatusCode::CREATED);
    let new = "another password";
    let change = json!({ "password": new, "current_password": PASSWORD });
    let changed = service.patch("/v1/users/me", &ada.token, change).await;
    changed.expect(StatusCode::OK);
    for _ in 0..4 {
        log_in_from(&service, thief, "ada", "wrong password").await;
    }
    let guess = log_in_from(&service, thief, "ada", "wrong password").await;
    assert_eq!(guess, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(log_in_from(&service, 1, "ada", new).await, StatusCode::CREATED);
}
