//! Every kind of bad input is refused, and the problem names it.

use std::io::Write;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

#[tokio::test]
async fn good_input_is_taken() {
    let running = Running::start(|_| ());
    let response = running
        .post("/v1/users", r#"{"handle":"Ada","email":"ada@example.org"}"#)
        .await;
    assert_eq!(response.status(), 201);
    assert_eq!(response.json::<String>().await.unwrap(), "ada");
}

#[tokio::test]
async fn all_wrong_values_are_told_at_once() {
    let running = Running::start(|_| ());
    let response = running
        .post("/v1/users", r#"{"handle":"no spaces","email":"nor this"}"#)
        .await;
    let problem = problem(response, 422).await;
    let fields: Vec<_> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| &error["field"])
        .collect();
    assert_eq!(fields, ["handle", "email"]);
    assert_eq!(problem["type"], "urn:microblog:problem:validation-failed");
}

#[tokio::test]
async fn slips_in_a_body_are_named() {
    let running = Running::start(|_| ());
    for (body, field) in [
        (r#"{"handle":"ada"}"#, "email"),
        (r#"{"handle":"ada","email":"a@b.c","admin":true}"#, "admin"),
        (r#"{"handle":5,"email":"a@b.c"}"#, "handle"),
        (
            r#"{"handle":"ada","email":"a@b.c","invited_by":"nobody"}"#,
            "invited_by",
        ),
        (r#"["ada","a@b.c"]"#, "body"),
    ] {
        assert_eq!(
            blamed(running.post("/v1/users", body).await, 422).await,
            field,
            "{body}"
        );
    }
    for body in ["", "{", "handle=ada", "\u{0}", "{\"handle\":\"ada\",}"] {
        let problem = problem(running.post("/v1/users", body).await, 400).await;
        assert_eq!(problem["type"], "urn:microblog:problem:malformed-request");
    }
    let not_unicode = running
        .client
        .post(running.at("/v1/users"))
        .header("content-type", "application/json");
    problem(not_unicode.body(vec![b'"', 0xff, b'"']).send().await.unwrap(), 400).await;
}

#[tokio::test]
async fn another_media_type_is_refused() {
    let running = Running::start(|_| ());
    let post = || running.client.post(running.at("/v1/users")).body("{}");
    problem(post().send().await.unwrap(), 415).await;
    for wrong in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json; charset=utf-16",
        "json",
    ] {
        problem(post().header("content-type", wrong).send().await.unwrap(), 415).await;
    }
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_compressed_body_is_read() {
    let running = Running::start(|_| ());
    let post = async |coding: &str, body: Vec<u8>| {
        let request = running
            .client
            .post(running.at("/v1/users"))
            .header("content-type", "application/json; charset=utf8")
            .header("content-encoding", coding);
        request.body(body).send().await.unwrap()
    };
    let body = br#"{"handle":"ada","email":"ada@example.org"}"#;
    let zstd = |body: &[u8]| zstd::encode_all(body, 3).unwrap();
    assert_eq!(post("gzip", gzip(body)).await.status(), 201);
    assert_eq!(post("GZip", gzip(body)).await.status(), 201);
    assert_eq!(post("zstd", zstd(body)).await.status(), 201);
    assert_eq!(post("identity", body.to_vec()).await.status(), 201);
    // The decoded body has the same limit. Neither of these compressed bodies reaches it.
    let long = vec![b' '; 8 * 1024 * 1024];
    for (coding, bomb) in [("gzip", gzip(&long)), ("zstd", zstd(&long))] {
        assert!(bomb.len() < 64 * 1024);
        problem(post(coding, bomb).await, 413).await;
    }
    for (coding, cut) in [("gzip", &gzip(body)[..20]), ("zstd", &zstd(body)[..20]), ("gzip", body)] {
        problem(post(coding, cut.to_vec()).await, 400).await;
    }
    for coding in ["br", "gzip, gzip", "deflate"] {
        let refused = post(coding, gzip(body)).await;
        assert_eq!(refused.headers()["accept-encoding"], "gzip, zstd");
        problem(refused, 415).await;
    }
}

#[tokio::test]
async fn a_body_over_64_kib_is_refused_whether_its_length_is_told_or_not() {
    let running = Running::start(|_| ());
    let fitting = format!(r#"{{"handle":"ada","email":"{}"}}"#, "x".repeat(64 * 1024 - 27));
    assert_eq!(fitting.len(), 64 * 1024);
    assert_eq!(blamed(running.post("/v1/users", &fitting).await, 422).await, "email");
    for excess in [1, 1024 * 1024, 8 * 1024 * 1024] {
        let body = format!("{fitting}{}", " ".repeat(excess));
        problem(running.post("/v1/users", &body).await, 413).await;
    }
    // With chunks, the length of the body is not known in advance.
    let address = running.url.trim_start_matches("http://").to_owned();
    let mut socket = TcpStream::connect(address).await.unwrap();
    let head =
        "POST /v1/users HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    socket.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..5 {
        socket
            .write_all(format!("4000\r\n{}\r\n", " ".repeat(0x4000)).as_bytes())
            .await
            .unwrap();
    }
    let mut answer = vec![0; 12];
    tokio::time::timeout(DEADLINE, socket.read_exact(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(answer, b"HTTP/1.1 413");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let running = Running::start(|edge| edge.http.body_timeout = Duration::from_millis(50));
    let address = running.url.trim_start_matches("http://").to_owned();
    let mut socket = TcpStream::connect(address).await.unwrap();
    let head = "POST /v1/users HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{";
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 12];
    tokio::time::timeout(DEADLINE, socket.read_exact(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(answer, b"HTTP/1.1 408");
}

#[tokio::test]
async fn slips_in_paths_queries_and_headers_are_named() {
    let running = Running::start(|_| ());
    for path in [
        "/v1/posts/nonsense",
        "/v1/posts/%00",
        "/v1/posts/%ff",
        "/v1/posts/0",
        "/v1/posts/{id}",
    ] {
        assert_eq!(blamed(running.get(path).await, 400).await, "id", "{path}");
    }
    for (path, field) in [
        ("/v1/posts?limit=0", "limit"),
        ("/v1/posts?limit=101", "limit"),
        ("/v1/posts?limit=5&limit=5", "limit"),
        ("/v1/posts?before=x", "before"),
        ("/v1/posts?pag=2", "pag"),
    ] {
        assert_eq!(blamed(running.get(path).await, 400).await, field, "{path}");
    }
    // As many parameters as fit. Each would be compared with all before it.
    let many: String = (0..5_000).map(|n| format!("n{n}&")).collect();
    problem(running.get(&format!("/v1/posts?{many}")).await, 414).await;
    assert_eq!(
        blamed(running.get(&format!("/v1/posts?{}", &many[..1_000])).await, 400).await,
        "query"
    );
    let page = running.get("/v1/posts?limit=7").await;
    assert_eq!(page.headers()["link"], "</v1/posts?limit=7&before=n>; rel=\"next\"");
    for (name, value) in [
        ("idempotency-key", "with a space"),
        ("consistency-token", "!"),
        ("idempotency-key", ""),
    ] {
        let response = running
            .client
            .get(running.at("/v1/headers"))
            .header(name, value)
            .send()
            .await
            .unwrap();
        assert_eq!(blamed(response, 400).await.to_lowercase(), name, "{value:?}");
    }
}

#[tokio::test]
async fn unknown_routes_and_methods_are_problems_too() {
    let running = Running::start(|_| ());
    for path in [
        "/",
        "/v1",
        "/v1/nothing",
        "/v1/posts/",
        "//v1/posts",
        "/v1/posts/a/b",
        "/%",
    ] {
        let problem = problem(running.get(path).await, 404).await;
        assert_eq!(problem["type"], "urn:microblog:problem:not-found", "{path}");
    }
    let id = PostId::new(Utc::now());
    let response = running
        .client
        .delete(running.at(&format!("/v1/posts/{id}")))
        .send()
        .await
        .unwrap();
    assert_eq!(response.headers()["allow"], "GET, PATCH, HEAD");
    problem(response, 405).await;
    let response = running.get("/v1/users").await;
    assert_eq!(response.headers()["allow"], "POST");
    problem(response, 405).await;
    let odd = running
        .client
        .request("BREW".parse().unwrap(), running.at("/v1/users"))
        .send()
        .await
        .unwrap();
    problem(odd, 405).await;
}

#[tokio::test]
async fn our_own_fault_says_nothing() {
    let running = Running::start(|_| ());
    let problem = problem(running.get("/v1/fail").await, 500).await;
    assert!(!problem.to_string().contains("hunter2"), "{problem}");
}

#[tokio::test]
async fn an_etag_names_the_version_that_is_to_be_changed() {
    let running = Running::start(|_| ());
    let path = format!("/v1/posts/{}", PostId::new(Utc::now()));
    let read = running.get(&path).await;
    let token = running.token(UserId::new(Utc::now()), SCOPE_USER);
    let patch = || running.client.patch(running.at(&path)).bearer_auth(&token);
    let seen = read.headers()["etag"].clone();
    let versions = async |request: reqwest::RequestBuilder| {
        let response = request.send().await.unwrap();
        response.json::<(UserId, Option<Vec<i64>>)>().await.unwrap().1
    };
    assert_eq!(versions(patch().header("if-match", seen)).await, Some(vec![3]));
    assert_eq!(versions(patch()).await, None);
    assert_eq!(
        blamed(patch().header("if-match", "2").send().await.unwrap(), 400).await,
        "If-Match"
    );
}
