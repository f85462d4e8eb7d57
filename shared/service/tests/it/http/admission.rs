//! Limits for one caller, and for requests at the same time.

use std::num::NonZeroU32;

use actix_web::http::Method;
use service::config::{Networks, Quota};
use service::http::Class;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

fn limited(edge: &mut Edge) {
    edge.rate_limit.enabled = true;
    edge.rate_limit.read = Quota::new(3, 1);
    edge.rate_limit.write = Quota::new(2, 1);
    edge.rate_limit.register = Quota::new(1, 1);
    edge.classes = vec![(Method::POST, "/v1/users", Class::Register)];
}

fn number(response: &Response, header: &str) -> u64 {
    response.headers()[header].to_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn every_answer_tells_what_is_left_and_429_when_to_come_back() {
    let running = Running::start(limited);
    for left in [2, 1, 0] {
        let response = running.get("/v1/posts").await;
        assert_eq!(response.status(), 200);
        assert_eq!(
            (
                number(&response, "x-ratelimit-limit"),
                number(&response, "x-ratelimit-remaining")
            ),
            (3, left)
        );
        assert!((1..=180).contains(&number(&response, "x-ratelimit-reset")));
    }
    let response = running.get("/v1/posts").await;
    assert_eq!(
        (
            number(&response, "x-ratelimit-remaining"),
            number(&response, "x-ratelimit-reset")
        ),
        (0, 180)
    );
    assert!((55..=60).contains(&number(&response, "retry-after")));
    let refused = problem(response, 429).await;
    assert_eq!(refused["type"], "urn:microblog:problem:too-many-requests");
    // A path without a route is counted too, but what operators request is not.
    problem(running.get("/v1/nothing").await, 429).await;
    for _ in 0..10 {
        let probe = running.get("/readyz").await;
        assert_eq!(probe.status(), 200);
        assert!(!probe.headers().contains_key("x-ratelimit-limit"));
    }
}

#[tokio::test]
async fn users_are_counted_by_user_and_all_others_by_address() {
    let running = Running::start(limited);
    let [ada, bob] = [UserId::new(Utc::now()), UserId::new(Utc::now())];
    let ask = async |user: Option<UserId>| {
        let request = running.client.get(running.at("/v1/posts"));
        let request = match user {
            // A new token each time, because the user is counted and not the token.
            Some(user) => request.bearer_auth(running.token(user, SCOPE_USER)),
            None => request,
        };
        request.send().await.unwrap().status().as_u16()
    };
    for _ in 0..3 {
        assert_eq!(ask(Some(ada)).await, 200);
    }
    assert_eq!(ask(Some(ada)).await, 429);
    assert_eq!(ask(Some(bob)).await, 200);
    assert_eq!(ask(None).await, 200);
    // A token that is not valid gets no allowance of its own.
    for expected in [200, 200, 429] {
        let request = running.client.get(running.at("/v1/posts")).bearer_auth("made-up");
        assert_eq!(request.send().await.unwrap().status(), expected);
    }
}

#[tokio::test]
async fn registering_has_a_stricter_limit_by_address_for_everybody() {
    let running = Running::start(limited);
    let register = async |user: UserId| {
        let request = running
            .client
            .post(running.at("/v1/users"))
            .bearer_auth(running.token(user, SCOPE_USER));
        let body = r#"{"handle":"ada","email":"ada@example.org"}"#;
        request
            .header("content-type", "application/json")
            .body(body)
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    };
    assert_eq!(register(UserId::new(Utc::now())).await, 201);
    assert_eq!(register(UserId::new(Utc::now())).await, 429);
}

#[tokio::test]
async fn a_proxy_is_believed_only_where_it_is_trusted() {
    let ask = async |running: &Running, forwarded: &str| {
        let request = running
            .client
            .get(running.at("/v1/posts"))
            .header("x-forwarded-for", forwarded);
        request.send().await.unwrap().status().as_u16()
    };
    let direct = Running::start(limited);
    for (index, expected) in [200, 200, 200, 429].into_iter().enumerate() {
        assert_eq!(ask(&direct, &format!("192.0.2.{index}")).await, expected);
    }
    let behind = Running::start(|edge| {
        limited(edge);
        edge.http.trusted_proxies = Networks::parse("127.0.0.0/8").unwrap();
    });
    for index in 0..5 {
        assert_eq!(ask(&behind, &format!("192.0.2.{index}")).await, 200);
    }
    // The entries that the client itself wrote in front change nothing.
    for (index, expected) in [200, 200, 200, 429].into_iter().enumerate() {
        assert_eq!(
            ask(&behind, &format!("203.0.113.{index}, 198.51.100.1")).await,
            expected
        );
    }
}

#[tokio::test]
async fn one_request_too_many_at_once_is_told_to_come_back() {
    let running = Running::start(|edge| edge.http.max_in_flight = NonZeroU32::new(1).unwrap());
    let first = tokio::spawn(running.client.get(running.at("/slow")).send());
    // This request goes to a route that takes no place, so the slow request has the only one.
    eventually_busy(&running).await;
    let refused = running.get("/v1/posts").await;
    assert_eq!(number(&refused, "retry-after"), 1);
    problem(refused, 503).await;
    assert_eq!(running.get("/readyz").await.status(), 200);
    running.gate.add_permits(1);
    assert_eq!(first.await.unwrap().unwrap().status(), 200);
    eventually(&running, "/v1/posts", StatusCode::OK).await;
}

const BODY: &str = r#"{"handle":"ada","email":"ada@example.org"}"#;

/// A client that sends the first half of a body.
async fn trickle(running: &Running, from: &str) -> TcpStream {
    let mut socket = TcpStream::connect(running.url.trim_start_matches("http://"))
        .await
        .unwrap();
    let head = format!(
        "POST /v1/users HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nx-forwarded-for: {from}\r\ncontent-length: {}\r\n\r\n{}",
        BODY.len(),
        &BODY[..20],
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    socket
}

#[tokio::test]
async fn whoever_trickles_bodies_is_refused_and_nobody_else() {
    let running = Running::start(|edge| {
        edge.http.trusted_proxies = Networks::parse("127.0.0.1").unwrap();
        edge.http.max_in_flight = NonZeroU32::new(2).unwrap();
        edge.http.max_bodies = NonZeroU32::new(5).unwrap();
        edge.http.max_bodies_per_address = NonZeroU32::new(4).unwrap();
    });
    let post = async |from: &str| {
        let request = running
            .client
            .post(running.at("/v1/users"))
            .header("x-forwarded-for", from);
        let request = request.header("content-type", "application/json").body(BODY);
        request.send().await.unwrap()
    };
    let waiting = async |count: usize| {
        let line = format!("http_requests_waiting{{what=\"body\"}} {count}");
        eventually_measured(&running, &line).await;
    };
    // More bodies than places, all from the network of one customer.
    let mut trickling = Vec::new();
    for host in 0..4 {
        trickling.push(trickle(&running, &format!("2001:db8:0:{host}::1")).await);
        waiting(trickling.len()).await;
    }
    let refused = post("2001:db8:0:ff::1").await;
    assert_eq!(number(&refused, "retry-after"), 1);
    problem(refused, 429).await;
    assert_eq!(running.get("/v1/posts").await.status(), 200);
    assert_eq!(post("2001:db8:0:100::1").await.status(), 201);
    // All networks together have a limit, too.
    trickling.push(trickle(&running, "192.0.2.1").await);
    waiting(5).await;
    problem(post("192.0.2.2").await, 503).await;
    assert_eq!(running.get("/v1/posts").await.status(), 200);
    // The rest of a body is still accepted, and a client that hangs up frees its space.
    let mut first = trickling.remove(0);
    first.write_all(&BODY.as_bytes()[20..]).await.unwrap();
    let mut answer = vec![0; 12];
    let answered = tokio::time::timeout(DEADLINE, first.read_exact(&mut answer)).await;
    answered.unwrap().unwrap();
    assert_eq!(answer, b"HTTP/1.1 201");
    drop(trickling);
    waiting(0).await;
    assert_eq!(post("2001:db8:0:ff::1").await.status(), 201);
}
