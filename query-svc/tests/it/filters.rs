//! Tests what filters leave out and mark, and how they are kept in memory.

use bson::doc;
use model::clock::Clock;
use model::ids::FilterId;
use model::values::{FilterAction, Visibility};
use serde_json::json;

use crate::service::{Caller, Service, eventually, texts};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filters_are_read_once_and_again_when_one_changes() {
    let mut service = Service::start().await;
    let [ada, bob] = ["ada", "bob"].map(|handle| service.store.register(handle));
    service.store.follow(ada, bob);
    let [spoiler, other] = ["A SPOILER", "harmless"].map(|text| service.store.post(bob, text));
    let own = service.store.post(ada, "my spoiler");
    service.settle().await;
    let misses = "cache_misses_total{documents=\"filters\"}";
    let all = texts([own, other, spoiler]);
    assert_eq!(service.home(ada, 10).await, all);
    let before = service.metric(misses).await;
    for _ in 0..3 {
        assert_eq!(service.home(ada, 10).await, all);
    }
    assert_eq!(
        service.metric(misses).await,
        before,
        "that there are none is remembered"
    );

    let id = FilterId::new(service.clock.now());
    service.store.filter(ada, id, "spoiler", Some(FilterAction::Hide));
    service.settle().await;
    for _ in 0..3 {
        assert_eq!(service.home(ada, 10).await, texts([own, other]));
    }
    assert_eq!(
        service.home(bob, 10).await,
        texts([other, spoiler]),
        "it is the filter of somebody else"
    );
    // The filters of both were read.
    assert_eq!(service.metric(misses).await, before + 2.0);

    service.store.filter(ada, id, "harmless", Some(FilterAction::Warn));
    service.settle().await;
    let home = service.get("/v1/timelines/home", Caller::User(ada)).await;
    assert_eq!(home.ids(), all);
    let filtered = json!([{ "id": id, "action": "warn", "phrases": ["harmless"] }]);
    assert_eq!(home.body["items"][1]["filtered"], filtered);
    assert!(home.body["items"][0].get("filtered").is_none());

    let listed = service.get("/v1/filters", Caller::User(ada)).await;
    let expected = json!({
        "id": id,
        "phrases": ["harmless"],
        "whole_word": false,
        "contexts": ["home", "public", "thread", "profile"],
        "action": "warn",
        "expires_at": null,
    });
    assert_eq!(listed.body, json!({ "items": [expected], "next": null, "prev": null }));
    let path = format!("/v1/filters/{id}");
    assert_eq!(service.get(&path, Caller::User(ada)).await.body, expected);
    assert_eq!(service.get(&path, Caller::User(bob)).await.status, 404);
    assert_eq!(service.get("/v1/filters", Caller::User(bob)).await.ids(), [""; 0]);

    service.store.filter(ada, id, "", None);
    service.settle().await;
    assert_eq!(service.get(&path, Caller::User(ada)).await.status, 404);
    let home = service.get("/v1/timelines/home", Caller::User(ada)).await;
    assert!(home.body["items"][1].get("filtered").is_none());
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_hides_in_lists_and_marks_what_is_asked_for() {
    let mut service = Service::start().await;
    let [ada, bob, eve] = ["ada", "bob", "eve"].map(|handle| service.store.register(handle));
    let top = service.store.post(bob, "the beginning");
    let spoiler = service.store.write(bob, "a spoiler", Some(top), Visibility::Public);
    let below = service.store.write(bob, "an answer", Some(spoiler), Visibility::Public);
    let own = service.store.write(ada, "my spoiler", Some(below), Visibility::Public);
    let repost = service.store.repost(eve, spoiler);
    let repost_of_own = service.store.repost(eve, own);
    let id = FilterId::new(service.clock.now());
    service.store.filter(ada, id, "spoiler", Some(FilterAction::Hide));
    service.settle().await;
    let (ada, nobody) = (Caller::User(ada), Caller::Nobody);

    let public = "/v1/timelines/public";
    assert_eq!(service.walk(public, ada, 1).await, texts([own, below, top]));
    assert_eq!(
        service.walk(public, nobody, 10).await,
        texts([own, below, spoiler, top])
    );
    let of_eve = format!("/v1/users/{eve}/posts");
    assert_eq!(service.walk(&of_eve, ada, 10).await, texts([repost_of_own]));
    assert_eq!(service.walk(&of_eve, nobody, 10).await, texts([repost_of_own, repost]));

    let filtered = json!([{ "id": id, "action": "hide", "phrases": ["spoiler"] }]);
    for path in [spoiler, repost] {
        let post = service.get(&format!("/v1/posts/{path}"), ada).await;
        assert_eq!(post.status, 200);
        assert_eq!(post.body["filtered"], filtered);
        let thread = service.get(&format!("/v1/posts/{path}/thread"), ada).await.body;
        assert_eq!(
            (&thread["post"]["id"], &thread["post"]["filtered"]),
            (&json!(spoiler), &filtered)
        );
        assert_eq!(thread["replies"][0]["id"], json!(below));
    }
    let ids = |posts: &serde_json::Value| -> Vec<String> {
        let posts = posts.as_array().unwrap().iter();
        posts.map(|post| post["id"].as_str().unwrap().to_owned()).collect()
    };
    let of_top = service.get(&format!("/v1/posts/{top}/thread"), ada).await.body;
    assert_eq!(ids(&of_top["replies"]), [""; 0]);
    let of_below = service.get(&format!("/v1/posts/{below}/thread"), ada).await.body;
    assert_eq!(ids(&of_below["ancestors"]), [""; 0], "what is hidden ends the list");
    assert_eq!(ids(&of_below["replies"]), texts([own]));
    assert!(of_below["replies"][0].get("filtered").is_none());
    let of_below = service.get(&format!("/v1/posts/{below}/thread"), nobody).await.body;
    assert_eq!(ids(&of_below["ancestors"]), texts([top, spoiler]));
    service.stop().await;
}

/// Without a stream, nothing would say that a filter changed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_no_stream_is_open_filters_are_read_from_the_database() {
    let mut service = Service::start().await;
    let [ada, bob] = ["ada", "bob"].map(|handle| service.store.register(handle));
    service.store.follow(ada, bob);
    let post = service.store.post(bob, "a spoiler");
    service.settle().await;
    let control = service.database.collection::<bson::Document>("control");
    control
        .update_one(doc! { "_id": "views" }, doc! { "$set": { "active": "nonsense" } })
        .await
        .unwrap();
    eventually("closed", async || {
        service.get_now("/readyz", Caller::Nobody).await.status == 503
    })
    .await;
    let id = FilterId::new(service.clock.now());
    for round in 0..2 {
        for (action, shown) in [(FilterAction::Hide, vec![]), (FilterAction::Warn, texts([post]))] {
            service.store.filter(ada, id, "spoiler", Some(action));
            service.project().await;
            let home = service.get_now("/v1/timelines/home", Caller::User(ada)).await;
            assert_eq!(home.ids(), shown, "round {round}, {action:?}");
        }
    }
    service.stop().await;
}
