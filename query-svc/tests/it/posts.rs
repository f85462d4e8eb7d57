//! `/v1/posts`.

use insta::assert_json_snapshot;
use model::ids::PostId;
use model::values::Visibility;

use crate::service::{Answer, Caller, Service, named, texts};

fn ids_of(posts: &serde_json::Value) -> Vec<String> {
    posts
        .as_array()
        .unwrap()
        .iter()
        .map(|post| post["id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_post_comes_with_author_entities_counts_and_flags() {
    let mut service = Service::start().await;
    let (ada, bob) = (service.store.register("ada"), service.store.register("bob"));
    let post = service
        .store
        .post(ada, "héllo #wörld, @bob: \"see\" https://example.org\n👩‍👩‍👧");
    service.store.like(bob, post, true);
    service.store.write(bob, "a reply", Some(post), Visibility::Public);
    let repost = service.store.repost(bob, post);
    service.settle().await;
    let names = [("ada", ada), ("bob", bob)].map(|(name, id)| (name, id.to_string()));
    let names = [
        names.as_slice(),
        &[("post", post.to_string()), ("repost", repost.to_string())],
    ]
    .concat();

    let answer = service.get(&format!("/v1/posts/{post}"), Caller::Nobody).await;
    assert_json_snapshot!("post", named(&answer.body, &names));
    assert_eq!(answer.header("etag"), Some("\"1\""));
    let answer = service.get(&format!("/v1/posts/{repost}"), Caller::User(bob)).await;
    assert_json_snapshot!("repost", named(&answer.body, &names));

    service.store.like(bob, post, false);
    service.store.unrepost(bob, post);
    service.store.edit(post, "better");
    service.settle().await;
    let answer = service.get(&format!("/v1/posts/{post}"), Caller::User(bob)).await;
    assert_json_snapshot!("edited_post", named(&answer.body, &names));
    assert_eq!(answer.header("etag"), Some("\"2\""));
    assert_eq!(
        service
            .get(&format!("/v1/posts/{repost}"), Caller::User(bob))
            .await
            .status,
        404
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn posts_for_followers_are_nowhere_for_others() {
    let mut service = Service::start().await;
    let [ada, bob, eve] = ["ada", "bob", "eve"].map(|handle| service.store.register(handle));
    service.store.follow(bob, ada);
    service.store.follow(eve, bob);
    let open = service.store.post(ada, "open");
    let closed = service.store.write(ada, "closed", Some(open), Visibility::Followers);
    let answer = service.store.write(bob, "an answer", Some(closed), Visibility::Public);
    service.store.like(bob, closed, true);
    service.settle().await;

    for path in ["", "/thread", "/likes", "/reposts", "/history"] {
        for stranger in [Caller::Nobody, Caller::User(eve)] {
            let seen = service.get(&format!("/v1/posts/{closed}{path}"), stranger).await;
            assert_eq!(seen.status, 404, "{path} {stranger:?}: {}", seen.body);
            let never = service
                .get(&format!("/v1/posts/{}{path}", PostId::from_bytes([7; 16])), stranger)
                .await;
            assert_eq!(never.body, seen.body, "what is hidden is answered as what never was");
        }
        for friend in [Caller::User(ada), Caller::User(bob)] {
            assert_eq!(
                service.get(&format!("/v1/posts/{closed}{path}"), friend).await.status,
                200,
                "{path} {friend:?}"
            );
        }
    }
    let replies =
        async |caller| ids_of(&service.get(&format!("/v1/posts/{open}/thread"), caller).await.body["replies"]);
    assert_eq!(replies(Caller::User(eve)).await, Vec::<String>::new());
    assert_eq!(replies(Caller::User(bob)).await, texts([closed]));
    // The ancestors end at one that is hidden.
    let ancestors =
        async |caller| ids_of(&service.get(&format!("/v1/posts/{answer}/thread"), caller).await.body["ancestors"]);
    assert_eq!(ancestors(Caller::User(eve)).await, Vec::<String>::new());
    assert_eq!(ancestors(Caller::User(bob)).await, texts([open, closed]));
    assert_eq!(
        service.walk("/v1/timelines/public", Caller::User(bob), 10).await,
        texts([answer, open])
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thread_has_ancestors_and_pages_of_direct_replies() {
    let mut service = Service::start().await;
    let (ada, bob) = (service.store.register("ada"), service.store.register("bob"));
    let root = service.store.post(ada, "root");
    let mut chain = vec![root];
    for n in 0..60 {
        let parent = *chain.last().unwrap();
        chain.push(service.store.write(
            if n % 2 == 0 { bob } else { ada },
            &format!("{n}"),
            Some(parent),
            Visibility::Public,
        ));
    }
    let post = *chain.last().unwrap();
    let replies: Vec<PostId> = (0..5)
        .map(|n| {
            service
                .store
                .write(bob, &format!("reply {n}"), Some(post), Visibility::Public)
        })
        .collect();
    let below = service.store.write(ada, "below", Some(replies[0]), Visibility::Public);
    service.settle().await;

    let thread = service
        .get(&format!("/v1/posts/{post}/thread?limit=2"), Caller::Nobody)
        .await;
    assert_eq!(thread.body["post"]["id"], post.to_string());
    // The fifty nearest ancestors, in the order of the conversation.
    assert_eq!(ids_of(&thread.body["ancestors"]), texts(chain[10..60].to_vec()));
    assert_eq!(ids_of(&thread.body["replies"]), texts([replies[4], replies[3]]));
    let next = thread.body["next"].as_str().unwrap();
    assert!(
        thread
            .header("link")
            .unwrap()
            .contains(&format!("before={next}>; rel=\"next\""))
    );
    let thread = service
        .get(
            &format!("/v1/posts/{post}/thread?limit=3&before={next}"),
            Caller::Nobody,
        )
        .await;
    assert_eq!(
        ids_of(&thread.body["replies"]),
        texts([replies[2], replies[1], replies[0]])
    );
    assert!(thread.body["next"].is_null());

    let thread = service
        .get(&format!("/v1/posts/{}/thread", replies[0]), Caller::Nobody)
        .await;
    assert_eq!(ids_of(&thread.body["replies"]), texts([below]));

    // A deleted post hides all posts before it. The thread of a repost is that of its original.
    let repost = service.store.repost(ada, post);
    service.store.delete_post(chain[58]);
    service.settle().await;
    let thread = service.get(&format!("/v1/posts/{repost}/thread"), Caller::Nobody).await;
    assert_eq!(thread.body["post"]["id"], post.to_string());
    assert_eq!(ids_of(&thread.body["ancestors"]), texts([chain[59]]));
    let small = service
        .get(&format!("/v1/posts/{}/thread", chain[1]), Caller::User(ada))
        .await;
    assert_json_snapshot!(
        "thread",
        named(&small.body, &[("ada", ada.to_string()), ("bob", bob.to_string())])
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn likes_and_reposts_list_users_newest_first() {
    let mut service = Service::start().await;
    let ada = service.store.register("ada");
    let post = service.store.post(ada, "popular");
    let fans: Vec<_> = (0..5).map(|n| service.store.register(&format!("fan{n}"))).collect();
    for &fan in &fans {
        service.store.like(fan, post, true);
        service.store.repost(fan, post);
    }
    service.store.like(fans[2], post, false);
    service.store.unrepost(fans[1], post);
    let own = service.store.repost(ada, post);
    service.settle().await;

    let likes = texts([4, 3, 1, 0].map(|n| fans[n]));
    let reposts = texts([ada].into_iter().chain([4, 3, 2, 0].map(|n| fans[n])));
    // For a repost, the result is that of its original.
    for id in [post, own] {
        for limit in [1, 3, 50] {
            assert_eq!(
                service
                    .walk(&format!("/v1/posts/{id}/likes"), Caller::Nobody, limit)
                    .await,
                likes
            );
            assert_eq!(
                service
                    .walk(&format!("/v1/posts/{id}/reposts"), Caller::Nobody, limit)
                    .await,
                reposts
            );
        }
    }
    let counts = service
        .get(&format!("/v1/posts/{own}"), Caller::User(fans[3]))
        .await
        .body;
    assert_eq!(
        (counts["counts"]["likes"].as_u64(), counts["counts"]["reposts"].as_u64()),
        (Some(4), Some(5))
    );
    assert_eq!(
        (
            counts["viewer"]["liked"].as_bool(),
            counts["viewer"]["reposted"].as_bool()
        ),
        (Some(true), Some(true))
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_has_every_text_and_none_of_a_deleted_post() {
    let mut service = Service::start().await;
    let ada = service.store.register("ada");
    let post = service.store.post(ada, "first");
    service.store.edit(post, "second");
    service.store.edit(post, "third #tag");
    service.settle().await;

    let history = service.get(&format!("/v1/posts/{post}/history"), Caller::Nobody).await;
    assert_json_snapshot!("history", named(&history.body, &[]));
    let page = service
        .get(&format!("/v1/posts/{post}/history?limit=2"), Caller::Nobody)
        .await;
    let versions = |body: &serde_json::Value| -> Vec<i64> {
        body["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["version"].as_i64().unwrap())
            .collect()
    };
    assert_eq!(versions(&page.body), [3, 2]);
    let next = page.body["next"].as_str().unwrap();
    let page = service
        .get(
            &format!("/v1/posts/{post}/history?limit=2&before={next}"),
            Caller::Nobody,
        )
        .await;
    assert_eq!((versions(&page.body), page.body["next"].is_null()), (vec![1], true));
    let prev = page.body["prev"].as_str().unwrap();
    let page = service
        .get(
            &format!("/v1/posts/{post}/history?limit=1&after={prev}"),
            Caller::Nobody,
        )
        .await;
    assert_eq!(versions(&page.body), [2]);

    service.store.delete_post(post);
    service.settle().await;
    assert_eq!(
        service
            .get(&format!("/v1/posts/{post}/history"), Caller::User(ada))
            .await
            .status,
        404
    );
    service.stop().await;
}

/// Replies that most readers may not see make their pages short. For strangers, they change nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_for_followers_keep_nobody_from_the_others() {
    let mut service = Service::start().await;
    let [ada, bob, eve] = ["ada", "bob", "eve"].map(|handle| service.store.register(handle));
    service.store.follow(bob, eve);
    let post = service.store.post(ada, "question");
    let open = service.store.write(ada, "answer", Some(post), Visibility::Public);
    let closed: Vec<PostId> = (0..700)
        .map(|n| {
            service
                .store
                .write(eve, &format!("flood {n}"), Some(post), Visibility::Followers)
        })
        .collect();
    service.settle().await;
    let path = format!("/v1/posts/{post}/thread?limit=20");
    let replies = |answer: &Answer| ids_of(&answer.body["replies"]);
    // A separate index contains what strangers see.
    let page = service.get(&path, Caller::Nobody).await;
    assert_eq!(
        (replies(&page), &page.body["next"]),
        (texts([open]), &serde_json::Value::Null)
    );
    let page = service.get(&format!("/v1/users/{eve}/posts"), Caller::User(ada)).await;
    assert_eq!(
        (page.ids(), &page.body["next"]),
        (texts::<PostId>([]), &serde_json::Value::Null)
    );
    // For a reader who might see some of the replies, a page reads a limited number of them. The next page continues from there.
    let page = service.get(&path, Caller::User(ada)).await;
    assert_eq!(replies(&page), texts::<PostId>([]));
    let next = page.body["next"].as_str().unwrap();
    let page = service.get(&format!("{path}&before={next}"), Caller::User(ada)).await;
    assert_eq!(
        (replies(&page), &page.body["next"]),
        (texts([open]), &serde_json::Value::Null)
    );
    // A follower of their author gets them at once.
    let page = service.get(&path, Caller::User(bob)).await;
    assert_eq!(replies(&page), texts(closed.iter().rev().take(20)));
    service.stop().await;
}
