//! Tests `/v1/timelines`: the home timeline equals its definition, whatever it was made of.

use std::time::Duration;

use insta::assert_json_snapshot;
use model::clock::Clock;
use model::ids::{PostId, UserId};
use model::values::Visibility;

use crate::definition;
use crate::fixture::timelines;
use crate::service::{Caller, Service, eventually, named, texts};

/// The home timeline by its definition, from the events.
pub(crate) fn expected(service: &Service, owner: UserId) -> Vec<String> {
    texts(definition::home_timeline(&service.store.log, owner))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_home_timeline_is_what_the_definition_says_at_every_limit() {
    let mut service = Service::start().await;
    let [ada, bob, eve] = ["ada", "bob", "eve"].map(|handle| service.store.register(handle));
    service.store.follow(ada, bob);
    let first = service.store.post(bob, "first");
    let own = service.store.write(ada, "own", None, Visibility::Followers);
    let strangers = service.store.post(eve, "a stranger's");
    let repost = service.store.repost(bob, strangers);
    let second = service.store.repost(ada, strangers);
    let closed = service.store.write(bob, "closed", Some(own), Visibility::Followers);
    service.settle().await;

    assert_eq!(service.home(ada, 10).await, texts([closed, second, repost, own, first]));
    for owner in [ada, bob, eve] {
        for limit in [1, 2, 3, 5, 100] {
            assert_eq!(
                service.home(owner, limit).await,
                expected(&service, owner),
                "limit {limit}"
            );
        }
    }
    let page = service.get("/v1/timelines/home?limit=2", Caller::User(ada)).await;
    let names = [("ada", ada), ("bob", bob), ("eve", eve)].map(|(name, id)| (name, id.to_string()));
    assert_json_snapshot!("home", named(&page.body, &names));
    let (next, prev) = (page.body["next"].as_str().unwrap(), page.body["prev"].as_str().unwrap());
    assert_eq!(
        page.header("link").unwrap(),
        format!(
            "</v1/timelines/home?limit=2&before={next}>; rel=\"next\", </v1/timelines/home?limit=2&after={prev}>; rel=\"prev\""
        )
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_shown_is_decided_when_it_is_read() {
    let mut service = Service::start().await;
    let [ada, bob, eve] = ["ada", "bob", "eve"].map(|handle| service.store.register(handle));
    service.store.follow(ada, bob);
    service.store.follow(ada, eve);
    let original = service.store.post(eve, "original");
    let repost = service.store.repost(bob, original);
    let post = service.store.post(bob, "by bob");
    service.settle().await;
    assert_eq!(service.home(ada, 2).await, texts([post, repost, original]));

    service.store.unfollow(ada, eve);
    service.settle().await;
    assert_eq!(
        service.home(ada, 2).await,
        texts([post, repost]),
        "the repost stays, the followee's own post goes"
    );
    service.store.delete_post(original);
    service.settle().await;
    assert_eq!(
        service.home(ada, 2).await,
        texts([post]),
        "a repost goes with its original"
    );
    service.store.follow(ada, eve);
    let late = service.store.post(eve, "late");
    service.settle().await;
    assert_eq!(service.home(ada, 2).await, texts([late, post]));
    service.store.unfollow(ada, bob);
    service.settle().await;
    assert_eq!(service.home(ada, 2).await, texts([late]));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_that_are_left_out_never_make_a_page_short() {
    let mut service = Service::start().await;
    let [ada, bob, eve] = ["ada", "bob", "eve"].map(|handle| service.store.register(handle));
    service.store.follow(ada, bob);
    service.store.follow(ada, eve);
    let old: Vec<PostId> = (0..3).map(|n| service.store.post(eve, &format!("old {n}"))).collect();
    let many: Vec<PostId> = (0..60).map(|n| service.store.post(bob, &format!("many {n}"))).collect();
    service.settle().await;
    for post in &many[1..] {
        service.store.delete_post(*post);
    }
    service.settle().await;
    let page = service.get("/v1/timelines/home?limit=3", Caller::User(ada)).await;
    assert_eq!(page.ids(), texts([many[0], old[2], old[1]]));
    assert_eq!(service.home(ada, 3).await, expected(&service, ada));
    service.store.unfollow(ada, bob);
    service.settle().await;
    assert_eq!(service.home(ada, 2).await, texts([old[2], old[1], old[0]]));
    service.stop().await;
}

/// The floor of a timeline that became too long is at the end of the window. The entries below still exist for a while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_below_the_floor_do_not_count_in_either_direction() {
    let mut service = Service::start().await;
    let [ada, bob] = ["ada", "bob"].map(|handle| service.store.register(handle));
    service.store.follow(ada, bob);
    let posts: Vec<PostId> = (0..14).map(|n| service.store.post(bob, &format!("{n}"))).collect();
    service.settle().await;
    let floor = service
        .projected
        .views
        .home_timelines
        .header(ada)
        .await
        .unwrap()
        .floor
        .unwrap();
    for &post in posts[1..].iter().filter(|&&post| post <= floor) {
        service.store.delete_post(post);
    }
    service.settle().await;
    service.pass(Duration::from_secs(30)).await;
    let expected = expected(&service, ada);
    assert!(posts[3] < floor && expected.len() > 4, "{expected:?}");
    for limit in [1, 2, 3, 4, 20] {
        assert_eq!(service.home(ada, limit).await, expected, "limit {limit}");
        let upwards = service.climb("/v1/timelines/home", Caller::User(ada), limit).await;
        assert_eq!(upwards, expected, "limit {limit}, upwards");
    }
    service.stop().await;
}

/// The window is 4, so nearly all posts are below the floor.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_posts_deep_there_is_no_gap_and_no_double() {
    let mut service = Service::start().await;
    let [ada, bob, eve] = ["ada", "bob", "eve"].map(|handle| service.store.register(handle));
    service.store.follow(ada, bob);
    for round in 0..20 {
        for author in [bob, eve] {
            for n in 0..50 {
                service.store.post(author, &format!("{round} {n}"));
            }
        }
    }
    service.settle().await;
    // The followee has more posts than the window, so the follow raises the floor.
    service.store.follow(ada, eve);
    let newest = service.store.post(bob, "newest");
    service.settle().await;

    let all = service.home(ada, 100).await;
    assert_eq!(all.len(), 2_001);
    assert_eq!(all[0], newest.to_string());
    assert_eq!(all, expected(&service, ada));
    assert!(service.metric("home_page_steps_total{kind=\"below_floor\"}").await >= 1.0);
    assert!(service.metric("home_page_steps_total{kind=\"stored\"}").await >= 1.0);

    // The same list upwards from the end, as a client polls: nothing is skipped.
    service.pass(Duration::from_secs(60)).await;
    let caller = Caller::User(ada);
    assert_eq!(service.climb("/v1/timelines/home", caller, 100).await, all);
    service.stop().await;
}

/// With a fan-out limit of 3, four followers make an account large.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn posts_of_large_accounts_are_merged_in_once() {
    let mut service = Service::start().await;
    let [ada, star, bob] = ["ada", "star", "bob"].map(|handle| service.store.register(handle));
    service.store.follow(ada, star);
    service.store.follow(ada, bob);
    let small = service.store.post(star, "while it is small");
    let fans: Vec<UserId> = (0..5).map(|n| service.store.register(&format!("fan{n}"))).collect();
    for &fan in &fans {
        service.store.follow(fan, star);
    }
    service.settle().await;
    let mut own = Vec::new();
    for n in 0..6 {
        service.store.post(star, &format!("large {n}"));
        own.push(service.store.post(bob, &format!("between {n}")));
    }
    let repost = service.store.repost(star, own[0]);
    service.settle().await;

    for limit in [1, 2, 5, 100] {
        let home = service.home(ada, limit).await;
        assert_eq!(home, expected(&service, ada), "limit {limit}");
        assert!(home.contains(&small.to_string()) && home.contains(&repost.to_string()));
        assert_eq!(
            service.home(fans[4], limit).await,
            expected(&service, fans[4]),
            "limit {limit}"
        );
        assert_eq!(
            service.home(star, limit).await,
            expected(&service, star),
            "limit {limit}"
        );
    }
    let large = service.metric("home_page_steps_total{kind=\"large\"}").await;
    assert!(large >= 1.0);
    // After an unfollow, the page no longer looks up the account's posts.
    service.store.unfollow(ada, star);
    service.settle().await;
    assert_eq!(service.home(ada, 100).await, expected(&service, ada));
    service.store.follow(ada, star);
    service.settle().await;
    assert_eq!(service.home(ada, 100).await, expected(&service, ada));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_owner_wakes_by_reading_and_misses_nothing() {
    let mut service = Service::start().await;
    let [ada, bob] = ["ada", "bob"].map(|handle| service.store.register(handle));
    service.store.follow(ada, bob);
    service.store.post(bob, "before");
    service.settle().await;
    service.clock.advance(timelines().idle_after + Duration::from_secs(1));
    assert_eq!(service.projected.projection.mark_idle_owners().await.unwrap(), 2);
    for n in 0..10 {
        service.store.post(bob, &format!("unseen {n}"));
    }
    service.settle().await;
    let header = async |service: &Service| service.projected.views.home_timelines.header(ada).await.unwrap();

    // A verifier sees everything and wakes nobody.
    for limit in [1, 3, 100] {
        let verified = service.walk("/v1/timelines/home", Caller::Verifier(ada), limit).await;
        assert_eq!(verified, expected(&service, ada), "limit {limit}");
    }
    assert!(header(&service).await.idle);
    let last_read = header(&service).await.last_read;

    assert_eq!(service.home(ada, 3).await, expected(&service, ada));
    let woken = header(&service).await;
    assert!(!woken.idle && woken.last_read > last_read);
    let margin = chrono::TimeDelta::seconds(5);
    assert_eq!(woken.floor.unwrap().time(), service.clock.now() + margin);
    assert!(service.metric("home_page_steps_total{kind=\"idle\"}").await >= 2.0);

    // From now on there are entries again, and pages begin with them.
    service.clock.advance(Duration::from_secs(10));
    for n in 0..3 {
        service.store.post(bob, &format!("seen {n}"));
    }
    service.settle().await;
    for limit in [1, 2, 100] {
        assert_eq!(service.home(ada, limit).await, expected(&service, ada), "limit {limit}");
    }
    service.stop().await;
}

/// A floor from a clock that is behind would be below posts that were never written for the owner.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_clock_that_is_off_nobody_wakes_and_nothing_is_missed() {
    let mut service = Service::start_unready(&[("clock.max_skew", "1s")]).await;
    eventually("following", async || {
        service.metric("views_streams_opened_total").await >= 1.0
    })
    .await;
    let [ada, bob] = ["ada", "bob"].map(|handle| service.store.register(handle));
    service.store.follow(ada, bob);
    service.settle().await;
    service.clock.advance(timelines().idle_after + Duration::from_secs(1));
    service.projected.projection.mark_idle_owners().await.unwrap();
    service.store.post(bob, "unseen");
    service.settle().await;
    let readiness = service.get_now("/readyz", Caller::Nobody).await;
    assert_eq!(readiness.status, 503);
    assert!(
        readiness.body["checks"].to_string().contains("the clock was not found"),
        "{}",
        readiness.body
    );
    assert_eq!(service.home(ada, 5).await, expected(&service, ada));
    assert!(service.projected.views.home_timelines.header(ada).await.unwrap().idle);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_visit_is_written_down_now_and_then_and_not_for_who_verifies() {
    let mut service = Service::start().await;
    let ada = service.store.register("ada");
    service.settle().await;
    let header = async |service: &Service| service.projected.views.home_timelines.header(ada).await.unwrap();
    service.home(ada, 5).await;
    let registered = header(&service).await.last_read.unwrap();
    service.clock.advance(Duration::from_secs(59 - 1));
    service.home(ada, 5).await;
    assert_eq!(header(&service).await.last_read, Some(registered), "it was just now");
    service.clock.advance(Duration::from_secs(10));
    service.walk("/v1/timelines/home", Caller::Verifier(ada), 5).await;
    assert_eq!(header(&service).await.last_read, Some(registered), "nobody has come");
    let now = service.clock.now();
    service.home(ada, 5).await;
    assert_eq!(header(&service).await.last_read, Some(now));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_polls_gets_late_posts_too() {
    let mut service = Service::start().await;
    let [ada, bob] = ["ada", "bob"].map(|handle| service.store.register(handle));
    service.store.follow(ada, bob);
    for n in 0..30 {
        service.store.post(bob, &format!("{n}"));
    }
    service.settle().await;
    let page = service.get("/v1/timelines/home?limit=20", Caller::User(ada)).await;
    let newest: PostId = page.ids()[0].parse().unwrap();
    let prev = page.body["prev"].as_str().unwrap();
    // Everything that was handled was shown, or is on the next pages.
    let again = service
        .get(&format!("/v1/timelines/home?limit=100&after={prev}"), Caller::User(ada))
        .await;
    assert_eq!(again.ids(), texts::<PostId>([]));

    // This post has an older id than the newest one that was shown, because its clock was behind.
    service.clock.rewind(Duration::from_secs(5));
    let late = service.store.post(bob, "late");
    service.clock.advance(Duration::from_secs(5));
    assert!(late < newest);
    service.settle().await;
    let again = again.body["prev"].as_str().unwrap();
    for prev in [prev, again] {
        let path = |prev: &str| format!("/v1/timelines/home?limit=100&after={prev}");
        let polled = service.get(&path(prev), Caller::User(ada)).await;
        assert_eq!(polled.ids(), texts([late]));
        let polled = service
            .get(&path(polled.body["prev"].as_str().unwrap()), Caller::User(ada))
            .await;
        assert_eq!(polled.ids(), texts::<PostId>([]));
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prev_is_not_above_what_the_slowest_partition_has_handled() {
    let mut service = Service::start().await;
    let [ada, bob] = ["ada", "bob"].map(|handle| service.store.register(handle));
    service.store.follow(ada, bob);
    service.settle().await;
    let handled = service.clock.now();
    // The views show a post, but no checkpoint has reached it.
    service.clock.advance(Duration::from_secs(100));
    let post = service.store.post(bob, "new");
    service.project().await;
    let page = service.get("/v1/timelines/home", Caller::User(ada)).await;
    assert_eq!(page.ids(), texts([post]));
    let prev = page.body["prev"].as_str().unwrap();

    service.clock.rewind(Duration::from_secs(100));
    let late = service.store.post(bob, "late by far");
    service.clock.advance(Duration::from_secs(101));
    assert!(late.time() <= handled + chrono::TimeDelta::seconds(1));
    service.settle().await;
    let polled = service
        .get(&format!("/v1/timelines/home?after={prev}"), Caller::User(ada))
        .await
        .ids();
    assert_eq!(polled, texts([post, late]));
    service.stop().await;
}

/// The owner has more followees than one query reads without a guess of how far back a page reaches, and the page is below the floor.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_followees_are_looked_up_in_short_ranges() {
    let mut service = Service::start().await;
    let ada = service.store.register("ada");
    let others: Vec<UserId> = (0..410).map(|n| service.store.register(&format!("other{n}"))).collect();
    for &other in &others {
        service.store.post(other, "one");
    }
    for &other in &others {
        service.store.follow(ada, other);
    }
    service.settle().await;
    service.clock.advance(timelines().idle_after + Duration::from_secs(1));
    service.projected.projection.mark_idle_owners().await.unwrap();
    service.settle().await;
    let home = service.walk("/v1/timelines/home", Caller::Verifier(ada), 40).await;
    assert_eq!(home, expected(&service, ada));
    assert_eq!(home.len(), 410);
    let upwards = service.climb("/v1/timelines/home", Caller::Verifier(ada), 40).await;
    assert_eq!(upwards, home);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_public_timeline_has_public_posts_and_replies_without_reposts() {
    let mut service = Service::start().await;
    let [ada, bob] = ["ada", "bob"].map(|handle| service.store.register(handle));
    let post = service.store.post(ada, "post");
    let reply = service.store.write(bob, "reply", Some(post), Visibility::Public);
    service.store.write(ada, "closed", None, Visibility::Followers);
    service.store.repost(bob, post);
    let gone = service.store.post(bob, "gone");
    service.store.like(ada, reply, true);
    service.settle().await;
    service.store.delete_post(gone);
    service.settle().await;
    for caller in [Caller::Nobody, Caller::User(ada)] {
        for limit in [1, 2, 50] {
            assert_eq!(
                service.walk("/v1/timelines/public", caller, limit).await,
                texts([reply, post])
            );
        }
    }
    let flagged = service.get("/v1/timelines/public", Caller::User(ada)).await;
    assert_eq!(flagged.body["items"][0]["viewer"]["liked"], true);
    let bare = service.get("/v1/timelines/public", Caller::Nobody).await;
    assert!(bare.body["items"][0].get("viewer").is_none());
    service.stop().await;
}

/// How far back a page reaches is guessed by the one before. Here the guess is wrong by years.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silence_of_years_ends_no_page_of_the_public_timeline() {
    let mut service = Service::start().await;
    let ada = service.store.register("ada");
    let mut posts = Vec::new();
    for _ in 0..3 {
        for n in 0..3 {
            posts.push(service.store.post(ada, &format!("{n}")));
            service.clock.advance(Duration::from_secs(1));
        }
        service.clock.advance(Duration::from_secs(3 * 365 * 24 * 60 * 60));
    }
    service.settle().await;
    let newest = texts(posts.iter().rev());
    for limit in [2, 3, 20, 20] {
        let path = format!("/v1/timelines/public?limit={limit}");
        let page = service.get(&path, Caller::Nobody).await.body;
        let ids: Vec<_> = page["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["id"].as_str().unwrap())
            .collect();
        assert_eq!(ids, newest[..limit.min(newest.len())]);
        assert_eq!(page["next"].is_null(), limit >= newest.len());
    }
    service.stop().await;
}
