//! The gateway: one address for both services, at other addresses or in the same process.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use event_log::consistency::HEADER;
use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::home::e2e;
use crate::stack::{DEADLINE, EventReader, Stack, eventually};

const TOO_LONG: usize = 100_000;

/// A client that knows one address.
struct OneAddress {
    http: Client,
    url: String,
}

impl OneAddress {
    fn new(url: &str) -> Self {
        Self {
            http: Client::builder().no_proxy().build().expect("a client"),
            url: url.to_owned(),
        }
    }

    async fn send(&self, method: Method, path: &str, token: Option<&str>, body: Option<Value>) -> Response {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        request.send().await.expect("an answer")
    }

    async fn json(&self, method: Method, path: &str, token: Option<&str>, body: Option<Value>) -> Value {
        let answer = self.send(method, path, token, body).await;
        let status = answer.status();
        let text = answer.text().await.expect("a body");
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).expect("JSON")
    }

    /// Registers and logs in. Returns the id and the token.
    async fn person(&self, handle: &str) -> (String, String) {
        let password = "one address is enough";
        let registration = json!({ "handle": handle, "email": format!("{handle}@example.org"), "password": password });
        let user = self.json(Method::POST, "/v1/users", None, Some(registration)).await;
        let login = json!({ "handle": handle, "password": password });
        let session = self.json(Method::POST, "/v1/sessions", None, Some(login)).await;
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        (text(&user["id"]), text(&session["access_token"]))
    }
}

/// What a client with one address does: it writes, reads what it has written, and watches.
pub(crate) async fn one_address_is_enough(url: &str) {
    let at = OneAddress::new(url);
    let (ann, anns_token) = at.person("ann_at_one").await;
    let (_, bobs_token) = at.person("bob_at_one").await;
    at.json(Method::PUT, &format!("/v1/users/{ann}/follow"), Some(&bobs_token), None)
        .await;

    let stream = eventually("the stream is there", || async {
        let answer = at.send(Method::GET, "/v1/streams/home", Some(&bobs_token), None).await;
        answer.status().is_success().then_some(answer)
    });
    let mut stream = EventReader::of(stream.await);
    stream.until(|event, _| event == "resumed").await;
    let mut request = format!("{}/v1/streams", url.replace("http:", "ws:"))
        .into_client_request()
        .expect("a request");
    let bearer = format!("Bearer {bobs_token}").parse().expect("a header");
    request.headers_mut().insert("authorization", bearer);
    let (mut socket, _) = connect_async(request).await.expect("a WebSocket");
    let subscribe = json!({ "subscribe": "home" }).to_string();
    socket.send(Message::text(subscribe)).await.expect("an open socket");
    let mut told = async || loop {
        let message = timeout(DEADLINE, socket.next()).await.expect("a message in time");
        if let Message::Text(text) = message.expect("no end").expect("no error") {
            let told: Value = serde_json::from_str(&text).expect("JSON");
            if told["event"] != "heartbeat" {
                return told;
            }
        }
    };
    while told().await["event"] != "resumed" {}

    let text = json!({ "text": "by one address" });
    let posted = at.send(Method::POST, "/v1/posts", Some(&anns_token), Some(text)).await;
    assert_eq!(posted.status(), StatusCode::CREATED);
    let seen = posted.headers()[HEADER].clone();
    let home = eventually("the post is shown", || async {
        let home = at.http.get(format!("{}/v1/timelines/home", at.url));
        let home = home
            .bearer_auth(&bobs_token)
            .header(HEADER, &seen)
            .send()
            .await
            .expect("an answer");
        home.status().is_success().then_some(home)
    });
    let home: Value = home.await.json().await.expect("a body");
    assert_eq!(home["items"][0]["text"], "by one address");
    stream.until(|_, data| data.contains("by one address")).await;
    while told().await["data"]["text"] != "by one address" {}

    // What only command-svc knows, by GET.
    let keys = at.json(Method::GET, "/.well-known/jwks.json", None, None).await;
    assert_eq!(keys["keys"].as_array().expect("a list").len(), 1);
    at.json(Method::GET, "/v1/users/me", Some(&anns_token), None).await;
    at.json(Method::GET, "/v1/sessions", Some(&anns_token), None).await;

    // A head has no body, also where the body would have no end.
    for path in ["/v1/timelines/public", "/v1/streams/public"] {
        let head = at.send(Method::HEAD, path, None, None).await;
        assert_eq!(
            (head.status(), head.text().await.expect("a body").len()),
            (StatusCode::OK, 0),
            "{path}"
        );
    }
    let id = "0199d2d7-8a10-7000-8000-000000000001";
    let identified = at
        .http
        .get(format!("{}/v1/timelines/public", at.url))
        .header("x-request-id", id);
    assert_eq!(
        identified.send().await.expect("an answer").headers()["x-request-id"],
        id
    );

    // One description of both.
    let described = at.json(Method::GET, "/openapi.json", None, None).await;
    let paths = described["paths"].as_object().expect("an object");
    assert!(paths["/v1/posts/{id}"]["get"].is_object() && paths["/v1/posts/{id}"]["patch"].is_object());
    assert_eq!(
        at.send(Method::GET, "/docs/", None, None).await.status(),
        StatusCode::OK
    );
    assert_eq!(
        at.json(Method::GET, "/asyncapi.json", None, None).await["asyncapi"],
        "3.0.0"
    );

    // Mistakes are explained as by the services.
    for (path, status) in [("/v1/nothing", 404), ("/v1/posts/nobody", 400), ("/nothing", 404)] {
        let refused = at.send(Method::GET, path, None, None).await;
        assert_eq!(refused.status(), status, "{path}");
        assert_eq!(refused.headers()["content-type"], "application/problem+json", "{path}");
    }
    let long = json!({ "text": "x".repeat(TOO_LONG) });
    let refused = at.send(Method::POST, "/v1/posts", Some(&anns_token), Some(long)).await;
    assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let chunks = futures_util::stream::iter((0..TOO_LONG / 1_000).map(|_| Ok::<_, std::io::Error>("x".repeat(1_000))));
    let long = at.http.post(format!("{}/v1/posts", at.url)).bearer_auth(&anns_token);
    let long = long
        .header("content-type", "application/json")
        .body(reqwest::Body::wrap_stream(chunks));
    assert_eq!(
        long.send().await.expect("an answer").status(),
        StatusCode::PAYLOAD_TOO_LARGE
    );
}

