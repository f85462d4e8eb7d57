//! What operators, browsers and readers of the documentation see.

use std::sync::OnceLock;

use service::telemetry::{self, TelemetryGuard};
use utoipa::OpenApi;
use uuid::Uuid;

use super::*;

#[tokio::test]
async fn probes_tell_what_is_missing() {
    let running = Running::start(|edge| edge.http.check_timeout = Duration::from_millis(50));
    assert_eq!(
        running.get("/readyz").await.json::<Value>().await.unwrap()["status"],
        "ok"
    );
    running.readiness.check("always", || async { Ok(()) });
    assert_eq!(running.get("/readyz").await.status(), 200);
    running
        .readiness
        .check("mongodb", || async { Err("no primary".to_owned()) });
    running.readiness.check("oracle", std::future::pending);
    for path in ["/readyz", "/healthz"] {
        let response = running.get(path).await;
        assert_eq!(response.status(), 503, "{path}");
        let told: Value = response.json().await.unwrap();
        assert_eq!(told["status"], "unavailable");
        assert_eq!(told["checks"][0], serde_json::json!({"name": "always", "ok": true}));
        assert_eq!(
            told["checks"][1],
            serde_json::json!({"name": "mongodb", "ok": false, "reason": "no primary"})
        );
        assert!(told["checks"][2]["reason"].as_str().unwrap().contains("did not answer"));
    }
    assert_eq!(running.get("/livez").await.status(), 200);
}

/// One host may lead to everything that a program answers, so a proxy must not have to know what is not for the public.
#[tokio::test]
async fn who_comes_through_a_proxy_sees_neither_probes_nor_metrics() {
    let running = Running::start(|_| ());
    for path in ["/livez", "/readyz", "/healthz", "/metrics"] {
        assert_eq!(running.get(path).await.status(), 200, "{path}");
        let through_proxy = running
            .client
            .get(running.at(path))
            .header("x-forwarded-for", "192.0.2.1");
        assert_eq!(through_proxy.send().await.unwrap().status(), 404, "{path}");
    }
}

