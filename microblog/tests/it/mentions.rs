//! Posts for those whom they mention, unlisted posts, and what posts and profiles say besides their text.

use model::api::{Page, Post, User};
use model::ids::PostId;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::home::e2e;
use crate::stack::{Person, Stack};

impl Stack {
    async fn write(&self, author: &Person, body: Value) -> Post {
        self.command(Method::POST, "/v1/posts", Some(author), Some(body)).await
    }

    /// Whether the viewer sees the post, which is the same on all of its paths.
    async fn sees(&self, viewer: Option<&Person>, post: PostId) -> bool {
        let mut statuses = Vec::new();
        for path in ["", "/thread", "/likes", "/reposts", "/quotes", "/history"] {
            statuses.push(self.try_read(&format!("/v1/posts/{post}{path}"), viewer).await.0);
        }
        assert!(statuses.iter().all(|status| *status == statuses[0]), "{statuses:?}");
        assert!(
            [StatusCode::OK, StatusCode::NOT_FOUND].contains(&statuses[0]),
            "{statuses:?}"
        );
        statuses[0] == StatusCode::OK
    }

    /// What the viewer sees of an author's posts, read with one on each page.
    async fn posts_by(&self, author: &Person, viewer: Option<&Person>) -> Vec<PostId> {
        let posts: Vec<Post> = self.list(&format!("/v1/users/{}/posts", author.id), viewer, 1).await;
        posts.iter().map(|post| post.id).collect()
    }
}

e2e! {
    async fn who_is_edited_in_sees_the_post_and_who_is_edited_out_does_not() {
        let stack = Stack::start().await;
        let [ann, bob, cat] = stack.people(["ann", "bob", "cat"]).await;
        stack.follow(&bob, &ann).await;
        let open = stack.post(&ann, "for all").await.id;
        let body = json!({ "text": "Between us, @bob and @nobody", "visibility": "mentioned" });
        let secret = stack.write(&ann, body).await;
        let mentions: Vec<_> = secret.entities.mentions.iter().map(|mention| mention.user).collect();
        assert_eq!(mentions, [Some(bob.id), None]);
        let secret = secret.id;
        let body = json!({ "text": "Dear followers", "visibility": "followers" });
        let closed = stack.write(&ann, body).await.id;

        for (viewer, seen) in [(Some(&ann), true), (Some(&bob), true), (Some(&cat), false), (None, false)] {
            assert_eq!(stack.sees(viewer, secret).await, seen, "{viewer:?}");
        }
        assert_eq!(stack.home_ids(&bob).await, [closed, secret, open]);
        assert_eq!(stack.posts_by(&ann, Some(&bob)).await, [closed, secret, open]);
        assert_eq!(stack.posts_by(&ann, Some(&cat)).await, [open]);
        stack.assert_verified().await;

        stack.edit(&ann, secret, "Between us, @cat").await;
        stack.edit(&ann, closed, "Dear followers and @cat").await;
        for (viewer, seen) in [(Some(&ann), true), (Some(&bob), false), (Some(&cat), true), (None, false)] {
            assert_eq!(stack.sees(viewer, secret).await, seen, "{viewer:?}");
        }
        assert_eq!(stack.home_ids(&bob).await, [closed, open]);
        assert_eq!(stack.posts_by(&ann, Some(&bob)).await, [closed, open]);
        // Cat does not follow Ann: the posts are on Ann's page, and not at home.
        assert_eq!(stack.home_ids(&cat).await, []);
        assert_eq!(stack.posts_by(&ann, Some(&cat)).await, [closed, secret, open]);
        assert_eq!(stack.posts_by(&ann, None).await, [open]);
        stack.assert_verified().await;

        stack.follow(&cat, &ann).await;
        assert_eq!(stack.home_ids(&cat).await, [closed, secret, open]);
        stack.edit(&ann, secret, "Between nobody").await;
        stack.edit(&ann, closed, "Dear followers").await;
        stack.unfollow(&cat, &ann).await;
        assert_eq!(stack.posts_by(&ann, Some(&cat)).await, [open]);
        assert_eq!(stack.home_ids(&ann).await, [closed, secret, open]);
        stack.assert_verified().await;
    }
}

