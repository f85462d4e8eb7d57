//! `/v1/users` and `/v1/relationships`.

use insta::assert_json_snapshot;
use model::ids::UserId;
use model::values::Visibility;

use crate::service::{Caller, Service, named, texts};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_is_found_by_id_and_by_handle_with_counts() {
    let mut service = Service::start().await;
    let (ada, bob) = (service.store.register("ada"), service.store.register("bob"));
    service.store.follow(bob, ada);
    service.store.post(ada, "one");
    let post = service.store.post(bob, "two");
    service.store.repost(ada, post);
    service.settle().await;

    let by_id = service.get(&format!("/v1/users/{ada}"), Caller::Nobody).await;
    assert_json_snapshot!("user", named(&by_id.body, &[("ada", ada.to_string())]));
    assert_eq!(by_id.header("etag"), Some("\"1\""));
    for name in ["@ada", "@ADA", "%40ada"] {
        assert_eq!(
            service.get(&format!("/v1/users/{name}"), Caller::User(bob)).await.body,
            by_id.body,
            "{name}"
        );
    }
    service.store.rename(ada, "Countess");
    service.settle().await;
    let renamed = service.get("/v1/users/@ada", Caller::Nobody).await;
    assert_eq!(
        (renamed.body["display_name"].as_str(), renamed.header("etag")),
        (Some("Countess"), Some("\"2\""))
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_user_vanishes_everywhere() {
    let mut service = Service::start().await;
    let [ada, bob, eve] = ["ada", "bob", "eve"].map(|handle| service.store.register(handle));
    service.store.follow(bob, ada);
    service.store.follow(ada, bob);
    service.store.follow(bob, eve);
    let post = service.store.post(ada, "mine");
    let theirs = service.store.post(bob, "theirs");
    let repost = service.store.repost(bob, post);
    let reply = service.store.write(ada, "a reply", Some(theirs), Visibility::Public);
    service.store.like(ada, theirs, true);
    service.settle().await;
    // The cache has everything.
    assert_eq!(service.home(bob, 10).await, texts([reply, repost, theirs, post]));
    assert_eq!(service.get("/v1/users/@ada", Caller::Nobody).await.status, 200);
    assert_eq!(
        service
            .get(&format!("/v1/posts/{theirs}/likes"), Caller::Nobody)
            .await
            .ids(),
        texts([ada])
    );

    service.store.delete_user(ada);
    service.settle().await;

    for path in ["", "/posts", "/followers", "/following"] {
        for name in [ada.to_string(), "@ada".to_owned()] {
            assert_eq!(
                service
                    .get(&format!("/v1/users/{name}{path}"), Caller::User(bob))
                    .await
                    .status,
                404,
                "{path}"
            );
        }
    }
    for id in [post, repost, reply] {
        for path in ["", "/thread", "/likes", "/reposts", "/history"] {
            assert_eq!(
                service
                    .get(&format!("/v1/posts/{id}{path}"), Caller::User(bob))
                    .await
                    .status,
                404,
                "{path}"
            );
        }
    }
    assert_eq!(service.home(bob, 10).await, texts([theirs]));
    assert_eq!(
        service.walk("/v1/timelines/public", Caller::Nobody, 10).await,
        texts([theirs])
    );
    assert_eq!(
        service.walk("/v1/users/@bob/posts", Caller::Nobody, 10).await,
        texts([theirs])
    );
    assert_eq!(
        service.walk("/v1/users/@bob/followers", Caller::Nobody, 10).await,
        Vec::<String>::new()
    );
    assert_eq!(
        service.walk("/v1/users/@bob/following", Caller::Nobody, 10).await,
        texts([eve])
    );
    assert_eq!(
        service
            .walk(&format!("/v1/posts/{theirs}/likes"), Caller::Nobody, 10)
            .await,
        Vec::<String>::new()
    );
    let thread = service.get(&format!("/v1/posts/{theirs}/thread"), Caller::Nobody).await;
    assert_eq!(thread.body["replies"].as_array().unwrap().len(), 0, "{}", thread.body);
    let relationships = service
        .get(&format!("/v1/relationships?id={ada}&id={eve}"), Caller::User(bob))
        .await;
    assert_eq!(relationships.ids(), texts([eve]));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_and_following_come_newest_first_in_pages() {
    let mut service = Service::start().await;
    let ada = service.store.register("ada");
    let others: Vec<UserId> = (0..7).map(|n| service.store.register(&format!("user{n}"))).collect();
    for &other in &others {
        service.store.follow(other, ada);
        service.store.follow(ada, other);
    }
    service.store.unfollow(others[3], ada);
    service.store.unfollow(ada, others[3]);
    // A follower who comes back is the newest again.
    service.store.unfollow(others[0], ada);
    service.store.follow(others[0], ada);
    service.settle().await;

    let followers = [0, 6, 5, 4, 2, 1].map(|n| others[n]);
    let following = [6, 5, 4, 2, 1, 0].map(|n| others[n]);
    for limit in [1, 2, 6, 100] {
        assert_eq!(
            service.walk("/v1/users/@ada/followers", Caller::Nobody, limit).await,
            texts(followers)
        );
        assert_eq!(
            service.walk("/v1/users/@ada/following", Caller::Nobody, limit).await,
            texts(following)
        );
    }
    let page = service.get("/v1/users/@ada/followers?limit=1", Caller::Nobody).await;
    assert_json_snapshot!("followers", named(&page.body, &[]));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_users_posts_include_reposts_and_hide_what_is_for_followers() {
    let mut service = Service::start().await;
    let [ada, bob, eve] = ["ada", "bob", "eve"].map(|handle| service.store.register(handle));
    service.store.follow(bob, ada);
    let theirs = service.store.post(eve, "eve's");
    let open = service.store.post(ada, "open");
    let repost = service.store.repost(ada, theirs);
    let mut closed = Vec::new();
    for n in 0..30 {
        closed.push(
            service
                .store
                .write(ada, &format!("closed {n}"), None, Visibility::Followers),
        );
    }
    let reply = service.store.write(ada, "a reply", Some(theirs), Visibility::Public);
    service.settle().await;

    let all: Vec<_> = [reply]
        .into_iter()
        .chain(closed.iter().rev().copied())
        .chain([repost, open])
        .collect();
    for caller in [Caller::User(ada), Caller::User(bob)] {
        assert_eq!(
            service.walk("/v1/users/@ada/posts", caller, 7).await,
            texts(all.clone()),
            "{caller:?}"
        );
    }
    for caller in [Caller::Nobody, Caller::User(eve)] {
        assert_eq!(
            service.walk("/v1/users/@ada/posts", caller, 2).await,
            texts([reply, repost, open]),
            "{caller:?}"
        );
    }
    // After an unfollow, posts for followers are no longer shown.
    service.store.unfollow(bob, ada);
    service.settle().await;
    assert_eq!(
        service.walk("/v1/users/@ada/posts", Caller::User(bob), 2).await,
        texts([reply, repost, open])
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn relationships_are_told_both_ways() {
    let mut service = Service::start().await;
    let [ada, bob, eve] = ["ada", "bob", "eve"].map(|handle| service.store.register(handle));
    service.store.follow(ada, bob);
    service.store.follow(eve, ada);
    service.settle().await;
    let path = format!("/v1/relationships?id={bob}&id={eve}&id={ada}&id={bob}");
    let answer = service.get(&path, Caller::User(ada)).await;
    let names = [
        ("ada", ada.to_string()),
        ("bob", bob.to_string()),
        ("eve", eve.to_string()),
    ];
    assert_json_snapshot!("relationships", named(&answer.body, &names));

    service.store.unfollow(ada, bob);
    service.store.follow(bob, ada);
    service.settle().await;
    let answer = service
        .get(&format!("/v1/relationships?id={bob}"), Caller::User(ada))
        .await;
    let relationship = &answer.body["items"][0];
    assert_eq!(
        (
            relationship["following"].as_bool(),
            relationship["followed_by"].as_bool()
        ),
        (Some(false), Some(true))
    );
    assert_eq!(service.get(&path, Caller::Nobody).await.status, 401);
    service.stop().await;
}