#[tokio::test]
async fn metrics_are_by_route_and_never_by_path() {
    let running = Running::start(|_| ());
    let id = PostId::new(Utc::now());
    running.get(&format!("/v1/posts/{id}")).await;
    running.get(&format!("/v1/posts/{}", PostId::new(Utc::now()))).await;
    running.get("/made/up/by/a/client").await;
    running
        .client
        .request("BREW".parse().unwrap(), running.at("/v1/posts"))
        .send()
        .await
        .unwrap();
    let response = running.get("/metrics").await;
    assert!(
        response.headers()["content-type"]
            .to_str()
            .unwrap()
            .starts_with("application/openmetrics-text")
    );
    let text = response.text().await.unwrap();
    let has = |line: &str| assert!(text.lines().any(|one| one == line), "{line} is not in\n{text}");
    has(r#"http_requests_total{method="GET",route="/v1/posts/{id}",status="200"} 2"#);
    has(r#"http_requests_total{method="GET",route="unmatched",status="404"} 1"#);
    has(r#"http_requests_total{method="other",route="/v1/posts",status="405"} 1"#);
    has(r#"http_request_duration_seconds_count{method="GET",route="/v1/posts/{id}"} 2"#);
    has("http_requests_in_flight 1");
    assert!(!text.contains(&id.to_string()) && !text.contains("/made/up"), "{text}");
}

#[tokio::test]
async fn a_request_keeps_its_id() {
    let running = Running::start(|_| ());
    let id = Uuid::now_v7().to_string();
    let response = running
        .client
        .get(running.at("/v1/headers"))
        .header("x-request-id", &id)
        .send()
        .await
        .unwrap();
    assert_eq!(response.headers()["x-request-id"], id.as_str());
    assert_eq!(response.json::<Value>().await.unwrap()[1], id.as_str());
    // An id that is not a UUID is not repeated in the answer.
    let response = running
        .client
        .get(running.at("/nothing"))
        .header("x-request-id", "<script>")
        .send()
        .await
        .unwrap();
    assert!(Uuid::parse_str(response.headers()["x-request-id"].to_str().unwrap()).is_ok());
}

/// Starts spans without log lines, once for the whole process.
fn start_tracing() {
    static STARTED: OnceLock<TelemetryGuard> = OnceLock::new();
    STARTED.get_or_init(|| {
        let spans = config::Telemetry {
            filter: "service::http::observe=info".to_owned(),
            ..config::Telemetry::default()
        };
        telemetry::init(&spans, "test").unwrap()
    });
}

#[tokio::test]
async fn a_request_continues_the_callers_trace() {
    start_tracing();
    let running = Running::start(|_| ());
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let request = running.client.get(running.at("/v1/trace"));
    let continued = request
        .header("traceparent", format!("00-{trace}-b7ad6b7169203331-01"))
        .send()
        .await
        .unwrap();
    assert_eq!(continued.json::<String>().await.unwrap(), trace);
    let own: String = running.get("/v1/trace").await.json().await.unwrap();
    assert_ne!(own, trace);
    let garbled = running
        .client
        .get(running.at("/v1/trace"))
        .header("traceparent", "00-zz")
        .send()
        .await
        .unwrap();
    assert_ne!(garbled.json::<String>().await.unwrap(), own);
}

#[tokio::test]
async fn head_is_answered_as_get_without_the_body() {
    let running = Running::start(|_| ());
    let path = format!("/v1/posts/{}", PostId::new(Utc::now()));
    let get = running.get(&path).await;
    let head = running.client.head(running.at(&path)).send().await.unwrap();
    assert_eq!(head.status(), 200);
    assert_eq!(head.headers()["etag"], get.headers()["etag"]);
    assert_eq!(head.headers()["content-length"], get.headers()["content-length"]);
    assert_eq!(head.bytes().await.unwrap().len(), 0);
    // The connection still works, because no body was sent.
    assert_eq!(running.get(&path).await.status(), 200);
}

#[tokio::test]
async fn pages_of_allowed_sites_may_call_and_read_the_headers() {
    let running = Running::start(|edge| {
        edge.cors.allowed_origins = config::StringList::from(["https://app.example"]);
        edge.rate_limit.enabled = true;
        edge.rate_limit.read = config::Quota::new(1, 1);
    });
    let preflight = |origin: &'static str| {
        running
            .client
            .request(reqwest::Method::OPTIONS, running.at("/v1/users"))
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header(
                "access-control-request-headers",
                "authorization,content-type,idempotency-key",
            )
            .send()
    };
    let allowed = preflight("https://app.example").await.unwrap();
    assert!(allowed.status().is_success(), "{}", allowed.status());
    assert_eq!(allowed.headers()["access-control-allow-origin"], "https://app.example");
    let foreign = preflight("https://evil.example").await.unwrap();
    assert!(!foreign.headers().contains_key("access-control-allow-origin"));
    for expected in [200, 429] {
        let request = running
            .client
            .get(running.at("/v1/posts"))
            .header("origin", "https://app.example");
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), expected);
        assert_eq!(response.headers()["access-control-allow-origin"], "https://app.example");
        let exposed = response.headers()["access-control-expose-headers"]
            .to_str()
            .unwrap()
            .to_lowercase();
        for header in [
            "link",
            "etag",
            "location",
            "consistency-token",
            "retry-after",
            "x-ratelimit-reset",
            "x-request-id",
        ] {
            assert!(exposed.contains(header), "{header} is not in {exposed}");
        }
    }
}

#[tokio::test]
async fn no_site_is_allowed_where_none_is_configured() {
    let running = Running::start(|_| ());
    let response = running
        .client
        .get(running.at("/v1/posts"))
        .header("origin", "https://app.example")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    assert!(!response.headers().contains_key("access-control-allow-origin"));
}

#[derive(OpenApi)]
#[openapi(info(title = "Test"), components(schemas(Problem)))]
struct Described;

#[tokio::test]
async fn the_description_and_its_reader_come_from_here_alone() {
    let running = Running::start(|edge| edge.openapi = Some(serde_json::json!(Described::openapi())));
    let openapi: Value = running.get("/openapi.json").await.json().await.unwrap();
    assert_eq!(openapi["info"]["title"], "Test");
    assert!(
        openapi["components"]["schemas"]["Problem"]["properties"]["errors"].is_object(),
        "{openapi}"
    );
    let page = running.get("/docs").await;
    assert_eq!(page.url().path(), "/docs/");
    let page = page.text().await.unwrap();
    let references = page
        .split(['"', '\''])
        .filter(|text| text.ends_with(".js") || text.ends_with(".css"));
    let mut followed = 0;
    for reference in references {
        assert!(!reference.contains("//"), "{reference} is elsewhere");
        let file = running
            .get(&format!("/docs/{}", reference.trim_start_matches("./")))
            .await;
        assert_eq!(file.status(), 200, "{reference}");
        followed += 1;
    }
    assert!(followed >= 3, "{page}");
    let start = running.get("/docs/swagger-initializer.js").await.text().await.unwrap();
    assert!(start.contains("/openapi.json"), "{start}");
    problem(running.get("/docs/no-such-file.js").await, 404).await;
}

#[tokio::test]
async fn answers_are_compressed_for_whoever_can_read_it() {
    let running = Running::start(|edge| edge.openapi = Some(serde_json::json!(Described::openapi())));
    let request = running
        .client
        .get(running.at("/openapi.json"))
        .header("accept-encoding", "gzip");
    assert_eq!(request.send().await.unwrap().headers()["content-encoding"], "gzip");
    assert!(
        !running
            .get("/openapi.json")
            .await
            .headers()
            .contains_key("content-encoding")
    );
}

#[tokio::test]
async fn whatever_refuses_a_request_does_it_with_a_problem_that_has_the_id() {
    let running = Running::start(|edge| {
        edge.rate_limit.enabled = true;
        edge.cors.allowed_origins = config::StringList::from(["https://app.example"]);
    });
    let ask = async |path: &str, accepted: &str| {
        let request = running.client.get(running.at(path)).header("accept-encoding", accepted);
        request.header("origin", "https://app.example").send().await.unwrap()
    };
    for (path, accepted, status) in [
        ("/v1/posts", "identity;q=0", 406),
        ("/v1/posts", "br, *;q=0", 406),
        ("/v1/late", "gzip", 503),
        ("/v1/nothing", "gzip", 404),
    ] {
        let refused = ask(path, accepted).await;
        assert!(refused.headers().contains_key("x-request-id"), "{path} {accepted}");
        assert!(!refused.headers().contains_key("content-encoding") || status != 406);
        if status == 406 {
            assert_eq!(
                refused.headers()["vary"]
                    .to_str()
                    .unwrap()
                    .to_lowercase()
                    .matches("accept-encoding")
                    .count(),
                1
            );
            assert!(refused.headers().contains_key("access-control-allow-origin"));
            assert!(refused.headers().contains_key("x-ratelimit-remaining"));
        }
        assert_eq!(refused.status(), status);
        if accepted != "gzip" {
            problem(refused, status).await;
        }
    }
    // With an encoding that the server can't write, the answer is not encoded.
    let plain = ask("/v1/posts", "br").await;
    assert_eq!(
        (plain.status().as_u16(), plain.headers().get("content-encoding")),
        (200, None)
    );
}
