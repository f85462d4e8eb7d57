//! Posts that quote others, and posts that their authors show first.

use model::api::{Page, Post, QuoteState, User};
use model::ids::PostId;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::home::e2e;
use crate::stack::{Person, Stack};

impl Stack {
    async fn quote(&self, author: &Person, quoted: PostId) -> Post {
        let body = json!({ "text": "Look at that.", "quote_of": quoted });
        self.command(Method::POST, "/v1/posts", Some(author), Some(body)).await
    }

    /// The text that is shown as a quote, or why none is.
    async fn quoted_in(&self, post: PostId, viewer: Option<&Person>) -> Result<String, QuoteState> {
        let post: Post = self.read(&format!("/v1/posts/{post}"), viewer).await;
        let quote = post.quote.expect("the post quotes another one");
        quote.post.map(|quoted| quoted.text).ok_or(quote.state)
    }

    async fn quotes_of(&self, post: PostId, viewer: Option<&Person>) -> (Vec<PostId>, u64) {
        let quotes: Vec<Post> = self.list(&format!("/v1/posts/{post}/quotes"), viewer, 1).await;
        let counted: Post = self.read(&format!("/v1/posts/{post}"), viewer).await;
        let count = counted.counts.expect("counts").quotes;
        (quotes.iter().map(|quote| quote.id).collect(), count)
    }

    async fn status(&self, method: Method, path: &str, actor: &Person, body: Option<Value>) -> StatusCode {
        self.send_command(method, path, Some(actor), body).await.status()
    }
}

e2e! {
    async fn a_quote_shows_the_post_as_it_is_now_to_those_who_may_see_it() {
        let stack = Stack::start().await;
        let [ann, bob, eve] = stack.people(["ann", "bob", "eve"]).await;
        stack.follow(&eve, &ann).await;
        let post = stack.post(&ann, "first thoughts").await.id;
        let (one, other) = (stack.quote(&bob, post).await.id, stack.quote(&eve, post).await.id);
        assert_eq!(stack.quotes_of(post, None).await, (vec![other, one], 2));
        assert_eq!(stack.quoted_in(one, None).await, Ok("first thoughts".to_owned()));
        stack.edit(&ann, post, "second thoughts").await;
        assert_eq!(stack.quoted_in(one, None).await, Ok("second thoughts".to_owned()));

        let protect = json!({ "protected": true });
        let _: User = stack.command(Method::PATCH, "/v1/users/me", Some(&ann), Some(protect)).await;
        assert_eq!(stack.quoted_in(one, Some(&bob)).await, Err(QuoteState::Unavailable));
        assert_eq!(stack.quoted_in(one, Some(&eve)).await, Ok("second thoughts".to_owned()));
        let body = json!({ "text": "Can I?", "quote_of": post });
        assert_eq!(stack.status(Method::POST, "/v1/posts", &eve, Some(body.clone())).await, StatusCode::FORBIDDEN);
        assert_eq!(stack.status(Method::POST, "/v1/posts", &bob, Some(body)).await, StatusCode::NOT_FOUND);
        stack.assert_verified().await;

        let open = json!({ "protected": false });
        let _: User = stack.command(Method::PATCH, "/v1/users/me", Some(&ann), Some(open)).await;
        assert_eq!(stack.quoted_in(one, Some(&bob)).await, Ok("second thoughts".to_owned()));
        stack.delete(&ann, post).await;
        assert_eq!(stack.quoted_in(one, Some(&ann)).await, Err(QuoteState::Unavailable));
        stack.assert_verified().await;
    }
}

