//! Marking notifications as read, and dismissing them.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use model::clock::Clock;
use model::ids::EventId;
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::service::{Answer, Service, User, send};

impl Service {
    async fn mark(&self, user: &User, up_to: EventId) -> Answer {
        let request = self.request(Method::PUT, "/v1/notifications/read");
        send(request.bearer_auth(&user.token).json(&json!({ "up_to": up_to }))).await
    }

    fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_marker_only_rises_and_at_most_once_a_second() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    let [low, middle, high] = [3, 2, 1].map(|ago| EventId::new(service.now() - TimeDelta::minutes(ago)));
    let answer = service.mark(&ada, middle).await.expect(StatusCode::OK);
    assert_eq!(answer.body, json!({ "up_to": middle }));
    assert!(!answer.header("consistency-token").is_empty());
    for lower in [low, middle] {
        let answer = service.mark(&ada, lower).await.expect(StatusCode::OK);
        assert_eq!(answer.body, json!({ "up_to": middle }));
    }
    // The requests above may have taken a second.
    service.clock.rewind(Duration::from_secs(4));
    let answer = service.mark(&ada, high).await.expect(StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.problem(), "marked-just-now");
    assert_eq!(answer.header("retry-after"), "1");
    service.clock.advance(Duration::from_secs(6));
    let answer = service.mark(&ada, high).await.expect(StatusCode::OK);
    assert_eq!(answer.body, json!({ "up_to": high }));
    let ahead = EventId::new(service.now() + TimeDelta::days(2));
    service.mark(&ada, ahead).await.expect_field(422, "up_to");

    let stream = service
        .stored()
        .await
        .stream(&format!("notifications_read-{}", ada.id))
        .await;
    assert_eq!(stream, ["notifications.read"; 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notification_is_dismissed_once() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    let path = |id: EventId| format!("/v1/notifications/{id}");
    let notification = EventId::new(service.now());
    for _ in 0..2 {
        let answer = service.delete(&path(notification), &ada.token).await;
        assert_eq!(answer.expect(StatusCode::OK).body, json!({ "dismissed": true }));
    }
    let ahead = EventId::new(service.now() + TimeDelta::days(2));
    service
        .delete(&path(ahead), &ada.token)
        .await
        .expect(StatusCode::NOT_FOUND);
    let name = format!("notification-{}-{notification}", ada.id);
    let stream = service.stored().await.stream(&name).await;
    assert_eq!(stream, ["notification.dismissed"]);
}
