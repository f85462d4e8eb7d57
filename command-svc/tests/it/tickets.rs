//! Tickets that open live streams.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bson::doc;
use chrono::{DateTime, Utc};
use event_log::crypto::sha256;
use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::json;
use service::auth::Tickets;

use crate::proxy::is;
use crate::service::{Answer, Service, User, send};

const TICKETS: &str = "/v1/streams/tickets";

impl Service {
    /// Tickets as another process has them.
    async fn tickets(&self) -> Tickets {
        Tickets::new(&self.stored().await.0, self.clock.clone())
    }

    async fn ticket(&self, user: &User) -> Answer {
        let request = self.request(Method::POST, TICKETS).bearer_auth(&user.token);
        send(request).await.expect(StatusCode::CREATED)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_stands_for_its_access_token_once() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    let issued = service.ticket(&ada).await;
    assert_eq!(issued.header("cache-control"), "no-store");
    let expires_at: DateTime<Utc> = issued.text("expires_at").parse().unwrap();
    assert!((expires_at - Utc::now()).num_seconds() <= 30, "{expires_at}");
    let (ticket, stored) = (issued.text("ticket"), service.stored().await);
    assert!(!stored.mentions(&ticket).await, "only its hash is stored");
    let documents = stored.all("stream_tickets", doc! {}).await;
    let bytes = URL_SAFE_NO_PAD.decode(&ticket).unwrap();
    assert_eq!(bytes.len(), 32);
    assert_eq!(documents[0].get_binary_generic("_id").unwrap(), &sha256(&bytes));
    assert_eq!(documents.len(), 1);

    let tickets = service.tickets().await;
    let other = service.ticket(&ada).await.text("ticket");
    assert_eq!(tickets.redeem(&ticket).await.unwrap(), Some(service.claims(&ada.token)));
    assert_eq!(tickets.redeem(&ticket).await.unwrap(), None);
    assert_eq!(tickets.redeem("nothing").await.unwrap(), None);
    assert!(tickets.redeem(&other).await.unwrap().is_some());
    assert_eq!(stored.count("stream_tickets", doc! {}).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_use_a_ticket_at_once_one_does() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    let (ticket, tickets) = (service.ticket(&ada).await.text("ticket"), service.tickets().await);
    let used = join_all((0..8).map(|_| tickets.redeem(&ticket))).await;
    let used = used.into_iter().filter_map(|claims| claims.unwrap());
    assert_eq!(used.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_ticket_opens_nothing_even_if_it_is_still_there() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    let (ticket, tickets) = (service.ticket(&ada).await.text("ticket"), service.tickets().await);
    service.clock.advance(Duration::from_secs(31));
    assert_eq!(tickets.redeem(&ticket).await.unwrap(), None);
    assert_eq!(service.stored().await.count("stream_tickets", doc! {}).await, 1);
    // It was the time.
    service.clock.rewind(Duration::from_secs(31));
    assert!(tickets.redeem(&ticket).await.unwrap().is_some());
}

/// The reply is lost to the driver's repetition as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_whose_insert_was_not_answered_is_issued_once() {
    let (service, proxy) = Service::start_behind_proxy().await;
    let ada = service.user("ada").await;
    proxy.lose(2, |command| is(command, "insert", "stream_tickets"));
    let ticket = service.ticket(&ada).await.text("ticket");
    assert_eq!(proxy.lost(), 2);
    assert_eq!(service.stored().await.count("stream_tickets", doc! {}).await, 1);
    assert!(service.tickets().await.redeem(&ticket).await.unwrap().is_some());
}

/// It may have let somebody in.
#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_whose_use_was_not_answered_is_used() {
    let (service, proxy) = Service::start_behind_proxy().await;
    let ada = service.user("ada").await;
    let (ticket, tickets) = (service.ticket(&ada).await.text("ticket"), service.tickets().await);
    proxy.lose(2, |command| is(command, "findAndModify", "stream_tickets"));
    assert_eq!(tickets.redeem(&ticket).await.unwrap(), None);
    assert_eq!(proxy.lost(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_needs_no_body_and_nothing_in_it() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    service
        .post(TICKETS, &ada.token, json!({}))
        .await
        .expect(StatusCode::CREATED);
    let refused = service.post(TICKETS, &ada.token, json!({ "scope": "admin" })).await;
    refused.expect_field(422, "scope");
}
