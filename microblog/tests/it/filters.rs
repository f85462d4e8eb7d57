//! Filters: what their owner reads, at once with the token of the command.

use model::api::{Filter, Filtered, Post};
use model::ids::PostId;
use model::values::FilterAction;
use mongodb::bson::{Document, doc};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::home::e2e;
use crate::stack::{Person, Stack, eventually};

impl Stack {
    async fn filter(&self, owner: &Person, body: Value) -> Filter {
        self.command(Method::POST, "/v1/filters", Some(owner), Some(body)).await
    }

    async fn change_filter(&self, owner: &Person, filter: &Filter, changes: Value) -> Filter {
        self.command(
            Method::PATCH,
            &format!("/v1/filters/{}", filter.id),
            Some(owner),
            Some(changes),
        )
        .await
    }

    async fn filters(&self, owner: &Person) -> Vec<Filter> {
        let (status, body) = self.try_read("/v1/filters", Some(owner)).await;
        assert_eq!(status, StatusCode::OK);
        let page: model::api::Page<Filter> = serde_json::from_str(&body).expect("a page");
        page.items
    }

    async fn posts_in(&self, path: &str, viewer: &Person) -> Vec<Post> {
        self.list(path, Some(viewer), 1).await
    }
}

fn ids(posts: &[Post]) -> Vec<PostId> {
    posts.iter().map(|post| post.id).collect()
}

const HOME: &str = "/v1/timelines/home";
const PUBLIC: &str = "/v1/timelines/public";

e2e! {
    async fn a_filter_works_at_once_in_its_contexts_until_it_is_deleted() {
        let stack = Stack::start().await;
        let [ann, bob, eve] = stack.people(["ann", "bob", "eve"]).await;
        stack.follow(&bob, &ann).await;
        let plain = stack.post(&ann, "nothing to fear").await.id;
        let spoiler = stack.post(&ann, "The Straße ends. #film").await.id;
        let warned = json!({ "text": "see below", "warning": "SPOILERS" });
        let warned: Post = stack.command(Method::POST, "/v1/posts", Some(&ann), Some(warned)).await;
        let own = stack.post(&bob, "My strasse").await.id;
        stack.repost(&eve, spoiler).await;
        let all = vec![own, warned.id, spoiler, plain];
        assert_eq!(ids(&stack.posts_in(HOME, &bob).await), all);

        let body = json!({ "phrases": ["STRASSE", "spoilers"], "whole_word": true, "contexts": ["home", "profile"], "action": "hide" });
        let filter = stack.filter(&bob, body).await;
        assert_eq!(ids(&stack.posts_in(HOME, &bob).await), [own, plain]);
        assert_eq!(stack.posts_in(&format!("/v1/users/{}/posts", eve.id), &bob).await, []);
        assert_eq!(ids(&stack.posts_in("/v1/timelines/tags/film", &bob).await), [spoiler]);
        assert_eq!(ids(&stack.posts_in(PUBLIC, &bob).await), all);
        assert_eq!(ids(&stack.posts_in(PUBLIC, &ann).await), all);
        assert_eq!(stack.filters(&bob).await, std::slice::from_ref(&filter));
        stack.assert_verified().await;

        let filter = stack.change_filter(&bob, &filter, json!({ "action": "warn", "contexts": ["public", "tags", "thread"] })).await;
        assert_eq!(ids(&stack.posts_in(HOME, &bob).await), all);
        let marked = |phrase: &str| vec![Filtered { id: filter.id, action: FilterAction::Warn, phrases: vec![phrase.to_owned()] }];
        let public = stack.posts_in(PUBLIC, &bob).await;
        let filtered: Vec<_> = public.iter().map(|post| post.filtered.clone()).collect();
        assert_eq!(filtered, [vec![], marked("spoilers"), marked("STRASSE"), vec![]]);
        assert_eq!(stack.posts_in("/v1/timelines/tags/film", &bob).await[0].filtered, marked("STRASSE"));
        let (_, post) = stack.try_read(&format!("/v1/posts/{spoiler}"), Some(&bob)).await;
        let post: Post = serde_json::from_str(&post).expect("a post");
        assert_eq!(post.filtered, marked("STRASSE"));
        stack.assert_verified().await;

        let filter = stack.change_filter(&bob, &filter, json!({ "action": "hide" })).await;
        assert_eq!(ids(&stack.posts_in(PUBLIC, &bob).await), [own, plain]);
        assert_eq!(stack.posts_in("/v1/timelines/tags/film", &bob).await, []);
        stack.edit(&ann, spoiler, "The Straßen end.").await;
        assert_eq!(ids(&stack.posts_in(PUBLIC, &bob).await), [own, spoiler, plain], "a word goes on");
        stack.assert_verified().await;

        for other in [&ann, &eve] {
            assert_eq!(stack.filters(other).await, []);
            let path = format!("/v1/filters/{}", filter.id);
            assert_eq!(stack.try_read(&path, Some(other)).await.0, StatusCode::NOT_FOUND);
        }
        let path = format!("/v1/filters/{}", filter.id);
        let deleted = stack.send_command(Method::DELETE, &path, Some(&bob), None).await;
        assert_eq!(deleted.status(), StatusCode::NO_CONTENT);
        assert_eq!(ids(&stack.posts_in(PUBLIC, &bob).await), all);
        assert_eq!(stack.filters(&bob).await, []);
        stack.assert_verified().await;
    }
}

