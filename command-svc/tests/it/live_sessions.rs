//! Which sessions of open connections are over.

use std::collections::HashSet;
use std::time::Duration;

use bson::doc;
use chrono::Utc;
use model::clock::SystemClock;
use model::ids::{SessionId, UserId};
use reqwest::StatusCode;
use serde_json::json;
use service::auth::{Claims, LiveSessions, Verifier};

use crate::service::{PASSWORD, Service};

impl Service {
    /// What an access token says.
    pub(crate) fn claims(&self, token: &str) -> Claims {
        let verifier = Verifier::from_config(&self.config.auth, SystemClock::shared()).unwrap();
        Claims::clone(&verifier.verify(token).unwrap())
    }

    /// The user and the session of an access token.
    fn connection(&self, token: &str) -> (UserId, SessionId) {
        let claims = self.claims(token);
        (claims.sub, claims.sid)
    }

    async fn over(&self, open: &[(UserId, SessionId)]) -> HashSet<(UserId, SessionId)> {
        let sessions = LiveSessions::new(&self.stored().await.0, self.clock.clone());
        sessions.over(open.iter().copied()).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_over_when_it_or_its_user_is_gone() {
    let service = Service::start().await;
    let (ada, bob) = (service.user("ada").await, service.user("bob").await);
    let phone = service.session(&ada.id, "ada").await;
    let [laptop, phone_open, of_bob] = [&ada, &phone, &bob].map(|user| service.connection(&user.token));
    let all = [laptop, phone_open, of_bob];
    assert_eq!(service.over(&[]).await, HashSet::new());
    assert_eq!(service.over(&all).await, HashSet::new());
    // Of two in the wrong pair, neither lives.
    let exchanged = [(laptop.0, of_bob.1), (of_bob.0, laptop.1)];
    assert_eq!(service.over(&exchanged).await, exchanged.into());

    service
        .delete("/v1/sessions/current", &phone.token)
        .await
        .expect(StatusCode::NO_CONTENT);
    assert_eq!(service.over(&all).await, [phone_open].into());
    service.delete_user(&bob.token).await.expect(StatusCode::NO_CONTENT);
    assert_eq!(service.over(&all).await, [phone_open, of_bob].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_over_when_another_one_sets_a_password() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    let phone = service.session(&ada.id, "ada").await;
    let all = [&ada, &phone].map(|user| service.connection(&user.token));
    let sessions = service.stored().await.0.collection::<bson::Document>("sessions");
    let former = sessions.find_one(doc! { "_id": all[1].1 }).await.unwrap().unwrap();
    let change = json!({ "password": "another password", "current_password": PASSWORD });
    service
        .patch("/v1/users/me", &ada.token, change)
        .await
        .expect(StatusCode::OK);
    assert_eq!(service.over(&all).await, [all[1]].into(), "the one that set it goes on");
    // What a login leaves behind that verified the former password just before that changed.
    sessions.insert_one(former).await.unwrap();
    assert_eq!(service.over(&all).await, [all[1]].into());
    // And one that raced with the deletion of the user.
    let credentials = service.stored().await.0.collection::<bson::Document>("credentials");
    credentials.delete_many(doc! {}).await.unwrap();
    assert_eq!(service.over(&all).await, all.into());
}

/// The database removes such sessions up to a minute later.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_over_when_it_has_expired() {
    let service = Service::start_with(|config| config.auth.refresh_token_ttl = Duration::from_secs(60 * 60)).await;
    let ada = service.user("ada").await;
    let open = [service.connection(&ada.token)];
    service.clock.advance(Duration::from_secs(59 * 60));
    assert_eq!(service.over(&open).await, HashSet::new());
    service.clock.advance(Duration::from_secs(2 * 60));
    assert_eq!(service.over(&open).await, open.into());
    assert_eq!(service.stored().await.count("sessions", doc! {}).await, 1);
}

/// As many connections as one query-svc may keep, each of them twice.
#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_sessions_are_asked_for_in_few_queries() {
    let (service, proxy) = Service::start_behind_proxy().await;
    let ada = service.user("ada").await;
    let sessions = service.stored().await.0.collection::<bson::Document>("sessions");
    let mut session = sessions.find_one(doc! {}).await.unwrap().unwrap();
    let (user, now) = (service.connection(&ada.token).0, Utc::now());
    let open: Vec<_> = (0..4_000).map(|_| (user, SessionId::new(now))).collect();
    let gone = open[1_234];
    let living = open.iter().filter(|&&pair| pair != gone).map(|&(_, id)| {
        session.insert("_id", id);
        session.clone()
    });
    sessions.insert_many(living).await.unwrap();
    let open = [open.clone(), open].concat();
    // A query has one answer, without a rest that is asked for later.
    proxy.lose(usize::MAX, |command| command.contains_key("getMore"));
    assert_eq!(service.over(&open).await, [gone].into());
    assert_eq!(proxy.asked(), ["find credentials", "find sessions"].repeat(4));
    assert_eq!(proxy.lost(), 0);
}
