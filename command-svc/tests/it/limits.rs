//! Who asks too often is told when to come back.

use reqwest::StatusCode;
use serde_json::json;
use shared::config::Quota;

use crate::service::{Service, User};

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

    // Two logins and this one; refreshes count with them.
    service.log_in("ada").await.expect(StatusCode::CREATED);
    service.log_in("ada").await.expect(StatusCode::TOO_MANY_REQUESTS);
    let refresh = json!({ "refresh_token": ada.refresh_token });
    service
        .post_anonymously("/v1/sessions/refresh", refresh)
        .await
        .expect(StatusCode::TOO_MANY_REQUESTS);

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
