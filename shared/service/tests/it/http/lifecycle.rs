//! How a server starts and ends.

use tokio::net::TcpStream;

use super::*;

#[tokio::test]
async fn draining_tells_the_balancer_first_and_lets_requests_end() {
    let mut running = Running::start(|edge| edge.shutdown.drain_delay = Duration::from_secs(2));
    let address = running.url.trim_start_matches("http://").to_owned();
    let slow = tokio::spawn(running.client.get(running.at("/slow")).send());
    eventually_busy(&running).await;
    let connection = |response: reqwest::Response| response.headers().get("connection").cloned();
    assert_eq!(connection(running.get("/v1/posts").await), None);
    running.shutdown.cancel();
    // Until the load balancers have noticed, every request is still answered.
    let draining: Value = eventually(&running, "/readyz", StatusCode::SERVICE_UNAVAILABLE)
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(draining["status"], "draining");
    assert_eq!(running.get("/healthz").await.status(), 200);
    let answer = running.get("/v1/posts").await;
    assert_eq!(answer.status(), 200);
    // The client must open a new connection for its next request, and the balancer chooses where.
    assert_eq!(connection(answer).unwrap(), "close");
    // After that, no new connection is accepted, but running requests are answered.
    let began = Instant::now();
    while TcpStream::connect(&address).await.is_ok() {
        assert!(began.elapsed() < DEADLINE, "connections are still accepted");
        tokio::task::yield_now().await;
    }
    assert!(!running.server.is_finished());
    running.gate.add_permits(1);
    let answer = slow.await.unwrap().unwrap();
    assert_eq!(answer.text().await.unwrap(), "done");
    let ended = tokio::time::timeout(DEADLINE, &mut running.server).await.unwrap();
    ended.unwrap().unwrap();
}

#[tokio::test]
async fn an_idle_server_ends_at_once() {
    let mut running = Running::start(|edge| edge.shutdown.grace = Duration::from_secs(600));
    // An idle connection stays open.
    assert_eq!(running.get("/livez").await.status(), 200);
    running.shutdown.cancel();
    let ended = tokio::time::timeout(DEADLINE, &mut running.server).await.unwrap();
    ended.unwrap().unwrap();
}

#[tokio::test]
async fn whoever_does_not_end_is_not_waited_for_longer_than_the_grace() {
    let mut running = Running::start(|edge| edge.shutdown.grace = Duration::from_secs(1));
    let slow = tokio::spawn(running.client.get(running.at("/slow")).send());
    eventually_busy(&running).await;
    running.shutdown.cancel();
    let ended = tokio::time::timeout(DEADLINE, &mut running.server).await.unwrap();
    ended.unwrap().unwrap();
    assert!(slow.await.unwrap().is_err());
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let running = Running::start(|_| ());
    let address = running.url.trim_start_matches("http://").parse().unwrap();
    let edge = Edge::new(MetricsRegistry::default(), Readiness::default());
    let error = Server::bind(address, edge).unwrap_err();
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}
