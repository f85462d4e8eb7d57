//! Tests `/v1/tags`, the timelines of tags, and what followed tags add to a home timeline.

use std::time::Duration;

use bson::{Document, doc};
use event_log::subscription::leases::LEASES;
use model::ids::{PostId, UserId};
use model::values::Visibility;
use serde_json::json;

use crate::home::expected;
use crate::service::{Caller, Instance, Service, texts};

const RUST: &str = "/v1/timelines/tags/rust";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_s_timeline_has_every_public_post_with_it_in_both_directions() {
    let mut service = Service::start().await;
    let [ada, bob] = ["ada", "bob"].map(|handle| service.store.register(handle));
    service.store.follow(bob, ada);
    let mut posts: Vec<PostId> = Vec::new();
    for n in 0..30 {
        let spelling = ["#rust", "#Rust", "＃ＲＵＳＴ"][n % 3];
        posts.push(service.store.post([ada, bob][n % 2], &format!("{n} {spelling}")));
        service.store.post(ada, &format!("{n} #rusty #other"));
    }
    service
        .store
        .write(ada, "#rust for followers", None, Visibility::Followers);
    service.store.repost(bob, posts[0]);
    let gone = service.store.post(ada, "deleted #rust");
    service.store.delete_post(gone);
    let reply = service
        .store
        .write(bob, "a reply #rust", Some(posts[3]), Visibility::Public);
    service.settle().await;
    posts.push(reply);
    let newest_first = texts(posts.iter().rev().copied());

    for caller in [Caller::Nobody, Caller::User(bob)] {
        for limit in [1, 7, 100] {
            assert_eq!(service.walk(RUST, caller, limit).await, newest_first, "limit {limit}");
        }
    }
    let full_width = "/v1/timelines/tags/ＲＵＳＴ";
    assert_eq!(service.walk(full_width, Caller::Nobody, 100).await, newest_first);
    assert_eq!(
        service
            .walk("/v1/timelines/tags/nobody_wrote_it", Caller::Nobody, 5)
            .await,
        [""; 0]
    );
    service.pass(Duration::from_secs(60)).await;
    for limit in [3, 100] {
        assert_eq!(
            service.climb(RUST, Caller::Nobody, limit).await,
            newest_first,
            "limit {limit}"
        );
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timeline_may_want_other_tags_too_or_not_at_all() {
    let mut service = Service::start().await;
    let ada = service.store.register("ada");
    let [rust, go, both, web, all] =
        ["#Rust", "#Go", "#rust #go", "#rust #web", "#rust #go #web #東京"].map(|text| service.store.post(ada, text));
    service.settle().await;
    for (query, expected) in [
        ("", vec![all, web, both, rust]),
        ("any=go", vec![all, web, both, go, rust]),
        ("any=GO&any=web&any=go&any=Rust", vec![all, web, both, go, rust]),
        ("all=go", vec![all, both]),
        ("all=go&all=web", vec![all]),
        ("none=web", vec![both, rust]),
        ("any=go&none=rust", vec![go]),
        ("any=go&all=rust&none=web", vec![both, rust]),
        ("all=東京", vec![all]),
        ("none=rust", vec![]),
    ] {
        for limit in [1, 2, 10] {
            let found = service.walk(&format!("{RUST}?{query}"), Caller::Nobody, limit).await;
            assert_eq!(found, texts(expected.iter().copied()), "{query}, limit {limit}");
        }
    }
    // The links keep the other tags.
    let page = service
        .get(&format!("{RUST}?limit=1&any=go&none=東京"), Caller::Nobody)
        .await;
    let link = page.header("link").unwrap();
    assert!(link.contains("any=go&none=%E6%9D%B1%E4%BA%AC&before="), "{link}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_a_tag_s_timeline_is_decided_when_it_is_read() {
    let mut service = Service::start().await;
    let [ada, bob] = ["ada", "bob"].map(|handle| service.store.register(handle));
    let posts: Vec<PostId> = (0..4).map(|n| service.store.post(ada, &format!("{n} #rust"))).collect();
    let untagged = service.store.post(bob, "without");
    service.settle().await;
    assert_eq!(service.walk(RUST, Caller::Nobody, 2).await.len(), 4);

    service.store.edit(posts[1], "no longer");
    service.store.edit(untagged, "#Rust now");
    service.store.delete_post(posts[2]);
    service.settle().await;
    let expected = texts([untagged, posts[3], posts[0]]);
    assert_eq!(service.walk(RUST, Caller::Nobody, 2).await, expected);
    assert_eq!(service.walk(RUST, Caller::User(ada), 2).await, expected);
    // The posts of a deleted user are hidden at once, and the sweep deletes them later.
    service.store.delete_user(ada);
    service.settle().await;
    assert_eq!(service.walk(RUST, Caller::Nobody, 2).await, texts([untagged]));
    service.stop().await;
}

/// A page decides on 500 candidates at most.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_finds_too_little_ends_early_and_the_next_one_goes_on() {
    let mut service = Service::start().await;
    let ada = service.store.register("ada");
    let wanted = service.store.post(ada, "#rust #rare");
    for n in 0..520 {
        service.store.post(ada, &format!("{n} #rust"));
    }
    service.settle().await;
    let path = format!("{RUST}?all=rare&limit=10");
    let page = service.get(&path, Caller::Nobody).await;
    assert_eq!(page.ids(), [""; 0]);
    let next = page.body["next"].as_str().unwrap();
    let page = service.get(&format!("{path}&before={next}"), Caller::Nobody).await;
    assert_eq!((page.ids(), page.body["next"].is_null()), (texts([wanted]), true));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followed_tags_are_merged_into_the_home_timeline_once() {
    let mut service = Service::start_with(&[("cache.heads_max_mib", "0")]).await;
    let [ada, bob, eve] = ["ada", "bob", "eve"].map(|handle| service.store.register(handle));
    service.store.follow(ada, bob);
    let strangers = service.store.post(eve, "by a stranger #Rust");
    let both = service.store.post(bob, "by a friend #rust #go");
    service
        .store
        .write(eve, "#rust for followers", None, Visibility::Followers);
    let edited = service.store.post(eve, "#rust for now");
    service.store.repost(eve, strangers);
    let own = service.store.post(ada, "my own #rust");
    service.settle().await;
    assert_eq!(service.home(ada, 10).await, texts([own, both]));
    let steps = "home_page_steps_total{kind=\"tags\"}";
    assert_eq!(service.metric(steps).await, 0.0, "nobody follows a tag");

    service.store.follow_tag(ada, "RUST", true);
    service.store.follow_tag(ada, "go", true);
    service.settle().await;
    for limit in [1, 2, 10] {
        let home = service.home(ada, limit).await;
        assert_eq!(home, texts([own, edited, both, strangers]), "limit {limit}");
        assert_eq!(home, expected(&service, ada));
    }
    assert!(service.metric(steps).await >= 1.0);
    assert_eq!(
        service.home(bob, 10).await,
        expected(&service, bob),
        "who follows no tag"
    );

    service.store.edit(edited, "without");
    service.settle().await;
    assert_eq!(service.home(ada, 2).await, texts([own, both, strangers]));
    service.store.unfollow(ada, bob);
    service.settle().await;
    assert_eq!(
        service.home(ada, 2).await,
        texts([own, both, strangers]),
        "the tag is enough"
    );
    service.store.follow_tag(ada, "rust", false);
    service.settle().await;
    assert_eq!(
        service.home(ada, 2).await,
        texts([own, both]),
        "the other tag is enough"
    );
    service.store.follow_tag(ada, "go", false);
    service.store.follow(ada, bob);
    service.settle().await;
    assert_eq!(service.home(ada, 2).await, texts([own, both]));
    service.store.delete_user(bob);
    service.settle().await;
    assert_eq!(service.home(ada, 2).await, texts([own]));
    service.stop().await;
}

/// The window is 4, so nearly all posts are below the floor, and with a fan-out limit of 3, the star is large.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followed_tags_are_merged_above_and_below_the_floor_and_with_large_accounts() {
    let mut service = Service::start().await;
    let [ada, bob, star, eve] = ["ada", "bob", "star", "eve"].map(|handle| service.store.register(handle));
    let fans: Vec<UserId> = (0..4).map(|n| service.store.register(&format!("fan{n}"))).collect();
    for fan in fans.into_iter().chain([ada]) {
        service.store.follow(fan, star);
    }
    service.store.follow(ada, bob);
    service.store.follow_tag(ada, "Rust", true);
    for n in 0..40 {
        service.store.post(bob, &format!("{n}"));
        service.store.post(star, &format!("{n} #rust"));
        service.store.post(eve, &format!("{n} #rust #go"));
        service.store.post(eve, &format!("{n} #go"));
    }
    service.settle().await;
    let header = service.projected.views.home_timelines.header(ada).await.unwrap();
    assert!(header.floor.is_some() && header.large == [star]);
    let whole = expected(&service, ada);
    assert_eq!(whole.len(), 120);
    for limit in [1, 7, 100] {
        assert_eq!(service.home(ada, limit).await, whole, "limit {limit}");
    }
    service.pass(Duration::from_secs(60)).await;
    for limit in [7, 100] {
        let upwards = service.climb("/v1/timelines/home", Caller::User(ada), limit).await;
        assert_eq!(upwards, whole, "limit {limit}, upwards");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tags_that_one_follows_are_listed_as_written_and_to_nobody_else() {
    let mut service = Service::start().await;
    let [ada, bob] = ["ada", "bob"].map(|handle| service.store.register(handle));
    for tag in ["Rust", "東京", "İstanbul", "gone"] {
        service.store.follow_tag(ada, tag, true);
    }
    service.store.follow_tag(ada, "gone", false);
    service.settle().await;
    let names = async |path: &str, caller| {
        let page = service.get(path, caller).await;
        let names = page.body["items"].as_array().unwrap().iter();
        let names: Vec<String> = names
            .map(|tag| {
                assert_eq!(tag["following"], true);
                tag["name"].as_str().unwrap().to_owned()
            })
            .collect();
        let cursor = |name: &str| page.body[name].as_str().map(str::to_owned);
        (names, cursor("next"), cursor("prev"))
    };
    let caller = Caller::User(ada);
    let (whole, next, prev) = names("/v1/tags/followed", caller).await;
    assert_eq!(
        (whole, next),
        (["İstanbul", "東京", "Rust"].map(str::to_owned).to_vec(), None)
    );
    let (first, next, _) = names("/v1/tags/followed?limit=2", caller).await;
    assert_eq!(first, ["İstanbul", "東京"]);
    let (rest, end, _) = names(&format!("/v1/tags/followed?limit=2&before={}", next.unwrap()), caller).await;
    assert_eq!((rest, end), (vec!["Rust".to_owned()], None));
    assert_eq!(names("/v1/tags/followed", Caller::User(bob)).await.0, [""; 0]);

    for (path, caller, expected) in [
        ("RUST", caller, json!({ "name": "Rust", "following": true })),
        ("istanbul", caller, json!({ "name": "istanbul", "following": false })),
        ("GONE", caller, json!({ "name": "GONE", "following": false })),
        ("RUST", Caller::User(bob), json!({ "name": "RUST", "following": false })),
        ("RUST", Caller::Nobody, json!({ "name": "RUST" })),
    ] {
        let tag = service.get(&format!("/v1/tags/{path}"), caller).await;
        assert_eq!((tag.status.as_u16(), tag.body), (200, expected), "{path}");
    }
    service.store.follow_tag(ada, "new", true);
    service.settle().await;
    let polled = service
        .get(&format!("/v1/tags/followed?after={}", prev.unwrap()), Caller::User(ada))
        .await;
    assert_eq!(polled.body["items"][0]["name"], "new");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_that_an_earlier_version_wrote_are_not_asked_for_tags() {
    let mut service = Service::start().await;
    let [ada, bob] = ["ada", "bob"].map(|handle| service.store.register(handle));
    service.store.follow_tag(ada, "Rust", true);
    let tagged = service.store.post(bob, "#rust");
    let own = service.store.post(ada, "without");
    service.settle().await;
    assert_eq!(service.home(ada, 10).await, texts([own, tagged]));
    // One lease is enough: its partition's posts have no tags.
    let leases = service.database.collection::<Document>(LEASES);
    let earlier = doc! { "$set": { "stamp": null } };
    leases.update_one(doc! { "_id": "views-g1/17" }, earlier).await.unwrap();
    let second = Instance::start(&service.environment, service.clock.clone()).await;
    service.wait_until_ready(&second.url).await;
    let get = async |path: &str| {
        service
            .fetch(&format!("{}{path}", second.url), Caller::User(ada), None)
            .await
    };
    for path in [RUST, "/v1/tags/rust", "/v1/tags/followed"] {
        let answer = get(path).await;
        assert_eq!(answer.status, 503, "{path}");
        let words = answer.body.to_string();
        assert!(words.contains("tags are being built by a rebuild"), "{path}: {words}");
    }
    assert_eq!(get("/v1/timelines/home").await.ids(), texts([own]));
    second.stop().await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_tag_is_refused_by_name() {
    let mut service = Service::start().await;
    let ada = service.store.register("ada");
    service.settle().await;
    for bad in ["2024", "two%20words", "%23rust", "a-b", "%00", "a%2Fb"] {
        for path in [format!("/v1/tags/{bad}"), format!("/v1/timelines/tags/{bad}")] {
            let answer = service.get(&path, Caller::Nobody).await;
            assert_eq!((answer.status.as_u16(), answer.fields()), (400, vec!["tag"]), "{path}");
        }
    }
    for (query, field) in [
        ("any=", "any"),
        ("all=2024", "all"),
        ("none=go&none=%23go", "none"),
        ("any=a&any=b&any=c&any=d&any=e", "any"),
        ("all=a&all=b&all=c&all=d&all=e", "all"),
        ("none=a&none=b&none=c&none=d&none=e", "none"),
        ("some=go", "some"),
    ] {
        let answer = service.get(&format!("{RUST}?{query}"), Caller::User(ada)).await;
        assert_eq!(
            (answer.status.as_u16(), answer.fields()),
            (400, vec![field]),
            "{query}: {}",
            answer.body
        );
    }
    assert_eq!(service.get("/v1/tags/followed", Caller::Nobody).await.status, 401);
    service.stop().await;
}
