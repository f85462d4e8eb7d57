//! Tests `GET /v1/streams`: several streams over one connection, and what ends it.

use std::time::Duration;

use bson::{Document, doc};
use model::clock::Clock;
use model::ids::ListId;
use model::tags::Tag;
use model::values::Visibility;
use reqwest::StatusCode;
use serde_json::{Value, json};
use service::auth::{SESSIONS, Tickets};
use tokio_tungstenite::tungstenite::Message;

use crate::service::{Caller, Service, eventually};
use crate::socket::Socket;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_streams_come_over_one_connection() {
    let mut service = Service::start().await;
    let [ada, bob, eve] = ["ada", "bob", "eve"].map(|handle| service.store.register(handle));
    service.store.follow(ada, bob);
    let parent = service.store.post(bob, "parent");
    let list = ListId::new(service.clock.now());
    service.store.list(list, ada, Some("A list"), false);
    service.store.list_member(list, ada, bob, true);
    service.settle().await;
    let mut socket = service.socket(Caller::User(ada)).await;
    let (of_list, of_post) = (format!("lists/{list}"), format!("posts/{parent}"));
    for command in [
        json!({ "subscribe": "home", "replies": "followed" }),
        json!({ "subscribe": "public" }),
        json!({ "subscribe": "tags/rust", "any": ["Go"], "none": ["C"] }),
        json!({ "subscribe": of_list }),
        json!({ "subscribe": of_post }),
        json!({ "subscribe": "notifications", "exclude": ["like"] }),
    ] {
        socket.say(&command).await;
        while !socket.told().await.ends_with("resumed") {}
    }
    service.store.post(eve, "#go");
    service.store.post(bob, "a friend's");
    service.settle().await;
    let (in_list, in_thread) = (format!("{of_list} post a friend's"), format!("{of_post} post answer"));
    socket
        .tells_all(&[
            "public post #go",
            "tags/rust post #go",
            "public post a friend's",
            "home post a friend's",
            &in_list,
        ])
        .await;
    service.store.write(eve, "answer", Some(parent), Visibility::Public);
    service.settle().await;
    let counts = [&of_post, &of_list, "home", "public"].map(|stream| format!("{stream} counts 0"));
    let [a, b, c, d] = counts.each_ref().map(String::as_str);
    socket.tells_all(&["public post answer", &in_thread, a, b, c, d]).await;

    for stream in ["public", "tags/rust", &of_post, "notifications"] {
        socket.say(&json!({ "unsubscribe": stream })).await;
    }
    // Commands are obeyed one after the other.
    socket.say(&json!({ "unsubscribe": "nothing" })).await;
    assert_eq!(
        socket.refused().await,
        (422, "unsubscribe".to_owned(), json!("nothing"))
    );
    service.store.post(bob, "#rust for two");
    service.settle().await;
    let in_list = format!("{of_list} post #rust for two");
    socket.tells_all(&["home post #rust for two", &in_list]).await;

    // One stream ends, and the others go on.
    service.store.list(list, ada, None, false);
    service.settle().await;
    assert_eq!(
        socket.next().await,
        json!({ "stream": of_list, "event": "ended", "data": { "reason": "this can't be seen any more" } })
    );
    service.store.post(bob, "for one");
    service.settle().await;
    assert_eq!(socket.told().await, "home post for one");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_is_the_same_in_both_kinds_of_streams() {
    let mut service = Service::start().await;
    let [ada, bob] = ["ada", "bob"].map(|handle| service.store.register(handle));
    service.store.follow(ada, bob);
    service.settle().await;
    let mut stream = service
        .stream("/v1/streams/home", Caller::User(ada), None)
        .await
        .unwrap();
    stream.until_resumed().await;
    let after = stream.last.take().unwrap();
    drop(stream);
    service.store.post(bob, "first");
    service.settle().await;
    let mut socket = service.socket(Caller::User(ada)).await;
    socket.say(&json!({ "subscribe": "home", "after": after })).await;
    assert_eq!(socket.told().await, "home post first");
    let resumed = socket.next().await;
    assert_eq!(resumed["event"], "resumed");
    let after = resumed["id"].as_str().unwrap().to_owned();
    drop(socket);
    service.store.post(bob, "second");
    service.settle().await;
    let mut stream = service
        .stream("/v1/streams/home", Caller::User(ada), Some(&after))
        .await
        .unwrap();
    assert_eq!(stream.until_resumed().await, ["post second", "resumed"]);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_is_refused_ends_nothing() {
    let mut service = Service::start().await;
    let [ada, bob] = ["ada", "bob"].map(|handle| service.store.register(handle));
    let list = ListId::new(service.clock.now());
    service.store.list(list, ada, Some("A list"), false);
    service.settle().await;
    let mut socket = service.socket(Caller::User(bob)).await;
    socket.say(&json!({ "subscribe": "public" })).await;
    assert_eq!(socket.told().await, "public resumed");
    let of_list = format!("lists/{list}");
    let none = Value::Null;
    for (command, status, field, stream) in [
        ("never", 400, "", none.clone()),
        ("[]", 422, "body", none.clone()),
        ("{}", 422, "subscribe", none.clone()),
        (r#"{"publish": "home"}"#, 422, "publish", none.clone()),
        (r#"{"subscribe": 1}"#, 422, "subscribe", none.clone()),
        (
            r#"{"subscribe": "home", "unsubscribe": "home"}"#,
            422,
            "subscribe",
            none,
        ),
        (r#"{"subscribe": "house"}"#, 422, "subscribe", json!("house")),
        (r#"{"subscribe": "tags/a b"}"#, 422, "subscribe", json!("tags/a b")),
        (r#"{"subscribe": "posts/1"}"#, 422, "subscribe", json!("posts/1")),
        (
            r#"{"subscribe": "home", "after": "never"}"#,
            422,
            "after",
            json!("home"),
        ),
        (
            r#"{"subscribe": "home", "replies": "none"}"#,
            422,
            "replies",
            json!("home"),
        ),
        (r#"{"subscribe": "home", "kinds": []}"#, 422, "kinds", json!("home")),
        (
            r#"{"subscribe": "notifications", "kinds": ["likes"]}"#,
            422,
            "kinds[0]",
            json!("notifications"),
        ),
        (
            r#"{"subscribe": "tags/a", "any": ["b", "c", "d", "e", "f"]}"#,
            400,
            "any",
            json!("tags/a"),
        ),
        (r#"{"subscribe": "public"}"#, 422, "subscribe", json!("public")),
        (r#"{"unsubscribe": "home"}"#, 422, "unsubscribe", json!("home")),
        (&json!({ "subscribe": of_list }).to_string(), 404, "", json!(of_list)),
    ] {
        socket.send(Message::text(command)).await;
        assert_eq!(socket.refused().await, (status, field.to_owned(), stream), "{command}");
    }
    let mut stranger = service.socket(Caller::Nobody).await;
    for stream in ["home", "notifications", &of_list] {
        stranger.say(&json!({ "subscribe": stream })).await;
        assert_eq!(stranger.refused().await.0, 401, "{stream}");
    }
    for number in 0..50 {
        stranger.say(&json!({ "subscribe": format!("tags/a{number}") })).await;
        stranger.told().await;
    }
    stranger.say(&json!({ "subscribe": "public" })).await;
    assert_eq!(stranger.refused().await, (422, "subscribe".to_owned(), json!("public")));

    service.store.post(ada, "it goes on");
    service.settle().await;
    assert_eq!(socket.told().await, "public post it goes on");
    for _ in 0..21 {
        socket.send(Message::text("garbage")).await;
    }
    assert_eq!(socket.closed().await, (1008, "too many errors".to_owned()));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_command_closes_the_connection() {
    let service = Service::start().await;
    // The mask is zero, so the payload is as it is written here.
    let mut hundred_megabytes = vec![0x81, 0xff];
    hundred_megabytes.extend(100_000_000_u64.to_be_bytes());
    hundred_megabytes.extend([0; 4]);
    let mut fragments = Vec::new();
    for first in [0x01, 0x00, 0x00] {
        fragments.extend([first, 0xfe, 0x08, 0x00, 0, 0, 0, 0]);
        fragments.extend([b' '; 0x800]);
    }
    for (bytes, code) in [
        (&hundred_megabytes[..], 1009),
        (&fragments, 1009),
        (&[0x82, 0x81, 0, 0, 0, 0, 1], 1003),
        (&[0x81, 0x82, 0, 0, 0, 0, 0xc3, 0x28], 1007),
        // The rest of the message is not awaited.
        (&[0x01, 0x82, 0, 0, 0, 0, 0xc3, 0x28], 1007),
        (&[0x81, 0x01, b'a'], 1002),
        (&[0xc1, 0x80, 0, 0, 0, 0], 1002),
        (&[0x80, 0x80, 0, 0, 0, 0], 1002),
        (&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8], 1000),
    ] {
        let mut socket = service.socket(Caller::Nobody).await;
        socket.write(bytes).await;
        let said = socket.listen().await;
        assert_eq!((said[0], &said[2..4]), (0x88, &u16::to_be_bytes(code)[..]), "{bytes:?}");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn not_everybody_may_open_a_connection() {
    let mut service = Service::start_with(&[
        ("cors.allowed_origins", "https://ours.example"),
        ("live.max_connections_per_caller", "1"),
    ])
    .await;
    let [ada, bob] = ["ada", "bob"].map(|handle| service.store.register(handle));
    service.settle().await;
    let answer = service.get_now("/v1/streams", Caller::Nobody).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.body);
    let open = async |query: &str, caller, header: &'static str, value: &str| {
        let mut request = service.websocket(query, caller).await;
        request.headers_mut().insert(header, value.parse().unwrap());
        Socket::open(request).await.err()
    };
    let nobody = Caller::Nobody;
    assert_eq!(
        open("", nobody, "sec-websocket-version", "12").await,
        Some(StatusCode::UPGRADE_REQUIRED)
    );
    assert_eq!(
        open("?ticket=used", nobody, "x", "").await,
        Some(StatusCode::UNAUTHORIZED)
    );
    assert_eq!(open("?tickets=1", nobody, "x", "").await, Some(StatusCode::BAD_REQUEST));
    assert_eq!(
        open("", nobody, "authorization", "Bearer x").await,
        Some(StatusCode::UNAUTHORIZED)
    );
    let theirs = "https://theirs.example";
    assert_eq!(
        open("", Caller::User(ada), "origin", theirs).await,
        Some(StatusCode::FORBIDDEN)
    );
    assert_eq!(
        open("", Caller::User(ada), "origin", "https://ours.example").await,
        None
    );
    assert_eq!(open("", nobody, "origin", theirs).await, None);

    let tickets = Tickets::open(&service.events, service.clock.clone()).await.unwrap();
    let claims = service.claims(bob, service.begin_session(bob).await);
    let ticket = tickets.issue(&claims).await.unwrap().ticket;
    let mut request = service.websocket(&format!("?ticket={}", ticket.expose()), nobody).await;
    request.headers_mut().insert("origin", theirs.parse().unwrap());
    let mut socket = Socket::open(request).await.unwrap();
    socket.say(&json!({ "subscribe": "home" })).await;
    assert_eq!(socket.told().await, "home resumed");
    assert_eq!(
        open("", Caller::User(bob), "x", "").await,
        Some(StatusCode::TOO_MANY_REQUESTS)
    );
    drop(socket);
    // The place is free again.
    eventually("free", async || open("", Caller::User(bob), "x", "").await.is_none()).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_ends_with_its_session_its_user_its_token_and_its_server() {
    let mut service = Service::start().await;
    let [ada, bob, eve] = ["ada", "bob", "eve"].map(|handle| service.store.register(handle));
    service.settle().await;
    let mut first = service.socket(Caller::User(ada)).await;
    let mut second = service.socket(Caller::User(bob)).await;
    let mut third = service.socket(Caller::Nobody).await;
    second.say(&json!({ "subscribe": "home" })).await;
    assert_eq!(second.told().await, "home resumed");
    let sessions = service.events.collection::<Document>(SESSIONS);
    sessions.delete_many(doc! { "user": ada }).await.unwrap();
    assert_eq!(first.closed().await, (1008, "the session has ended".to_owned()));
    service.store.delete_user(bob);
    service.settle().await;
    assert_eq!(second.closed().await, (1008, "the session has ended".to_owned()));

    let tickets = Tickets::open(&service.events, service.clock.clone()).await.unwrap();
    let claims = service.claims(eve, service.begin_session(eve).await);
    service.clock.advance(Duration::from_secs(3_000));
    let ticket = tickets.issue(&claims).await.unwrap().ticket;
    let late = service
        .websocket(&format!("?ticket={}", ticket.expose()), Caller::Nobody)
        .await;
    let mut late = Socket::open(late).await.unwrap();
    assert_eq!(late.closed().await, (1008, "the access token has expired".to_owned()));

    assert_eq!(service.metric("live_connections{transport=\"websocket\"}").await, 1.0);
    let stopped = tokio::spawn(service.stop());
    assert_eq!(third.closed().await, (1001, "this server stops; come back".to_owned()));
    stopped.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_answer_or_does_not_read_is_dropped() {
    let mut service = Service::start_with(&[("live.heartbeat", "500ms")]).await;
    let bob = service.store.register("bob");
    service.settle().await;
    let begin = service.get("/v1/timelines/public", Caller::Nobody).await.body["prev"].clone();
    let long = "long ".repeat(90);
    for number in 0..200 {
        service.store.post(bob, &format!("#rust {number} {long}"));
    }
    service.settle().await;
    // It is there in memory when the page is answered.
    service.get("/v1/timelines/public", Caller::Nobody).await;

    let mut socket = service.socket(Caller::Nobody).await;
    socket.send(Message::Ping("are you there?".into())).await;
    loop {
        match socket.message().await {
            Message::Pong(payload) if payload == "are you there?" => break,
            Message::Ping(_) => {}
            other => panic!("no answer: {other}"),
        }
    }
    // The client answers pings while it reads.
    for _ in 0..3 {
        assert!(matches!(socket.message().await, Message::Ping(_)));
    }
    let said = socket.listen().await;
    // Pings come before, if the machine is fast enough.
    let close = &said[said.len() - "no answer to a ping".len() - 4..];
    assert_eq!((close[0], &close[2..4]), (0x88, &1001_u16.to_be_bytes()[..]));

    let mut deaf = service.socket(Caller::Nobody).await;
    for spelling in 0..16 {
        let letter = |(at, letter): (usize, char)| match spelling >> at & 1 {
            0 => letter,
            _ => letter.to_ascii_uppercase(),
        };
        let tag: String = "rust".chars().enumerate().map(letter).collect();
        assert!(Tag::parse(&tag).is_ok());
        deaf.say(&json!({ "subscribe": format!("tags/{tag}"), "after": begin }))
            .await;
    }
    eventually("dropped", async || {
        service.metric("live_connections{transport=\"websocket\"}").await == 0.0
    })
    .await;
    service.stop().await;
}
