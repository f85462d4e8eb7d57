//! Blocks, mutes, protected accounts and requests to follow.

use std::time::Duration;

use model::ids::{PostId, UserId};
use model::values::Visibility;
use serde_json::{Value, json};

use crate::service::{Caller, Service};

impl Service {
    fn people<const N: usize>(&mut self, handles: [&str; N]) -> [UserId; N] {
        handles.map(|handle| self.store.register(handle))
    }

    async fn texts(&self, path: &str, viewer: Caller) -> Vec<String> {
        let answer = self.get(path, viewer).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        let items = answer.body["items"].as_array().unwrap();
        items.iter().map(text_of).collect()
    }

    async fn relationship(&self, viewer: UserId, other: UserId) -> Value {
        let path = format!("/v1/relationships?id={other}");
        self.get(&path, Caller::User(viewer)).await.body["items"][0].clone()
    }
}

fn text_of(post: &Value) -> String {
    let original = &post["repost_of"];
    let shown = if original.is_null() { post } else { original };
    shown["text"].as_str().unwrap().to_owned()
}

/// Everything that one user can reach of another user, a post of theirs and its reply.
fn paths(of: UserId, post: PostId) -> Vec<String> {
    let of_user = ["posts", "followers", "following"].map(|list| format!("/v1/users/{of}/{list}"));
    let of_post = ["", "/thread", "/likes", "/reposts", "/history"].map(|what| format!("/v1/posts/{post}{what}"));
    of_user.into_iter().chain(of_post).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_closes_everything_between_two_users_and_nothing_for_others() {
    let mut service = Service::start().await;
    let [ada, bob, eve] = service.people(["ada", "bob", "eve"]);
    for (follower, followee) in [(ada, bob), (bob, ada), (eve, ada), (eve, bob)] {
        service.store.follow(follower, followee);
    }
    let post = service.store.post(ada, "by ada");
    let answer = service.store.write(bob, "by bob", Some(post), Visibility::Public);
    let shared = service.store.post(eve, "by eve");
    for user in [ada, bob] {
        service.store.like(user, shared, true);
        service.store.repost(user, shared);
    }
    let (reposted, _) = (service.store.repost(eve, post), service.store.repost(eve, answer));
    service.settle().await;
    // The answers are in memory when the block comes.
    for path in paths(ada, post) {
        assert_eq!(service.get(&path, Caller::User(bob)).await.status, 200, "{path}");
    }
    service.store.block(ada, bob, true);
    service.settle().await;

    for (viewer, of, hidden) in [(bob, ada, post), (ada, bob, answer)] {
        for path in paths(of, hidden) {
            assert_eq!(service.get(&path, Caller::User(viewer)).await.status, 404, "{path}");
            assert_eq!(service.get(&path, Caller::User(eve)).await.status, 200, "{path}");
            assert_eq!(service.get(&path, Caller::Nobody).await.status, 200, "{path}");
        }
        let hidden = if of == ada { "by ada" } else { "by bob" };
        for path in [
            "/v1/timelines/home",
            "/v1/timelines/public",
            &format!("/v1/users/{eve}/posts"),
        ] {
            let texts = service.texts(path, Caller::User(viewer)).await;
            assert!(
                !texts.is_empty() && !texts.iter().any(|text| text == hidden),
                "{path}: {texts:?}"
            );
        }
        for list in ["likes", "reposts"] {
            let path = format!("/v1/posts/{shared}/{list}");
            assert_eq!(
                service.get(&path, Caller::User(viewer)).await.ids(),
                [viewer.to_string()]
            );
            assert_eq!(service.get(&path, Caller::User(eve)).await.ids().len(), 2);
        }
        let followers = service
            .get(&format!("/v1/users/{eve}/following"), Caller::User(viewer))
            .await;
        assert_eq!(followers.ids(), [viewer.to_string()]);
    }
    let reposted = service.get(&format!("/v1/posts/{reposted}"), Caller::User(bob)).await;
    assert_eq!(reposted.status, 404);
    // The reply of somebody who is blocked is not in the thread.
    let thread = service
        .get(&format!("/v1/posts/{post}/thread"), Caller::User(ada))
        .await;
    assert_eq!(thread.body["replies"], json!([]));

    let profile =
        async |of: UserId, viewer: UserId| service.get(&format!("/v1/users/{of}"), Caller::User(viewer)).await.body;
    let (blocked, blocker) = (profile(ada, bob).await, profile(bob, ada).await);
    assert_eq!(
        (&blocked["display_name"], &blocked["counts"]),
        (&json!("The ada"), &Value::Null)
    );
    assert_eq!(blocker["counts"]["posts"], 1);
    assert_eq!(service.relationship(ada, bob).await["blocking"], true);
    assert_eq!(service.relationship(bob, ada).await["blocked_by"], true);
    assert_eq!(
        service.get("/v1/blocks", Caller::User(ada)).await.ids(),
        [bob.to_string()]
    );
    assert_eq!(service.get("/v1/blocks", Caller::User(bob)).await.ids(), [""; 0]);

    service.store.block(ada, bob, false);
    service.settle().await;
    for path in paths(ada, post) {
        assert_eq!(service.get(&path, Caller::User(bob)).await.status, 200, "{path}");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_muted_user_is_left_out_of_what_comes_by_itself_until_the_mute_is_over() {
    let mut service = Service::start().await;
    let [ada, bob, eve] = service.people(["ada", "bob", "eve"]);
    service.store.follow(bob, ada);
    service.store.follow(bob, eve);
    let post = service.store.post(ada, "by ada");
    service.store.repost(eve, post);
    service.store.post(eve, "by eve");
    service.store.mute(bob, ada, true, true);
    service.settle().await;

    let lists = ["/v1/timelines/home", "/v1/timelines/public"];
    for path in lists {
        assert_eq!(service.texts(path, Caller::User(bob)).await, ["by eve"], "{path}");
    }
    assert_eq!(
        service
            .texts(&format!("/v1/users/{ada}/posts"), Caller::User(bob))
            .await,
        ["by ada"]
    );
    assert_eq!(
        service
            .get(&format!("/v1/posts/{post}/thread"), Caller::User(bob))
            .await
            .status,
        200
    );
    assert_eq!(
        service.get("/v1/mutes", Caller::User(bob)).await.ids(),
        [ada.to_string()]
    );
    let relationship = service.relationship(bob, ada).await;
    assert_eq!(relationship["muting"], true);
    assert!(relationship["muted_until"].is_string());
    // Nobody else notices.
    assert_eq!(service.relationship(ada, bob).await["muting"], false);
    assert_eq!(service.texts("/v1/timelines/public", Caller::User(eve)).await.len(), 2);

    service.pass(Duration::from_secs(601)).await;
    for path in lists {
        assert!(service.texts(path, Caller::User(bob)).await.len() > 1, "{path}");
    }
    assert_eq!(service.get("/v1/mutes", Caller::User(bob)).await.ids(), [""; 0]);
    assert_eq!(service.relationship(bob, ada).await["muting"], false);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_an_account_is_protected_only_followers_see_its_posts() {
    let mut service = Service::start().await;
    let [ada, bob, eve] = service.people(["ada", "bob", "eve"]);
    service.store.follow(bob, ada);
    service.store.follow(bob, eve);
    let post = service.store.post(ada, "by ada");
    let repost = service.store.repost(eve, post);
    let own = service.store.post(eve, "by eve");
    let of_ada = service.store.repost(ada, own);
    service.store.protect(ada, true);
    service.settle().await;

    let reached = [
        format!("/v1/posts/{post}"),
        format!("/v1/posts/{post}/thread"),
        format!("/v1/posts/{repost}"),
        format!("/v1/posts/{of_ada}"),
    ];
    for (viewer, seen) in [
        (Caller::Nobody, false),
        (Caller::User(eve), false),
        (Caller::User(bob), true),
        (Caller::User(ada), true),
    ] {
        for path in &reached {
            let status = if seen { 200 } else { 404 };
            assert_eq!(service.get(path, viewer).await.status, status, "{path} {viewer:?}");
        }
        let public = service.texts("/v1/timelines/public", viewer).await;
        assert_eq!(public, ["by eve"], "{viewer:?}");
        let posts = service.texts(&format!("/v1/users/{ada}/posts"), viewer).await;
        assert_eq!(posts.len(), if seen { 2 } else { 0 }, "{viewer:?}");
    }
    assert_eq!(
        service.get(&format!("/v1/users/{ada}"), Caller::Nobody).await.body["protected"],
        true
    );
    service.store.protect(ada, false);
    service.settle().await;
    for path in &reached {
        assert_eq!(service.get(path, Caller::Nobody).await.status, 200, "{path}");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_waits_in_both_lists_and_counts_as_no_follow() {
    let mut service = Service::start().await;
    let [ada, bob, eve] = service.people(["ada", "bob", "eve"]);
    service.store.request(bob, ada, true);
    service.store.request(eve, ada, true);
    service.store.write(ada, "closed", None, Visibility::Followers);
    service.settle().await;

    let received = service.get("/v1/follow-requests", Caller::User(ada)).await;
    assert_eq!(received.ids(), [eve, bob].map(|it| it.to_string()));
    assert_eq!(
        service.get("/v1/follow-requests/sent", Caller::User(bob)).await.ids(),
        [ada.to_string()]
    );
    assert_eq!(
        service.get("/v1/follow-requests", Caller::User(bob)).await.ids(),
        [""; 0]
    );
    let relationship = service.relationship(bob, ada).await;
    assert_eq!(
        (&relationship["requested"], &relationship["following"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(service.relationship(ada, bob).await["requested_by"], true);
    let profile = service.get(&format!("/v1/users/{ada}"), Caller::Nobody).await.body;
    assert_eq!(profile["counts"]["followers"], 0);
    assert_eq!(service.texts("/v1/timelines/home", Caller::User(bob)).await, [""; 0]);

    service.store.request(bob, ada, false);
    service.store.follow(eve, ada);
    service.settle().await;
    assert_eq!(
        service.get("/v1/follow-requests", Caller::User(ada)).await.ids(),
        [""; 0]
    );
    assert_eq!(service.texts("/v1/timelines/home", Caller::User(eve)).await, ["closed"]);
    service.stop().await;
}

/// Whoever blocks and mutes few is asked for all of that at once, and whoever does so more often, user by user.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocks_and_mutes_hold_however_many_there_are() {
    let mut service = Service::start().await;
    let [ada, bob, eve] = service.people(["ada", "bob", "eve"]);
    let [by_bob, by_eve] = [bob, eve].map(|author| service.store.post(author, "a post"));
    let others: Vec<UserId> = (0..201).map(|n| service.store.register(&format!("other{n}"))).collect();
    let seen = async |service: &mut Service| {
        service.settle().await;
        service.get("/v1/timelines/public", Caller::User(ada)).await.ids()
    };
    let both = [by_eve, by_bob].map(|post| post.to_string());
    assert_eq!(seen(&mut service).await, both);
    for &other in &others {
        service.store.mute(ada, other, true, false);
    }
    assert_eq!(seen(&mut service).await, both);
    service.store.block(bob, ada, true);
    service.store.mute(ada, eve, true, false);
    assert_eq!(seen(&mut service).await, [""; 0]);
    for &other in &others[..2] {
        service.store.mute(ada, other, false, false);
    }
    assert_eq!(seen(&mut service).await, [""; 0], "all of them are few again");
    service.store.block(bob, ada, false);
    service.store.mute(ada, eve, false, false);
    assert_eq!(seen(&mut service).await, both);
    service.stop().await;
}