e2e! {
    async fn services_at_other_addresses_are_at_one() {
        let stack = Stack::start().await;
        let gateway = stack.gateway(&[]);
        one_address_is_enough(&gateway.url).await;
        let metrics = OneAddress::new(&gateway.url).send(Method::GET, "/metrics", None, None).await;
        let metrics = metrics.text().await.unwrap();
        assert!(metrics.contains("route=\"/v1/{path:.*}\""), "labels are not what clients write: {metrics}");
    }
}

e2e! {
    async fn a_service_that_is_away_is_said_to_be_away() {
        let stack = Stack::start().await;
        // A port that was free a moment ago.
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let gateway = stack.gateway(&[("gateway.query_url", &format!("http://{nobody}"))]);
        let at = OneAddress::new(&gateway.url);
        at.person("ann").await;
        let away = at.send(Method::GET, "/v1/timelines/public", None, None).await;
        assert_eq!((away.status(), &away.headers()["retry-after"]), (StatusCode::SERVICE_UNAVAILABLE, &"1".parse().unwrap()));
        let problem: Value = away.json().await.unwrap();
        assert!(problem["detail"].as_str().unwrap().contains("away"), "{problem}");
        assert_eq!(at.send(Method::GET, "/readyz", None, None).await.status(), StatusCode::OK);
    }
}

e2e! {
    async fn streams_end_when_the_gateway_does() {
        let stack = Stack::start().await;
        let gateway = stack.gateway(&[("shutdown.grace", "2s")]);
        let mut streams = Vec::new();
        for _ in 0..8 {
            let answer = OneAddress::new(&gateway.url).send(Method::GET, "/v1/streams/public", None, None).await;
            assert_eq!(answer.status(), StatusCode::OK);
            streams.push(EventReader::of(answer));
        }
        gateway.stop();
        for mut stream in streams {
            // The end is a proper one: a broken body would be an error.
            stream.until(|_, _| false).await;
        }
    }
}

e2e! {
    /// The services trust the gateway, and count by the address that it has seen.
    async fn clients_are_told_apart() {
        let overrides = [
            ("rate_limit.enabled", "true"),
            ("rate_limit.login.burst", "1"),
            ("rate_limit.login.per_minute", "1"),
            ("http.trusted_proxies", "127.0.0.1"),
        ];
        let stack = Stack::start_with(&overrides).await;
        let gateway = stack.gateway(&[]);
        let at = OneAddress::new(&gateway.url);
        let log_in = async |from: &str| {
            let login = json!({ "handle": "nobody", "password": "whatever it is" });
            let request = at.http.post(format!("{}/v1/sessions", at.url)).header("x-forwarded-for", from);
            request.json(&login).send().await.unwrap().status()
        };
        assert_eq!(log_in("198.51.100.1").await, StatusCode::UNAUTHORIZED);
        assert_eq!(log_in("198.51.100.1").await, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(log_in("198.51.100.2").await, StatusCode::UNAUTHORIZED);
    }
}

e2e! {
    /// Whoever sends a body a byte at a time holds up nobody, and is sent away in time.
    async fn a_slow_client_delays_no_other() {
        let stack = Stack::start_with(&[("http.body_timeout", "1s")]).await;
        let gateway = stack.gateway(&[("http.max_in_flight", "8")]);
        let address = gateway.url.trim_start_matches("http://").to_owned();
        let mut slow: Vec<TcpStream> = Vec::new();
        for number in 0..32 {
            let (path, kind) = [("/v1/users", "json"), ("/login", "x-www-form-urlencoded")][number % 2];
            let mut stream = TcpStream::connect(&address).unwrap();
            let head = format!("POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/{kind}\r\nContent-Length: 50\r\n\r\n{{");
            stream.write_all(head.as_bytes()).unwrap();
            slow.push(stream);
        }
        let at = OneAddress::new(&gateway.url);
        at.person("ann").await;
        for mut stream in slow {
            stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 408");
        }
    }
}
