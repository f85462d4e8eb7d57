//! Lists: what people read together, and what they keep out of their home timeline by that.

use event_log::event_store::EventStore;
use model::api::{List, ListMember, ListTag, Post, User};
use model::clock::SystemClock;
use model::events::{Event, StreamId};
use model::ids::{ListId, PostId};
use mongodb::bson::{Document, doc};
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::home::e2e;
use crate::stack::{Person, Stack, eventually};

impl Stack {
    async fn new_list(&self, owner: &Person, title: &str, exclusive: bool) -> ListId {
        let body = json!({ "title": title, "exclusive": exclusive });
        let list: List = self.command(Method::POST, "/v1/lists", Some(owner), Some(body)).await;
        assert_eq!((list.title.as_str(), list.exclusive), (title, exclusive));
        list.id
    }

    async fn set_member(&self, method: Method, owner: &Person, list: ListId, user: &Person) {
        let path = format!("/v1/lists/{list}/members/{}", user.id);
        let listed = method == Method::PUT;
        let member: ListMember = self.command(method, &path, Some(owner), None).await;
        assert_eq!(member, ListMember { id: user.id, listed });
    }

    async fn set_tag(&self, method: Method, owner: &Person, list: ListId, tag: &str) -> ListTag {
        let path = format!("/v1/lists/{list}/tags/{tag}");
        self.command(method, &path, Some(owner), None).await
    }

    async fn in_list(&self, owner: &Person, list: ListId) -> Vec<PostId> {
        let path = format!("/v1/timelines/lists/{list}");
        let posts: Vec<Post> = self.list(&path, Some(owner), 2).await;
        posts.iter().map(|post| post.id).collect()
    }

    async fn lists_of(&self, owner: &Person) -> Vec<String> {
        let lists: Vec<List> = self.list("/v1/lists", Some(owner), 1).await;
        lists.into_iter().map(|list| list.title).collect()
    }
}

e2e! {
    async fn a_list_shows_its_members_and_tags_to_its_owner_and_to_nobody_else() {
        let stack = Stack::start().await;
        let [ann, bob, eve, zoe] = stack.people(["ann", "bob", "eve", "zoe"]).await;
        let list = stack.new_list(&ann, "Friends", false).await;
        let other = stack.new_list(&ann, "Others", false).await;
        assert_eq!(stack.lists_of(&ann).await, ["Others", "Friends"]);
        let before = stack.post(&bob, "before he came in").await.id;
        // Ann follows neither.
        for member in [&bob, &eve] {
            stack.set_member(Method::PUT, &ann, list, member).await;
            stack.set_member(Method::PUT, &ann, list, member).await;
        }
        assert_eq!(stack.set_tag(Method::PUT, &ann, list, "Rust").await.name, "Rust");
        let by_eve = stack.post(&eve, "by Eve #rust").await.id;
        let tagged = stack.post(&zoe, "by a stranger ＃ＲＵＳＴ").await.id;
        let plain = stack.post(&zoe, "by a stranger").await.id;
        stack.repost(&bob, plain).await;
        let closed = json!({ "text": "among us #rust", "visibility": "followers" });
        let closed: Post = stack.command(Method::POST, "/v1/posts", Some(&bob), Some(closed)).await;
        let shown = stack.in_list(&ann, list).await;
        assert_eq!((shown.len(), &shown[1..]), (4, &[tagged, by_eve, before][..]), "and the repost");
        stack.follow(&ann, &bob).await;
        assert_eq!(stack.in_list(&ann, list).await, [closed.id, shown[0], tagged, by_eve, before]);
        assert_eq!(stack.in_list(&ann, other).await, []);
        let members: Vec<User> = stack.list(&format!("/v1/lists/{list}/members"), Some(&ann), 1).await;
        assert_eq!(members.iter().map(|user| user.id).collect::<Vec<_>>(), [eve.id, bob.id]);
        stack.assert_verified().await;

        for stranger in [&bob, &zoe] {
            assert_eq!(stack.lists_of(stranger).await, [""; 0]);
            let paths = ["/v1/lists/{}", "/v1/lists/{}/members", "/v1/lists/{}/tags", "/v1/timelines/lists/{}"];
            for path in paths.map(|path| path.replace("{}", &list.to_string())) {
                assert_eq!(stack.try_read(&path, Some(stranger)).await.0, StatusCode::NOT_FOUND, "{path}");
            }
        }
        stack.set_member(Method::DELETE, &ann, list, &bob).await;
        stack.set_tag(Method::DELETE, &ann, list, "rust").await;
        assert_eq!(stack.in_list(&ann, list).await, [by_eve]);
        let deleted = stack.send_command(Method::DELETE, &format!("/v1/lists/{list}"), Some(&ann), None).await;
        assert_eq!(deleted.status(), StatusCode::NO_CONTENT);
        assert_eq!(stack.lists_of(&ann).await, ["Others"]);
        let gone = stack.try_read(&format!("/v1/timelines/lists/{list}"), Some(&ann)).await.0;
        assert_eq!(gone, StatusCode::NOT_FOUND);
        stack.assert_verified().await;
    }
}

