//! Tests how often documents are read from the database, and in how many replies.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bson::spec::BinarySubtype;
use bson::{Binary, Document, doc};
use futures_util::future::join_all;
use model::ids::{PostId, UserId};
use mongodb::Client;
use mongodb::event::EventHandler;
use mongodb::event::command::CommandEvent;
use mongodb::options::ClientOptions;
use service::config::variable;
use views::{Range, RelationId, Views};

use crate::service::{Caller, Service};

async fn loads(service: &Service, documents: &str) -> f64 {
    service
        .metric(&format!("cache_misses_total{{documents=\"{documents}\"}}"))
        .await
}

/// The likes of a post, as a page shows them.
async fn likes(service: &Service, post: PostId) -> u64 {
    let page = service
        .get_now("/v1/timelines/public?limit=1", Caller::Nobody)
        .await
        .body;
    assert_eq!(page["items"][0]["id"], post.to_string());
    page["items"][0]["counts"]["likes"].as_u64().unwrap()
}

/// A thousand likes arrive, ten at a time. After each ten, the page is read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_post_that_everybody_likes_is_loaded_once() {
    let mut service = Service::start().await;
    let ada = service.store.register("ada");
    let post = service.store.post(ada, "everybody likes it");
    service.settle().await;
    let before = loads(&service, "posts").await;
    let mut seen = likes(&service, post).await;
    for _ in 0..100 {
        for _ in 0..10 {
            let user = UserId::new(model::clock::Clock::now(&*service.clock));
            service.store.like(user, post, true);
        }
        service.project().await;
        let now = likes(&service, post).await;
        assert!(now >= seen, "{now} after {seen}");
        seen = now;
    }
    service.settle().await;
    let answer = service.get(&format!("/v1/posts/{post}"), Caller::Nobody).await;
    assert_eq!(answer.body["counts"]["likes"], 1_000);
    assert_eq!(loads(&service, "posts").await - before, 1.0);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_pages_at_once_load_a_post_once() {
    let mut service = Service::start().await;
    let ada = service.store.register("ada");
    let post = service.store.post(ada, "everybody reads it");
    service.settle().await;
    let before = [loads(&service, "posts").await, loads(&service, "profiles").await];
    let pages = (0..100).map(|_| likes(&service, post));
    assert_eq!(join_all(pages).await, [0; 100]);
    let after = [loads(&service, "posts").await, loads(&service, "profiles").await];
    assert_eq!([after[0] - before[0], after[1] - before[1]], [1.0, 1.0]);
    service.stop().await;
}

/// Known posts are not loaded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_polls_loads_no_post_that_is_known() {
    let mut service = Service::start().await;
    let ada = service.store.register("ada");
    for _ in 0..20 {
        service.store.post(ada, "just now");
    }
    service.settle().await;
    let home = async |query: String| {
        let path = format!("/v1/timelines/home?{query}");
        service.get(&path, Caller::User(ada)).await.body
    };
    let first = home("limit=1".to_owned()).await;
    assert_eq!(first["items"].as_array().map(Vec::len), Some(1));
    let before = loads(&service, "posts").await;
    let polled = home(format!("after={}", first["prev"].as_str().unwrap())).await;
    assert_eq!(polled["items"], serde_json::json!([]));
    assert_eq!(loads(&service, "posts").await - before, 0.0);
    service.stop().await;
}

/// Until anybody likes or reposts a post, nobody's like and repost of it are looked up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_likes_of_a_reader_are_loaded_only_where_there_are_likes() {
    let mut service = Service::start().await;
    let [ada, bob] = ["ada", "bob"].map(|handle| service.store.register(handle));
    let posts = [1, 2, 3].map(|_| service.store.post(ada, "a post"));
    service.settle().await;
    let flags = async |service: &Service, of: &str| -> Vec<bool> {
        let page = service.get("/v1/timelines/home", Caller::User(ada)).await.body;
        let items = page["items"].as_array().unwrap();
        items.iter().map(|item| item["viewer"][of].as_bool().unwrap()).collect()
    };
    assert_eq!(flags(&service, "liked").await, [false; 3]);
    assert_eq!(loads(&service, "relations").await, 0.0);
    service.store.like(ada, posts[0], true);
    service.store.like(bob, posts[1], true);
    service.store.repost(bob, posts[1]);
    service.settle().await;
    assert_eq!(flags(&service, "liked").await, [false, false, true]);
    assert_eq!(flags(&service, "reposted").await, [false; 3]);
    assert_eq!(loads(&service, "relations").await, 3.0);
    service.stop().await;
}

/// A client that counts how often it needed more than one reply to a query.
async fn counting_client(uri: &str) -> (Client, Arc<AtomicUsize>) {
    let asked_for_more = Arc::new(AtomicUsize::new(0));
    let counter = asked_for_more.clone();
    let mut options = ClientOptions::parse(uri).await.unwrap();
    options.command_event_handler = Some(EventHandler::callback(move |event| {
        if let CommandEvent::Started(command) = event
            && command.command_name == "getMore"
        {
            counter.fetch_add(1, Ordering::SeqCst);
        }
    }));
    (Client::with_options(options).unwrap(), asked_for_more)
}

/// A page of a hundred reads 101 entries, more posts because of the reposted ones, and what the reader has done with each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_longest_page_comes_in_one_answer_from_each_view() {
    let mut service = Service::start().await;
    let ada = service.store.register("ada");
    let posts: Vec<PostId> = (0..120)
        .map(|n| service.store.post(ada, &format!("post {n}")))
        .collect();
    for &post in &posts {
        service.store.like(ada, post, true);
    }
    service.settle().await;
    let entry = |post: &PostId| {
        let bytes = [ada.as_bytes().as_slice(), post.as_bytes()].concat();
        let id = Binary {
            subtype: BinarySubtype::Generic,
            bytes,
        };
        doc! { "_id": id, "a": ada }
    };
    // The projection has trimmed its own entries.
    let entries = service
        .database
        .collection::<Document>(service.projected.views.home_timelines.name());
    entries.delete_many(doc! { "a": ada }).await.unwrap();
    entries.insert_many(posts.iter().map(entry)).await.unwrap();

    let uri = service.environment.get(&variable("mongodb.uri")).unwrap();
    let (client, asked_for_more) = counting_client(uri).await;
    let views = Views::new(&client.database(service.database.name()), 1);
    // The page contains only the entries above the floor, but all entries are read.
    views.home_timelines.page(ada, Range::newest(101)).await.unwrap();
    assert_eq!(asked_for_more.load(Ordering::SeqCst), 0, "for the home timeline");
    assert_eq!(views.posts.live_by_ids(&posts).await.unwrap().len(), 120);
    assert_eq!(asked_for_more.load(Ordering::SeqCst), 0, "for posts");
    let likes: Vec<RelationId> = posts.iter().map(|&post| RelationId::like(ada, post)).collect();
    let mut liked = views.relations.standings(&likes).await.unwrap();
    liked.sort_unstable_by_key(|it| it.id);
    assert_eq!(liked.iter().map(|it| it.id).collect::<Vec<_>>(), likes);
    assert_eq!(asked_for_more.load(Ordering::SeqCst), 0, "for relations");
    service.stop().await;
}
