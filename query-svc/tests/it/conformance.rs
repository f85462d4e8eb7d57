//! The frames of the WebSocket, judged by the cases of Autobahn's test suite. `kosoku` has them.
//!
//! The cases need a server that sends back what it gets. So this is our reader and our writer with an echo between them.

use std::process::Command;

use actix_http::ws::OpCode;
use actix_web::test::TestRequest;
use actix_web::web::{self, Bytes, BytesMut, Payload};
use actix_web::{App, FromRequest, HttpRequest, HttpResponse, HttpServer, dev, rt};
use futures_util::FutureExt;
use manifest_tests::render::tool;
use serde_json::Value;

use self::frames::{Ending, Incoming, Message, Outgoing};

#[path = "../../src/routes/streams/frames.rs"]
mod frames;

/// Autobahn sends messages of 16 MiB.
const LIMIT: usize = 16 * 1024 * 1024;

async fn echo(request: HttpRequest, payload: Payload) -> HttpResponse {
    let (response, incoming, outgoing) = frames::open(&request, payload, LIMIT);
    rt::spawn(async move {
        let ending = answer(incoming, &outgoing).await;
        outgoing.close(ending);
    });
    response
}

async fn answer(mut incoming: Incoming, outgoing: &Outgoing) -> Ending {
    loop {
        let mut frame = BytesMut::new();
        match incoming.next().await {
            Ok(Message::Text(text)) => frames::write(&mut frame, OpCode::Text, text.as_bytes()),
            Ok(Message::Binary(bytes)) => frames::write(&mut frame, OpCode::Binary, &bytes),
            Ok(Message::Ping(payload)) => frames::write(&mut frame, OpCode::Pong, &payload),
            Ok(Message::Pong) => continue,
            Err(ending) => return ending,
        }
        if let Err(ending) = outgoing.send(frame.freeze()).await {
            return ending;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_frames_are_those_of_the_protocol() {
    let server = HttpServer::new(|| App::new().default_service(web::to(echo)))
        .workers(1)
        .bind(("127.0.0.1", 0))
        .unwrap();
    let address = server.addrs()[0];
    let server = server.run();
    let handle = server.handle();
    let running = tokio::spawn(server);
    let directory = std::env::temp_dir().join(format!("kosoku-{}", uuid::Uuid::new_v4()));
    let mut kosoku = Command::new(tool("KOSOKU"));
    // The cases of 12 and 13 are about compression, which we don't offer.
    kosoku
        .arg(address.to_string())
        .args(["-x", "12.*", "-x", "13.*", "-p", "4"])
        .arg("-o")
        .arg(&directory);
    let output = tokio::task::spawn_blocking(move || kosoku.output().unwrap())
        .await
        .unwrap();
    handle.stop(false).await;
    running.await.unwrap().unwrap();

    let index = std::fs::read(directory.join("index.json")).unwrap_or_else(|error| {
        let (stdout, stderr) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        panic!("no results: {error}\n{stdout}\n{stderr}")
    });
    let index: Value = serde_json::from_slice(&index).unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    let cases = index.as_object().unwrap().values().next().unwrap().as_object().unwrap();
    let good = |case: &Value, what: &str| matches!(case[what].as_str(), Some("OK" | "INFORMATIONAL"));
    let bad: Vec<_> = cases
        .iter()
        .filter(|(_, case)| !good(case, "behavior") || !good(case, "behaviorClose"))
        .map(|(name, case)| format!("{name}: {} {}", case["behavior"], case["behaviorClose"]))
        .collect();
    assert_eq!(cases.len(), 301);
    // They end within a frame. We look at a frame when all of it is there.
    let late = ["6.4.3", "6.4.4"].map(|name| format!("{name}: \"NON-STRICT\" \"OK\""));
    assert_eq!(bad, late);
}

/// So a reader who does not read holds little.
#[tokio::test]
async fn only_one_chunk_waits() {
    let request = TestRequest::default()
        .insert_header(("sec-websocket-key", "x3JJHMbDL1EzLkh9GBhXDw=="))
        .to_http_request();
    let payload = Payload::from_request(&request, &mut dev::Payload::None).await.unwrap();
    let (response, _incoming, outgoing) = frames::open(&request, payload, 1);
    let chunk = Bytes::from_static(b"chunk");
    outgoing.send(chunk.clone()).await.unwrap();
    assert!(outgoing.send(chunk.clone()).now_or_never().is_none());
    drop(response);
    assert!(matches!(outgoing.send(chunk).await, Err(Ending::Gone)));
}
