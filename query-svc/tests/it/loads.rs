//! How often documents are read from the database, and in how many answers.

use futures_util::future::join_all;
use shared::ids::{PostId, UserId};

use crate::service::{Caller, Service};

async fn loads(service: &Service, documents: &str) -> f64 {
    service
        .metric(&format!("cache_misses_total{{documents=\"{documents}\"}}"))
        .await
}

/// What a page says of a post that is on it.
async fn likes(service: &Service, post: PostId) -> u64 {
    let page = service
        .get_now("/v1/timelines/public?limit=1", Caller::Nobody)
        .await
        .body;
    assert_eq!(page["items"][0]["id"], post.to_string());
    page["items"][0]["counts"]["likes"].as_u64().unwrap()
}

/// A thousand likes arrive by ten at a time, and after each ten the page is read.
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
            let user = UserId::new(shared::clock::Clock::now(&*service.clock));
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
