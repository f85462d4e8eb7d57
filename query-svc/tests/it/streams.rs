//! Tests `/v1/streams`: nothing is lost between the pages and the stream, and between two connections.

use std::time::Duration;

use bson::{Document, doc};
use model::clock::Clock;
use model::ids::ListId;
use model::values::Visibility;
use reqwest::StatusCode;
use service::auth::{SESSIONS, Tickets};

use crate::service::{Caller, Service};

const HOME: &str = "/v1/streams/home";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_followees_do_reaches_a_home_stream_as_it_happens() {
    let mut service = Service::start().await;
    let [ada, bob, eve] = ["ada", "bob", "eve"].map(|handle| service.store.register(handle));
    service.store.follow(ada, bob);
    let old = service.store.post(eve, "old");
    service.settle().await;
    let mut stream = service.stream(HOME, Caller::User(ada), None).await.unwrap();
    stream.until_resumed().await;

    let first = service.store.post(bob, "first");
    service.store.post(eve, "a stranger's");
    service.store.post(ada, "own");
    service.settle().await;
    stream.tells_all(&["post first", "post own"]).await;
    service.store.edit(first, "edited");
    service.settle().await;
    stream.tells(&["edit edited"]).await;
    service.store.like(eve, first, true);
    service.settle().await;
    stream.tells(&["counts 1"]).await;
    service.store.repost(bob, old);
    service.settle().await;
    stream.tells(&["post old"]).await;
    service.store.delete_post(first);
    service.settle().await;
    stream.tells(&["delete"]).await;

    // What the owner follows is read again. What was posted before is no news.
    service.store.follow(ada, eve);
    service.settle().await;
    stream.tells(&["resumed"]).await;
    service.store.post(eve, "a friend's");
    service.settle().await;
    stream.tells(&["post a friend's"]).await;
    service.store.unfollow(ada, bob);
    service.settle().await;
    stream.tells(&["resumed"]).await;
    service.store.post(bob, "nobody's");
    service.store.block(eve, ada, true);
    service.store.post(eve, "not for ada");
    service.store.post(ada, "the last one");
    service.settle().await;
    stream.tells(&["post the last one"]).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_back_gets_what_was_missed_and_nothing_twice() {
    let mut service = Service::start().await;
    let [ada, bob] = ["ada", "bob"].map(|handle| service.store.register(handle));
    service.store.follow(ada, bob);
    service.store.post(bob, "before");
    service.settle().await;
    let page = service.get("/v1/timelines/home", Caller::User(ada)).await;
    let prev = page.body["prev"].as_str().unwrap().to_owned();
    service.store.post(bob, "after the page");
    service.settle().await;
    let path = format!("{HOME}?after={prev}");
    let mut stream = service.stream(&path, Caller::User(ada), None).await.unwrap();
    assert_eq!(stream.until_resumed().await, ["post after the page", "resumed"]);
    service.store.post(bob, "live");
    service.settle().await;
    stream.tells(&["post live"]).await;
    let last = stream.last.take().unwrap();
    drop(stream);

    // A row that no checkpoint covers yet is replayed, and does not come again with its checkpoint.
    service.store.post(bob, "missed");
    service.settle().await;
    service.store.post(bob, "not covered");
    service.project().await;
    // The browser repeats its address, and its last id is stronger.
    let mut stream = service.stream(&path, Caller::User(ada), Some(&last)).await.unwrap();
    assert_eq!(
        stream.until_resumed().await,
        ["post missed", "post not covered", "resumed"]
    );
    service.checkpoint().await;
    service.store.post(bob, "next");
    service.settle().await;
    stream.tells(&["post next"]).await;

    // The bus breaks, and posts are committed meanwhile.
    service
        .database
        .collection::<Document>("filters_g1")
        .drop()
        .await
        .unwrap();
    service.store.post(bob, "during the break");
    service.settle().await;
    let told = [stream.told().await, stream.told().await];
    assert!(
        told.contains(&"post during the break".to_owned()) && told.contains(&"resumed".to_owned()),
        "{told:?}"
    );
    service.store.post(bob, "and after it");
    service.settle().await;
    stream.tells(&["post and after it"]).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_missed_too_much_begins_anew() {
    let mut service = Service::start().await;
    let [ada, bob] = ["ada", "bob"].map(|handle| service.store.register(handle));
    service.store.follow(ada, bob);
    service.settle().await;
    let page = service.get("/v1/timelines/home", Caller::User(ada)).await;
    let prev = page.body["prev"].as_str().unwrap().to_owned();
    for number in 0..801 {
        service.store.post(bob, &format!("number {number}"));
    }
    service.settle().await;
    // The bus has shown all of them when a page is answered.
    service.get("/v1/timelines/home", Caller::User(ada)).await;
    let path = format!("{HOME}?after={prev}");
    let mut stream = service.stream(&path, Caller::User(ada), None).await.unwrap();
    let told = stream.until_resumed().await;
    assert_eq!((told.len(), told.last().map(String::as_str)), (801, Some("reset")));
    let last = stream.last.take().unwrap();
    service.store.post(bob, "news");
    service.settle().await;
    stream.tells(&["post news"]).await;
    let mut again = service.stream(HOME, Caller::User(ada), Some(&last)).await.unwrap();
    assert_eq!(again.until_resumed().await, ["post news", "resumed"]);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_list_of_posts_has_a_stream() {
    let mut service = Service::start().await;
    let [ada, bob, eve] = ["ada", "bob", "eve"].map(|handle| service.store.register(handle));
    let parent = service.store.post(bob, "parent");
    let list = ListId::new(service.clock.now());
    service.store.list(list, ada, Some("A list"), false);
    service.store.list_member(list, ada, bob, true);
    service.settle().await;
    let open = async |path: &str, caller| {
        let mut stream = service.stream(path, caller, None).await.unwrap();
        // What no checkpoint covers yet comes first.
        stream.until_resumed().await;
        stream
    };
    let mut public = open("/v1/streams/public", Caller::Nobody).await;
    let mut tag = open("/v1/streams/tags/Rust", Caller::Nobody).await;
    let mut thread = open(&format!("/v1/streams/posts/{parent}"), Caller::Nobody).await;
    let mut of_list = open(&format!("/v1/streams/lists/{list}"), Caller::User(ada)).await;
    let mut told = open("/v1/streams/notifications", Caller::User(bob)).await;

    let tagged = service.store.post(bob, "#rust");
    service.store.write(eve, "unlisted", None, Visibility::Unlisted);
    let reply = service.store.write(eve, "@bob reply", Some(parent), Visibility::Public);
    service.settle().await;
    public.tells_all(&["post #rust", "post @bob reply"]).await;
    tag.tells(&["post #rust"]).await;
    thread.tells(&["post @bob reply"]).await;
    of_list.tells(&["post #rust"]).await;
    told.tells(&["notification reply @bob reply"]).await;
    service.store.edit(tagged, "no tag");
    service.settle().await;
    // Counts come within a second.
    public.tells_all(&["counts 0", "edit no tag"]).await;
    tag.tells(&["delete"]).await;
    of_list.tells_all(&["counts 0", "edit no tag"]).await;
    thread.tells(&["counts 0"]).await;
    service.store.delete_post(reply);
    service.settle().await;
    thread.tells(&["delete"]).await;

    // A list without members and tags is a stream of nothing. One that is deleted ends.
    service.store.list_member(list, ada, bob, false);
    service.settle().await;
    of_list.tells(&["resumed"]).await;
    service.store.list(list, ada, None, false);
    service.settle().await;
    assert_eq!(of_list.next().await, None);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_can_not_be_read_is_refused() {
    let mut service = Service::start().await;
    let [ada, bob] = ["ada", "bob"].map(|handle| service.store.register(handle));
    let list = ListId::new(service.clock.now());
    service.store.list(list, ada, Some("A list"), false);
    let closed = service.store.write(bob, "closed", None, Visibility::Followers);
    service.settle().await;
    let refused = async |path: &str, caller, last| {
        let answer = service.stream(path, caller, last).await.err().unwrap();
        let fields = answer.fields().join(",");
        (answer.status, fields)
    };
    for path in [HOME, "/v1/streams/notifications", &format!("/v1/streams/lists/{list}")] {
        let (status, _) = refused(path, Caller::Nobody, None).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}");
    }
    for path in [
        format!("/v1/streams/lists/{list}"),
        format!("/v1/streams/posts/{closed}"),
    ] {
        let bob_sees_the_own_post = path.contains("posts");
        let (status, _) = refused(&path, Caller::User(if bob_sees_the_own_post { ada } else { bob }), None).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
    }
    for (path, last, field) in [
        ("/v1/streams/public?after=ÿ", None, "after"),
        ("/v1/streams/public", Some("never"), "Last-Event-ID"),
        ("/v1/streams/public?since=x", None, "since"),
        ("/v1/streams/home?replies=none", None, "replies"),
        ("/v1/streams/notifications?kinds=likes", None, "kinds"),
    ] {
        let answer = refused(path, Caller::User(ada), last).await;
        assert_eq!(answer, (StatusCode::BAD_REQUEST, field.to_owned()), "{path}");
    }
    let (status, _) = refused("/v1/streams/home?ticket=used", Caller::Nobody, None).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_ends_with_its_session_its_user_and_its_server() {
    let mut service = Service::start().await;
    let [ada, bob] = ["ada", "bob"].map(|handle| service.store.register(handle));
    service.settle().await;
    let mut first = service.stream(HOME, Caller::User(ada), None).await.unwrap();
    let mut second = service.stream(HOME, Caller::User(bob), None).await.unwrap();
    let mut third = service
        .stream("/v1/streams/public", Caller::Nobody, None)
        .await
        .unwrap();
    for stream in [&mut first, &mut second, &mut third] {
        stream.tells(&["resumed"]).await;
    }
    // Nothing would be written to it, so nobody would notice its end.
    let head = service.send(reqwest::Method::HEAD, "/v1/streams/public").await;
    assert_eq!(
        (head.status, head.header("content-type")),
        (StatusCode::OK, Some("text/event-stream"))
    );
    assert_eq!(service.metric("live_connections").await, 3.0);
    let sessions = service.events.collection::<Document>(SESSIONS);
    sessions.delete_many(doc! { "user": ada }).await.unwrap();
    assert_eq!(first.next().await, None);
    service.store.delete_user(bob);
    service.settle().await;
    assert_eq!(second.next().await, None);
    let stopped = tokio::spawn(service.stop());
    assert_eq!(third.next().await, None);
    stopped.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_opens_one_stream_until_the_token_behind_it_expires() {
    let mut service = Service::start().await;
    let ada = service.store.register("ada");
    service.settle().await;
    let session = service.begin_session(ada).await;
    let claims = service.claims(ada, session);
    let tickets = Tickets::open(&service.events, service.clock.clone()).await.unwrap();
    let ticket = tickets.issue(&claims).await.unwrap().ticket;
    let path = format!("{HOME}?ticket={}", ticket.expose());
    let mut stream = service.stream(&path, Caller::Nobody, None).await.unwrap();
    stream.tells(&["resumed"]).await;
    let again = service.stream(&path, Caller::Nobody, None).await.err().unwrap();
    assert_eq!(again.status, StatusCode::UNAUTHORIZED);
    drop(stream);
    service.clock.advance(Duration::from_secs(3_000));
    let ticket = tickets.issue(&claims).await.unwrap().ticket;
    let path = format!("{HOME}?ticket={}", ticket.expose());
    let late = service.stream(&path, Caller::Nobody, None).await;
    assert_eq!(late.unwrap().next().await, None, "the token has expired");
    service.stop().await;
}