e2e! {
    async fn who_is_quoted_can_detach_the_quote_for_good() {
        let stack = Stack::start().await;
        let [ann, bob, eve] = stack.people(["ann", "bob", "eve"]).await;
        let post = stack.post(&ann, "taken out of context").await.id;
        let quote = stack.quote(&bob, post).await.id;
        let path = format!("/v1/posts/{post}/quotes/{quote}");
        for other in [&bob, &eve] {
            assert_eq!(stack.status(Method::DELETE, &path, other, None).await, StatusCode::NOT_FOUND);
        }
        for _ in 0..2 {
            let detached: Value = stack.command(Method::DELETE, &path, Some(&ann), None).await;
            assert_eq!(detached, json!({ "detached": true }));
        }
        assert_eq!(stack.quotes_of(post, None).await, (vec![], 0));
        assert_eq!(stack.quoted_in(quote, Some(&bob)).await, Err(QuoteState::Detached));
        stack.edit(&bob, quote, "It was there.").await;
        assert_eq!(stack.quoted_in(quote, Some(&bob)).await, Err(QuoteState::Detached));
        let history: Vec<Value> = stack.list(&format!("/v1/posts/{quote}/history"), None, 10).await;
        assert_eq!(history.len(), 2, "taking the quote out is no new text");
        stack.assert_verified().await;
    }
}

e2e! {
    async fn pinned_posts_come_first_and_only_there() {
        let stack = Stack::start().await;
        let [ann, bob] = stack.people(["ann", "bob"]).await;
        let mut posts = Vec::new();
        for number in 1..=7 {
            posts.push(stack.post(&ann, &format!("number {number}")).await.id);
        }
        let path = |post: &PostId| format!("/v1/posts/{post}/pin");
        for post in [&posts[1], &posts[0], &posts[1]] {
            let pinned: Value = stack.command(Method::PUT, &path(post), Some(&ann), None).await;
            assert_eq!(pinned, json!({ "pinned": true }));
        }
        let of_ann = format!("/v1/users/{}/posts", ann.id);
        let first: Page<Post> = stack.read(&format!("{of_ann}?limit=2"), Some(&bob)).await;
        let next = first.next.expect("there are more posts");
        let second: Page<Post> = stack.read(&format!("{of_ann}?limit=10&before={next}"), Some(&bob)).await;
        let served = [first.items, second.items].concat();
        let (ids, pinned): (Vec<PostId>, Vec<bool>) = served.iter().map(|post| (post.id, post.pinned)).unzip();
        assert_eq!(ids, [0, 1, 6, 5, 4, 3, 2].map(|index| posts[index]));
        assert_eq!(pinned, [true, true, false, false, false, false, false]);
        // Who polls is told of a post that is pinned before the next poll, too.
        let polled: Page<Post> = stack.read(&of_ann, Some(&bob)).await;
        let prev = polled.prev.expect("a page can be polled");
        let news = stack.post(&ann, "news").await.id;
        let _: Value = stack.command(Method::PUT, &path(&news), Some(&ann), None).await;
        let polled: Page<Post> = stack.read(&format!("{of_ann}?after={prev}"), Some(&bob)).await;
        // The poll may repeat older posts: `prev` is not above what the slowest partition had handled.
        assert_eq!(polled.items.first().map(|post| post.id), Some(news));
        stack.delete(&ann, news).await;
        assert_eq!(stack.status(Method::PUT, &path(&posts[2]), &bob, None).await, StatusCode::FORBIDDEN);

        for post in &posts[2..5] {
            let _: Value = stack.command(Method::PUT, &path(post), Some(&ann), None).await;
        }
        let refused = stack.status(Method::PUT, &path(&posts[5]), &ann, None).await;
        assert_eq!(refused, StatusCode::UNPROCESSABLE_ENTITY);
        stack.delete(&ann, posts[0]).await;
        let _: Value = stack.command(Method::PUT, &path(&posts[5]), Some(&ann), None).await;
        for _ in 0..2 {
            let unpinned: Value = stack.command(Method::DELETE, &path(&posts[1]), Some(&ann), None).await;
            assert_eq!(unpinned, json!({ "pinned": false }));
        }
        let served: Vec<Post> = stack.list(&of_ann, None, 10).await;
        let ids: Vec<PostId> = served.iter().map(|post| post.id).collect();
        assert_eq!(ids, [5, 4, 3, 2, 6, 1].map(|index| posts[index]));
        stack.assert_verified().await;
    }
}