e2e! {
    async fn who_deletes_the_account_takes_the_filters_along() {
        let stack = Stack::start_with(&[("sweep.look_every", "100ms")]).await;
        let [ann, bob] = stack.people(["ann", "bob"]).await;
        stack.post(&ann, "stays").await;
        let body = json!({ "phrases": ["a secret wish"], "contexts": ["home"] });
        let filter = stack.filter(&bob, body).await;
        stack.delete_user(&bob).await;
        let events = stack.databases().await.events;
        let stream = model::events::StreamId::filter(bob.id, filter.id);
        eventually("the filter is taken back, and its phrases with it", || async {
            let of_stream = doc! { "stream": stream.as_str(), "data.content": null };
            let redacted = events.collection::<Document>("events").count_documents(of_stream).await;
            (redacted.expect("a count") == 2).then_some(())
        })
        .await;
        stack.assert_verified().await;
    }
}

e2e! {
    async fn verify_sees_what_is_wrong_with_filters() {
        let stack = Stack::start().await;
        let [ann, bob] = stack.people(["ann", "bob"]).await;
        stack.follow(&bob, &ann).await;
        let post = stack.post(&ann, "a spoiler").await.id;
        let body = json!({ "phrases": ["spoiler"], "contexts": ["home"] });
        let filter = stack.filter(&bob, body).await.id;
        stack.assert_verified().await;
        let databases = stack.databases().await;
        let rows = databases.views.collection::<Document>("filters_g1");
        let home = format!("home timeline of @bob ({})", bob.id);
        let listed = format!("filters of @bob ({}): expected [{filter:?}], served [{filter:?}], or others with these ids", bob.id);
        for (wrong, expected) in [
            (doc! { "content.phrases": ["harmless"] }, [listed.clone(), format!("{home}: wrong filtered of {post}")]),
            (doc! { "content.action": "hide" }, [listed, format!("{home}: missing: post {post} by @ann ({})", ann.id)]),
        ] {
            let right = rows.find_one_and_update(doc! { "filter": filter }, doc! { "$set": wrong }).await.unwrap();
            let right = right.expect("the row is there");
            let reports = stack.verify().await;
            let found: Vec<String> = reports[0].differences.iter().map(ToString::to_string).collect();
            for words in expected {
                assert!(found.iter().any(|one| one.contains(&words)), "{words:?} is not in {found:#?}");
            }
            rows.replace_one(doc! { "filter": filter }, right).await.unwrap();
        }
        stack.assert_verified().await;
        databases.close().await;
    }
}
