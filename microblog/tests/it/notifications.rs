//! Notifications, from the command to what the other user reads, and through a rebuild.

use model::api::{Notification, NotificationGroup, UnreadNotifications};
use model::values::NotificationKind;
use reqwest::Method;
use serde_json::{Value, json};

use crate::home::e2e;
use crate::stack::{Person, Stack};

use NotificationKind::{Accepted, Edit, Follow, Like, Mention, Reply, Repost, Request};

impl Stack {
    /// Kinds and handles, the newest first, read with one on each page.
    async fn told(&self, owner: &Person) -> Vec<(NotificationKind, String)> {
        let told: Vec<Notification> = self.list("/v1/notifications", Some(owner), 1).await;
        told.into_iter().map(|it| (it.kind, it.user.handle)).collect()
    }
}

fn by(handle: &str, kinds: &[NotificationKind]) -> Vec<(NotificationKind, String)> {
    kinds.iter().map(|&kind| (kind, handle.to_owned())).collect()
}

e2e! {
    async fn one_is_told_once_and_no_more_when_it_is_undone() {
        let stack = Stack::start_with(&[
            ("rebuild.look_every", "100ms"), ("rebuild.reader_grace", "100ms"), ("projector.look_every", "100ms"),
        ]).await;
        let [ann, bob, cat] = stack.people(["ann", "bob", "cat"]).await;
        let post = stack.post(&ann, "mine").await.id;
        let like = format!("/v1/posts/{post}/like");
        let like = async |method: Method| -> Value { stack.command(method, &like, Some(&bob), None).await };
        stack.like(&bob, post).await;
        stack.like(&cat, post).await;
        like(Method::DELETE).await;
        assert_eq!(stack.told(&ann).await, by("cat", &[Like]));
        like(Method::PUT).await;
        let expected = [by("cat", &[Like]), by("bob", &[Like])].concat();
        assert_eq!(stack.told(&ann).await, expected, "who likes again is where they were");
        stack.like(&ann, post).await;
        let both: Vec<NotificationGroup> = stack.list("/v1/notifications/groups", Some(&ann), 1).await;
        let [both] = &both[..] else { panic!("{both:?}") };
        let handles: Vec<&str> = both.users.iter().map(|user| user.handle.as_str()).collect();
        assert_eq!((both.kind, handles, both.more), (Like, vec!["cat", "bob"], false));
        assert_eq!(both.post.as_ref().and_then(|post| post.counts).expect("its counts").likes, 3);
        like(Method::DELETE).await;

        // Who is edited in is told. Who was in before is not told again.
        let said = stack.post(&bob, "@ann what do you think?").await.id;
        assert_eq!(stack.told(&ann).await[0], (Mention, "bob".to_owned()));
        let before: Vec<Notification> = stack.list("/v1/notifications", Some(&ann), 10).await;
        stack.edit(&bob, said, "@ann and @cat, what do you think?").await;
        assert_eq!(stack.told(&cat).await, by("bob", &[Mention]));
        let after: Vec<Notification> = stack.list("/v1/notifications", Some(&ann), 10).await;
        assert_eq!(after[0].id, before[0].id);
        stack.edit(&bob, said, "what does @cat think?").await;
        assert_eq!(stack.told(&ann).await, by("cat", &[Like]));

        stack.repost(&bob, post).await;
        let reply = json!({ "text": "@ann I think so", "in_reply_to": post });
        let reply: model::api::Post = stack.command(Method::POST, "/v1/posts", Some(&bob), Some(reply)).await;
        let protect = json!({ "protected": true });
        let _: Value = stack.command(Method::PATCH, "/v1/users/me", Some(&ann), Some(protect)).await;
        let follow = format!("/v1/users/{}/follow", ann.id);
        let _: Value = stack.command(Method::PUT, &follow, Some(&bob), None).await;
        let expected = [by("bob", &[Request, Reply, Repost]), by("cat", &[Like])].concat();
        assert_eq!(stack.told(&ann).await, expected);
        let accept = format!("/v1/follow-requests/{}/accept", bob.id);
        let _: Value = stack.command(Method::POST, &accept, Some(&ann), None).await;
        assert_eq!(stack.told(&bob).await, by("ann", &[Accepted]));
        stack.delete(&bob, reply.id).await;
        let expected = [by("bob", &[Follow, Repost]), by("cat", &[Like])].concat();
        assert_eq!(stack.told(&ann).await, expected);
        let unread: UnreadNotifications = stack.read("/v1/notifications/unread", Some(&ann)).await;
        assert_eq!((unread.count, unread.more), (3, false));
        stack.edit(&ann, post, "mine, and better").await;
        assert_eq!(stack.told(&bob).await, by("ann", &[Edit, Accepted]), "he has reposted it");
        stack.assert_verified().await;

        let output = tokio::task::spawn_blocking({
            let mut command = stack.microblog();
            command.arg("rebuild");
            move || command.output().expect("it runs")
        })
        .await
        .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(stack.told(&ann).await, expected, "it is all in the events");
        assert_eq!(stack.told(&bob).await, by("ann", &[Edit, Accepted]));
        stack.unrepost(&bob, post).await;
        stack.unfollow(&bob, &ann).await;
        assert_eq!(stack.told(&bob).await, [], "the last of the follow is not that it was accepted");
        stack.assert_verified().await;
    }
}
