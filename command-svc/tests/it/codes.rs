//! One-time codes: password resets and invitations.

use std::time::Duration;

use bson::{Document, doc};
use commands::codes::Codes;
use futures_util::future::join_all;
use model::values::{Handle, RegistrationPolicy};
use reqwest::StatusCode;
use serde_json::json;
use service::config::Quota;

use crate::service::{Answer, PASSWORD, Service};

const HOUR: Duration = Duration::from_secs(60 * 60);
const NEW: &str = "another password";

impl Service {
    async fn codes(&self) -> Codes {
        Codes::open(&self.stored().await.0, self.clock.clone()).await.unwrap()
    }

    async fn reset_code(&self, handle: &str) -> Option<String> {
        let handle = Handle::parse(handle).unwrap();
        self.codes().await.reset(&handle, HOUR).await.unwrap()
    }

    async fn reset(&self, code: &str, password: &str) -> Answer {
        let body = json!({ "code": code, "password": password });
        self.post_anonymously("/v1/users/password-resets", body).await
    }

    async fn log_in_with(&self, handle: &str, password: &str) -> StatusCode {
        let body = json!({ "handle": handle, "password": password });
        self.post_anonymously("/v1/sessions", body).await.status
    }

    async fn register_with(&self, handle: &str, invite: Option<&str>) -> Answer {
        let email = format!("{handle}@example.org");
        let mut body = json!({ "handle": handle, "email": email, "password": PASSWORD });
        if let Some(invite) = invite {
            body["invite"] = json!(invite);
        }
        self.post_anonymously("/v1/users", body).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_sets_a_password_once_and_ends_all_sessions() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    let (code, spare) = (
        service.reset_code("ada").await.unwrap(),
        service.reset_code("ada").await.unwrap(),
    );
    assert_eq!(service.reset_code("nobody").await, None);
    assert!(!service.stored().await.mentions(&code).await, "only its hash is stored");
    service.reset(&code, "short").await.expect_field(422, "password");
    // As people copy it.
    let done = service.reset(&format!(" {} ", code.to_uppercase()), NEW).await;
    assert!(
        !done
            .expect(StatusCode::NO_CONTENT)
            .header("consistency-token")
            .is_empty()
    );

    service
        .refresh(&ada.refresh_token)
        .await
        .expect(StatusCode::UNAUTHORIZED);
    let bio = json!({ "bio": "Still here." });
    service
        .patch("/v1/users/me", &ada.token, bio)
        .await
        .expect(StatusCode::UNAUTHORIZED);
    assert_eq!(service.log_in_with("ada", PASSWORD).await, StatusCode::UNAUTHORIZED);
    assert_eq!(service.log_in_with("ada", NEW).await, StatusCode::CREATED);
    // Neither this code nor a code that was made before works any more.
    for code in [code.as_str(), &spare, "nothing", ""] {
        let refused = service.reset(code, "a third password").await.expect_field(403, "code");
        assert_eq!(refused.problem(), "code-not-good");
    }
    assert_eq!(service.log_in_with("ada", NEW).await, StatusCode::CREATED);
    let stored = service.stored().await;
    let stream = stored.stream(&format!("user-{}", ada.id)).await;
    assert_eq!(stream, ["user.registered", "user.credentials_changed"]);
    assert_eq!(stored.count("codes", doc! {}).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_use_a_code_at_once_one_does() {
    let service = Service::start().await;
    service.user("ada").await;
    let code = service.reset_code("ada").await.unwrap();
    let password = |number: usize| format!("password number {number}");
    let answers = join_all((0..6).map(|number| {
        let (service, code) = (&service, &code);
        async move { service.reset(code, &password(number)).await.status }
    }))
    .await;
    let winners: Vec<usize> = (0..6).filter(|&at| answers[at] == StatusCode::NO_CONTENT).collect();
    assert_eq!(winners.len(), 1, "{answers:?}");
    for number in 0..6 {
        let expected = if number == winners[0] {
            StatusCode::CREATED
        } else {
            StatusCode::UNAUTHORIZED
        };
        assert_eq!(
            service.log_in_with("ada", &password(number)).await,
            expected,
            "{number}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_whose_use_was_not_answered_by_the_database_is_used_once() {
    let (service, proxy) = Service::start_behind_proxy().await;
    service.user("ada").await;
    let code = service.reset_code("ada").await.unwrap();
    proxy.lose(2, |command: &Document| command.contains_key("commitTransaction"));
    service.reset(&code, NEW).await.expect(StatusCode::NO_CONTENT);
    assert_eq!(proxy.lost(), 2);
    service
        .reset(&code, "a third password")
        .await
        .expect(StatusCode::FORBIDDEN);
    assert_eq!(service.log_in_with("ada", NEW).await, StatusCode::CREATED);
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_run_out_and_go_with_the_account() {
    let service = Service::start_with(|config| config.rate_limit.login = Quota::new(2, 1)).await;
    let ada = service.user("ada").await;
    let code = service.reset_code("ada").await.unwrap();
    service.clock.advance(HOUR + Duration::from_secs(1));
    service.reset(&code, NEW).await.expect(StatusCode::FORBIDDEN);
    let code = service.reset_code("ada").await.unwrap();
    // The access token has expired, too.
    let again = service.session(&ada.id, "ada").await;
    service.delete_user(&again.token).await.expect(StatusCode::NO_CONTENT);
    service.reset(&code, NEW).await.expect(StatusCode::FORBIDDEN);
    assert_eq!(
        service
            .stored()
            .await
            .count("codes", doc! { "user": { "$exists": true } })
            .await,
        0
    );
    assert_eq!(service.reset_code("ada").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_are_tried_as_seldom_as_passwords() {
    let service = Service::start_with(|config| {
        config.rate_limit.enabled = true;
        config.rate_limit.login = Quota::new(2, 1);
    })
    .await;
    service.reset("nothing", NEW).await.expect(StatusCode::FORBIDDEN);
    service.reset("nothing", NEW).await.expect(StatusCode::FORBIDDEN);
    service
        .reset("nothing", NEW)
        .await
        .expect(StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_an_invitation_is_needed_it_lets_one_in() {
    let service = Service::start_with(|config| config.command.registration = RegistrationPolicy::Invite).await;
    service.register_with("ada", None).await.expect_field(422, "invite");
    let refused = service
        .register_with("ada", Some("nothing"))
        .await
        .expect_field(403, "invite");
    assert_eq!(refused.problem(), "code-not-good");
    let invite = service.codes().await.invite(HOUR).await.unwrap();
    service
        .register_with("ada", Some(&invite))
        .await
        .expect(StatusCode::CREATED);
    service
        .register_with("bob", Some(&invite))
        .await
        .expect_field(403, "invite");

    // A registration that is refused uses up no code.
    let invite = service.codes().await.invite(HOUR).await.unwrap();
    service
        .register_with("ada", Some(&invite))
        .await
        .expect_field(409, "handle");
    let answers = join_all(["bob", "eve", "joe"].map(|handle| service.register_with(handle, Some(&invite)))).await;
    let registered = answers
        .iter()
        .filter(|answer| answer.status == StatusCode::CREATED)
        .count();
    assert_eq!(registered, 1, "{answers:?}");
    assert_eq!(service.stored().await.count("credentials", doc! {}).await, 2);

    // An invitation can't reset a password, and a reset code can't register.
    let (invite, reset) = (
        service.codes().await.invite(HOUR).await.unwrap(),
        service.reset_code("ada").await,
    );
    service.reset(&invite, NEW).await.expect(StatusCode::FORBIDDEN);
    service
        .register_with("may", reset.as_deref())
        .await
        .expect_field(403, "invite");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_it_is_closed_nobody_registers() {
    let mut service = Service::start().await;
    service.user("ada").await;
    let invite = service.codes().await.invite(HOUR).await.unwrap();
    // If registration is open, an invitation does no harm.
    service
        .register_with("bob", Some(&invite))
        .await
        .expect(StatusCode::CREATED);
    let mut config = service.config.clone();
    config.command.registration = RegistrationPolicy::Closed;
    let database = service.database.take();
    let mut service = Service::start_on(config).await;
    service.database = database;
    for invite in [None, Some(invite.as_str())] {
        let refused = service.register_with("eve", invite).await.expect(StatusCode::FORBIDDEN);
        assert_eq!(refused.problem(), "registration-closed");
    }
    service.log_in("ada").await.expect(StatusCode::CREATED);
}