e2e! {
    async fn an_exclusive_list_takes_its_members_out_of_home_but_never_the_owner() {
        let stack = Stack::start().await;
        let [ann, bob, eve] = stack.people(["ann", "bob", "eve"]).await;
        for followee in [&bob, &eve] {
            stack.follow(&ann, followee).await;
        }
        let by_bob = stack.post(&bob, "by Bob").await.id;
        let by_eve = stack.post(&eve, "by Eve").await.id;
        let own = stack.post(&ann, "by Ann").await.id;
        stack.repost(&eve, by_bob).await;
        stack.repost(&bob, by_eve).await;
        let all = stack.home_ids(&ann).await;
        assert_eq!(all.len(), 5);
        let list = stack.new_list(&ann, "Loud", true).await;
        for member in [&bob, &ann] {
            stack.set_member(Method::PUT, &ann, list, member).await;
        }
        assert_eq!(stack.home_ids(&ann).await, [own, by_eve]);
        let reply = json!({ "text": "to Bob", "in_reply_to": by_bob });
        let reply: Post = stack.command(Method::POST, "/v1/posts", Some(&eve), Some(reply)).await;
        assert_eq!(stack.home_ids(&ann).await, [reply.id, own, by_eve], "a reply to him is not his");
        assert_eq!(stack.in_list(&ann, list).await, [all[0], own, by_bob]);
        stack.assert_verified().await;

        let open: List = stack
            .command(Method::PATCH, &format!("/v1/lists/{list}"), Some(&ann), Some(json!({ "exclusive": false })))
            .await;
        assert!(!open.exclusive);
        assert_eq!(stack.home_ids(&ann).await.len(), 6);
        stack.assert_verified().await;
    }
}

e2e! {
    async fn who_deletes_the_account_takes_the_lists_along_and_leaves_those_of_others() {
        let stack = Stack::start_with(&[("sweep.look_every", "100ms")]).await;
        let [ann, bob] = stack.people(["ann", "bob"]).await;
        let gone = stack.new_list(&bob, "a secret of Bob", true).await;
        let stays = stack.new_list(&ann, "Friends", false).await;
        stack.set_member(Method::PUT, &ann, stays, &bob).await;
        stack.post(&bob, "by Bob").await;
        stack.delete_user(&bob).await;
        let databases = stack.databases().await;
        let store = EventStore::open(databases.events.clone(), SystemClock::shared(), Default::default()).await.unwrap();
        eventually("the list is deleted", || async {
            let mut session = store.session().await.unwrap();
            let last = store.load(&mut session, &StreamId::list(gone)).await.unwrap().unwrap();
            matches!(last.event().unwrap(), Event::ListDeleted(_)).then_some(())
        })
        .await;
        assert_eq!(stack.in_list(&ann, stays).await, []);
        let members: Vec<User> = stack.list(&format!("/v1/lists/{stays}/members"), Some(&ann), 1).await;
        assert_eq!(members, []);
        let titles = doc! { "data.title": "a secret of Bob" };
        let events = databases.events.collection::<Document>("events");
        assert_eq!(events.count_documents(titles).await.unwrap(), 0);
        stack.assert_verified().await;
        databases.close().await;
    }
}

e2e! {
    async fn verify_sees_what_is_wrong_with_lists() {
        let stack = Stack::start().await;
        let [ann, bob] = stack.people(["ann", "bob"]).await;
        stack.follow(&ann, &bob).await;
        let list = stack.new_list(&ann, "Friends", true).await;
        stack.set_member(Method::PUT, &ann, list, &bob).await;
        stack.set_tag(Method::PUT, &ann, list, "Rust").await;
        let post = stack.post(&bob, "by Bob").await.id;
        stack.assert_verified().await;
        let databases = stack.databases().await;
        let told = async |expected: &[String]| {
            let reports = stack.verify().await;
            let found: Vec<String> = reports[0].differences.iter().map(ToString::to_string).collect();
            for words in expected {
                assert!(found.iter().any(|one| one.contains(words)), "{words:?} is not in {found:#?}");
            }
        };
        let of_ann = |what: &str| format!("{what} of @ann ({})", ann.id);
        for (collection, expected) in [
            (
                "list_members_g1",
                vec![
                    format!("{}: missing: @bob ({})", of_ann(&format!("members of list {list}")), bob.id),
                    format!("{}: missing: post {post}", of_ann(&format!("timeline of list {list}"))),
                    format!("{}: unexpected: post {post}", of_ann("home timeline")),
                ],
            ),
            ("list_tags_g1", vec![of_ann(&format!("tags of list {list}"))]),
            ("lists_g1", vec![of_ann("lists"), format!("{}: unexpected: post {post}", of_ann("home timeline"))]),
        ] {
            let rows = databases.views.collection::<Document>(collection);
            let live = |live: bool| doc! { "$set": { "live": live } };
            rows.update_many(doc! {}, live(false)).await.unwrap();
            told(&expected).await;
            rows.update_many(doc! {}, live(true)).await.unwrap();
            stack.assert_verified().await;
        }
        databases.close().await;
    }
}
