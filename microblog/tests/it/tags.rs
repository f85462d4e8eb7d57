//! Tags: whoever follows one finds its posts at home, and nobody else sees that.

use event_log::event_store::EventStore;
use model::api::{Post, Tag};
use model::clock::SystemClock;
use model::events::{Event, StreamId};
use model::ids::PostId;
use model::tags::TagKey;
use mongodb::bson::{Document, doc};
use reqwest::Method;
use serde_json::json;

use crate::home::e2e;
use crate::stack::{Person, Stack, eventually};

impl Stack {
    async fn follow_tag(&self, method: Method, user: &Person, tag: &str) -> Tag {
        self.command(method, &format!("/v1/tags/{tag}/follow"), Some(user), None)
            .await
    }

    async fn tagged(&self, tag: &str, viewer: Option<&Person>) -> Vec<PostId> {
        let posts: Vec<Post> = self.list(&format!("/v1/timelines/tags/{tag}"), viewer, 2).await;
        posts.iter().map(|post| post.id).collect()
    }
}

e2e! {
    async fn a_tag_brings_posts_of_strangers_home_while_it_is_followed() {
        let stack = Stack::start().await;
        let [ann, bob, eve] = stack.people(["ann", "bob", "eve"]).await;
        let first = stack.post(&ann, "before the follow #Rust").await.id;
        let followed = stack.follow_tag(Method::PUT, &bob, "RUST").await;
        assert_eq!((followed.name.as_str(), followed.following), ("RUST", Some(true)));
        let second = stack.post(&eve, "after it ＃ｒｕｓｔ").await.id;
        let closed = json!({ "text": "#rust among us", "visibility": "followers" });
        let closed: Post = stack.command(Method::POST, "/v1/posts", Some(&ann), Some(closed)).await;
        stack.repost(&ann, second).await;
        assert_eq!(stack.home_ids(&bob).await, [second, first]);
        assert_eq!(stack.tagged("rust", None).await, [second, first]);

        stack.follow(&bob, &ann).await;
        let home = stack.home_ids(&bob).await;
        assert_eq!((home.len(), &home[1..]), (4, &[closed.id, second, first][..]), "each once, and the repost");
        stack.edit(&eve, second, "about something else").await;
        assert_eq!(stack.tagged("rust", Some(&bob)).await, [first]);
        assert_eq!(stack.home_ids(&bob).await, [home[0], closed.id, first]);
        stack.unfollow(&bob, &ann).await;
        assert_eq!(stack.home_ids(&bob).await, [first]);

        let other_tag = stack.follow_tag(Method::PUT, &bob, "istanbul").await;
        assert_eq!(other_tag.name, "istanbul");
        stack.post(&ann, "#İstanbul").await;
        assert_eq!(stack.home_ids(&bob).await, [first], "it has a dot, and is another tag");
        let followed: Vec<Tag> = stack.list("/v1/tags/followed", Some(&bob), 1).await;
        let names: Vec<&str> = followed.iter().map(|tag| tag.name.as_str()).collect();
        assert_eq!(names, ["istanbul", "RUST"]);
        stack.assert_verified().await;

        stack.follow_tag(Method::DELETE, &bob, "rust").await;
        assert_eq!(stack.home_ids(&bob).await, []);
        stack.delete(&ann, first).await;
        assert_eq!(stack.tagged("rust", None).await, []);
        stack.assert_verified().await;
    }
}

e2e! {
    async fn who_deletes_the_account_takes_the_followed_tags_along() {
        let stack = Stack::start_with(&[("sweep.look_every", "100ms")]).await;
        let [ann, bob] = stack.people(["ann", "bob"]).await;
        stack.post(&ann, "#東京").await;
        stack.follow_tag(Method::PUT, &bob, "東京").await;
        stack.delete_user(&bob).await;
        let events = stack.databases().await.events;
        let store = EventStore::open(events, SystemClock::shared(), Default::default()).await.unwrap();
        let stream = StreamId::tag(bob.id, &TagKey::of("東京"));
        eventually("the follow is taken back", || async {
            let mut session = store.session().await.unwrap();
            let last = store.load(&mut session, &stream).await.unwrap().unwrap();
            matches!(last.event().unwrap(), Event::TagUnfollowed(_)).then_some(())
        })
        .await;
        stack.assert_verified().await;
    }
}

e2e! {
    async fn verify_sees_what_is_wrong_with_tags() {
        // What is in memory hides what is stored from two of the three readings.
        let stack = Stack::start_with(&[("cache.heads_max_mib", "0")]).await;
        let [ann, bob] = stack.people(["ann", "bob"]).await;
        let post = stack.post(&ann, "#Rust").await.id;
        let hidden = json!({ "text": "#hidden", "visibility": "followers" });
        let hidden: Post = stack.command(Method::POST, "/v1/posts", Some(&ann), Some(hidden)).await;
        stack.follow_tag(Method::PUT, &bob, "Rust").await;
        stack.assert_verified().await;
        let databases = stack.databases().await;
        let collection = |name: &str| databases.views.collection::<Document>(name);
        let told = async |expected: &[String]| {
            let reports = stack.verify().await;
            let found: Vec<String> = reports[0].differences.iter().map(ToString::to_string).collect();
            for words in expected {
                assert!(found.iter().any(|one| one.contains(words)), "{words:?} is not in {found:#?}");
            }
        };

        let tagged = collection("tagged_g1");
        let row = tagged.find_one_and_delete(doc! { "tags": "rust" }).await.unwrap().expect("the row is there");
        told(&[
            format!("timeline of #rust, seen by a visitor without an account: missing: post {post}"),
            format!("home timeline of @bob ({}): missing: post {post}", bob.id),
        ])
        .await;
        tagged.insert_one(row).await.unwrap();
        stack.assert_verified().await;

        // Shows a post for followers under its tag.
        let leak = mongodb::bson::Binary {
            subtype: mongodb::bson::spec::BinarySubtype::Generic,
            bytes: [&TagKey::of("hidden").prefix()[..], &hidden.id.as_bytes()[..]].concat(),
        };
        tagged.insert_one(doc! { "_id": leak, "tags": ["hidden"], "author": ann.id }).await.unwrap();
        // The row is a candidate, and nothing more: what is shown is decided by the post.
        stack.assert_verified().await;
        let posts = collection("posts_g1");
        let public = doc! { "$set": { "visibility": "public", "tags": ["hidden"] } };
        posts.update_one(doc! { "_id": hidden.id }, public).await.unwrap();
        told(&[format!("timeline of #hidden, seen by a visitor without an account: unexpected: post {}", hidden.id)]).await;
        let closed = doc! { "$set": { "visibility": "followers" }, "$unset": { "tags": "" } };
        posts.update_one(doc! { "_id": hidden.id }, closed).await.unwrap();

        let follows = collection("followed_tags_g1");
        follows.update_one(doc! { "user": bob.id }, doc! { "$set": { "live": false } }).await.unwrap();
        told(&[
            format!("followed tags of @bob ({}): expected [\"Rust\"], served []", bob.id),
            format!("home timeline of @bob ({}): missing: post {post}", bob.id),
        ])
        .await;
        databases.close().await;
    }
}
