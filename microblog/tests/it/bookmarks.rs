//! Bookmarks, and that other users never see them.

use event_log::event_store::EventStore;
use model::api::Post;
use model::clock::SystemClock;
use model::events::{Event, StreamId};
use model::ids::PostId;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::home::e2e;
use crate::stack::{Person, Stack, eventually};

impl Stack {
    async fn bookmark(&self, method: Method, user: &Person, post: PostId) -> Value {
        self.command(method, &format!("/v1/posts/{post}/bookmark"), Some(user), None)
            .await
    }

    /// Reads the bookmarks page by page, with one post on each.
    async fn bookmarks(&self, user: &Person) -> Vec<PostId> {
        let posts: Vec<Post> = self.list("/v1/bookmarks", Some(user), 1).await;
        posts.iter().map(|post| post.id).collect()
    }
}

e2e! {
    async fn bookmarks_are_listed_in_the_order_in_which_they_were_made() {
        let stack = Stack::start().await;
        let [ann, bob] = stack.people(["ann", "bob"]).await;
        let (first, second) = (stack.post(&ann, "first").await.id, stack.post(&ann, "second").await.id);
        for post in [second, first, second] {
            assert_eq!(stack.bookmark(Method::PUT, &bob, post).await, json!({ "bookmarked": true }));
        }
        assert_eq!(stack.bookmarks(&bob).await, [first, second], "bookmarking again changes nothing");
        for _ in 0..2 {
            assert_eq!(stack.bookmark(Method::DELETE, &bob, second).await, json!({ "bookmarked": false }));
        }
        assert_eq!(stack.bookmarks(&bob).await, [first]);
        stack.bookmark(Method::PUT, &bob, second).await;
        assert_eq!(stack.bookmarks(&bob).await, [second, first]);
        stack.delete(&ann, first).await;
        assert_eq!(stack.bookmarks(&bob).await, [second]);
        stack.assert_verified().await;
    }
}

e2e! {
    async fn a_bookmark_of_a_repost_keeps_the_original() {
        let stack = Stack::start().await;
        let [ann, bob, eve] = stack.people(["ann", "bob", "eve"]).await;
        let post = stack.post(&ann, "worth keeping").await.id;
        stack.repost(&eve, post).await;
        let reposts: Vec<Post> = stack.list(&format!("/v1/users/{}/posts", eve.id), None, 10).await;
        stack.bookmark(Method::PUT, &bob, reposts[0].id).await;
        assert_eq!(stack.bookmarks(&bob).await, [post]);
        stack.assert_verified().await;
    }
}

e2e! {
    async fn nobody_else_sees_a_bookmark_and_a_bookmark_shows_nothing_that_is_hidden() {
        let stack = Stack::start().await;
        let [ann, bob, eve] = stack.people(["ann", "bob", "eve"]).await;
        stack.follow(&bob, &ann).await;
        let body = json!({ "text": "among us", "visibility": "followers" });
        let post: Post = stack.command(Method::POST, "/v1/posts", Some(&ann), Some(body)).await;
        stack.bookmark(Method::PUT, &bob, post.id).await;
        assert_eq!(stack.bookmarks(&bob).await, [post.id]);

        for other in [&ann, &eve] {
            assert_eq!(stack.bookmarks(other).await, []);
        }
        assert_eq!(stack.try_read("/v1/bookmarks", None).await.0, StatusCode::UNAUTHORIZED);
        let unseen = reqwest::Client::new()
            .put(format!("{}/v1/posts/{}/bookmark", stack.command.url, post.id))
            .bearer_auth(&eve.token)
            .send()
            .await
            .unwrap();
        assert_eq!(unseen.status(), StatusCode::NOT_FOUND);
        let (_, public) = stack.try_read(&format!("/v1/posts/{}", post.id), Some(&ann)).await;
        assert!(!public.contains("bookmark"), "{public}");

        stack.unfollow(&bob, &ann).await;
        assert_eq!(stack.bookmarks(&bob).await, []);
        // The bookmark can still be removed.
        stack.bookmark(Method::DELETE, &bob, post.id).await;
        stack.follow(&bob, &ann).await;
        assert_eq!(stack.bookmarks(&bob).await, []);
        stack.assert_verified().await;
    }
}

e2e! {
    async fn who_deletes_the_account_takes_the_bookmarks_along() {
        let stack = Stack::start_with(&[("sweep.look_every", "100ms")]).await;
        let [ann, bob] = stack.people(["ann", "bob"]).await;
        let post = stack.post(&ann, "stays").await.id;
        stack.bookmark(Method::PUT, &bob, post).await;
        stack.delete_user(&bob).await;
        let events = stack.databases().await.events;
        let store = EventStore::open(events, SystemClock::shared(), Default::default()).await.unwrap();
        eventually("the bookmark is taken back", || async {
            let mut session = store.session().await.unwrap();
            let last = store.load(&mut session, &StreamId::bookmark(bob.id, post)).await.unwrap().unwrap();
            matches!(last.event().unwrap(), Event::PostUnbookmarked(_)).then_some(())
        })
        .await;
        stack.assert_verified().await;
    }
}