e2e! {
    async fn a_reply_for_one_is_in_the_thread_for_that_one() {
        let stack = Stack::start().await;
        let [ann, bob, cat] = stack.people(["ann", "bob", "cat"]).await;
        let post = stack.post(&ann, "Who knows?").await.id;
        let body = json!({ "text": "I do, @ann", "visibility": "mentioned", "in_reply_to": post });
        let answer = stack.write(&bob, body).await.id;
        let body = json!({ "text": "Psst", "visibility": "unlisted", "in_reply_to": post });
        let unlisted = stack.write(&cat, body).await.id;
        for (viewer, expected) in [
            (Some(&ann), &[unlisted, answer][..]),
            (Some(&bob), &[unlisted, answer]),
            (Some(&cat), &[unlisted]),
            (None, &[unlisted]),
        ] {
            let thread: Value = stack.read(&format!("/v1/posts/{post}/thread"), viewer).await;
            let replies: Vec<Post> = serde_json::from_value(thread["replies"].clone()).unwrap();
            assert_eq!(replies.iter().map(|post| post.id).collect::<Vec<_>>(), expected, "{viewer:?}");
            // The count is the same for everybody.
            assert_eq!(thread["post"]["counts"]["replies"], 2);
        }
        stack.assert_verified().await;
    }
}

e2e! {
    async fn an_unlisted_post_is_everywhere_but_in_the_public_timeline() {
        let stack = Stack::start().await;
        let [ann, bob, cat] = stack.people(["ann", "bob", "cat"]).await;
        stack.follow(&bob, &ann).await;
        stack.follow(&cat, &bob).await;
        let post = stack.write(&ann, json!({ "text": "Psst", "visibility": "unlisted" })).await.id;
        let public = stack.post(&ann, "Hear, hear").await.id;
        assert!(stack.sees(None, post).await);
        assert_eq!(stack.posts_by(&ann, None).await, [public, post]);
        assert_eq!(stack.home_ids(&bob).await, [public, post]);
        for viewer in [None, Some(&ann), Some(&bob)] {
            let page: Page<Post> = stack.read("/v1/timelines/public", viewer).await;
            assert_eq!(page.items.iter().map(|post| post.id).collect::<Vec<_>>(), [public]);
        }
        stack.repost(&bob, post).await;
        let home = stack.home(&cat).await;
        assert_eq!(home[0].repost_of.as_ref().map(|original| original.id), Some(post));
        stack.assert_verified().await;
    }
}

e2e! {
    async fn a_warning_and_a_language_belong_to_each_version_and_fields_to_the_profile() {
        let stack = Stack::start().await;
        let ann = stack.person("ann").await;
        let fields = json!([{ "name": "Web", "value": "https://example.org" }, { "name": "Web", "value": "another" }]);
        let change = json!({ "fields": fields });
        let changed: User = stack.command(Method::PATCH, "/v1/users/me", Some(&ann), Some(change)).await;
        assert_eq!(json!(changed.fields), fields);
        let user: Value = stack.read("/v1/users/@ann", None).await;
        assert_eq!((&user["fields"], &user["avatar"]), (&fields, &Value::Null));

        let body = json!({ "text": "The butler", "warning": "Spoilers", "language": "EN" });
        let post = stack.write(&ann, body).await;
        let path = format!("/v1/posts/{}", post.id);
        let change = json!({ "warning": null, "text": "Der Gärtner", "language": "de" });
        let edited: Post = stack.command(Method::PATCH, &path, Some(&ann), Some(change)).await;
        assert_eq!((edited.warning.as_deref(), edited.language.as_deref()), (None, Some("de")));
        let shown: Value = stack.read(&path, None).await;
        assert_eq!((&shown["warning"], &shown["language"]), (&Value::Null, &json!("de")));
        assert_eq!(shown["attachments"], json!([]));
        assert_eq!(shown["author"].get("fields"), None, "they are on the profile alone");
        let history: Page<Value> = stack.read(&format!("{path}/history"), None).await;
        let said = |version: &Value| [&version["text"], &version["warning"], &version["language"]].map(Value::clone);
        assert_eq!(
            history.items.iter().map(said).collect::<Vec<_>>(),
            [
                [json!("Der Gärtner"), Value::Null, json!("de")],
                [json!("The butler"), json!("Spoilers"), json!("en")],
            ]
        );
        stack.assert_verified().await;
    }
}
