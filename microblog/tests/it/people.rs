//! Who may see what of which user.

use model::api::{Page, Post, Relationship, User};
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::home::e2e;
use crate::stack::Stack;

e2e! {
    async fn posts_for_followers_are_for_nobody_else() {
        let stack = Stack::start().await;
        let [ann, bob, eve] = stack.people(["ann", "bob", "eve"]).await;
        stack.follow(&bob, &ann).await;
        let body = json!({ "text": "among us", "visibility": "followers" });
        let post: Post = stack.command(Method::POST, "/v1/posts", Some(&ann), Some(body)).await;
        assert_eq!(stack.home_ids(&bob).await, [post.id]);
        for (viewer, expected) in [
            (Some(&ann), StatusCode::OK),
            (Some(&bob), StatusCode::OK),
            (Some(&eve), StatusCode::NOT_FOUND),
            (None, StatusCode::NOT_FOUND),
        ] {
            for path in ["", "/thread", "/likes", "/reposts", "/history"] {
                let (status, text) = stack.try_read(&format!("/v1/posts/{}{path}", post.id), viewer).await;
                assert_eq!(status, expected, "{path} for {viewer:?}: {text}");
            }
            let listed: Vec<Post> = stack.list(&format!("/v1/users/{}/posts", ann.id), viewer, 100).await;
            assert_eq!(listed.len(), usize::from(expected == StatusCode::OK));
        }
        stack.unfollow(&bob, &ann).await;
        assert_eq!(stack.home(&bob).await, []);
        assert_eq!(stack.try_read(&format!("/v1/posts/{}", post.id), Some(&bob)).await.0, StatusCode::NOT_FOUND);
        stack.assert_verified().await;
    }
}

e2e! {
    async fn relationships_and_lists_of_people_follow_at_once() {
        let stack = Stack::start().await;
        let [ann, bob, eve] = stack.people(["ann", "bob", "eve"]).await;
        stack.follow(&bob, &ann).await;
        stack.follow(&eve, &ann).await;
        stack.follow(&ann, &eve).await;
        let path = format!("/v1/relationships?id={}&id={}", bob.id, eve.id);
        let stands: Page<Relationship> = stack.read(&path, Some(&ann)).await;
        assert_eq!(
            stands.items,
            [
                Relationship { followed_by: true, ..Relationship::none(bob.id) },
                Relationship { following: true, followed_by: true, ..Relationship::none(eve.id) },
            ]
        );
        let followers: Vec<User> = stack.list(&format!("/v1/users/{}/followers", ann.id), None, 1).await;
        assert_eq!(followers.iter().map(|user| user.id).collect::<Vec<_>>(), [eve.id, bob.id]);
        let following: Vec<User> = stack.list("/v1/users/@ann/following", None, 1).await;
        assert_eq!(following.iter().map(|user| user.id).collect::<Vec<_>>(), [eve.id]);
        stack.assert_verified().await;
    }
}
