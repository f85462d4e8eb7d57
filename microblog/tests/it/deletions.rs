//! Everything that is deleted or changed is so in every place that showed it.

use model::api::{Post, User};
use reqwest::StatusCode;

use crate::home::e2e;
use crate::stack::{Stack, eventually};

e2e! {
    async fn a_deleted_post_is_gone_everywhere() {
        let stack = Stack::start().await;
        let [ann, bob, eve] = stack.people(["ann", "bob", "eve"]).await;
        stack.follow(&bob, &ann).await;
        stack.follow(&bob, &eve).await;
        let kept = stack.post(&ann, "kept").await;
        let post = stack.post(&ann, "deleted").await;
        stack.repost(&eve, post.id).await;
        stack.like(&bob, post.id).await;
        assert_eq!(stack.home(&bob).await.len(), 3);

        stack.delete(&ann, post.id).await;
        for viewer in [&ann, &bob] {
            assert_eq!(stack.home_ids(viewer).await, [kept.id]);
        }
        assert_eq!(stack.home(&eve).await, []);
        let (status, _) = stack.try_read(&format!("/v1/posts/{}", post.id), Some(&ann)).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        let public: Vec<Post> = stack.list("/v1/timelines/public", None, 100).await;
        assert_eq!(public.iter().map(|post| post.id).collect::<Vec<_>>(), [kept.id]);
        let profile: User = stack.read("/v1/users/@ann", None).await;
        assert_eq!(profile.counts.unwrap().posts, 1);
        stack.assert_verified().await;
    }
}

e2e! {
    async fn an_edit_shows_in_every_timeline_and_leaves_a_history() {
        let stack = Stack::start().await;
        let [ann, bob] = stack.people(["ann", "bob"]).await;
        stack.follow(&bob, &ann).await;
        let post = stack.post(&ann, "first words").await;
        stack.edit(&ann, post.id, "second thoughts").await;
        let home = stack.home(&bob).await;
        assert_eq!((home[0].text.as_str(), home[0].edited_at.is_some()), ("second thoughts", true));
        let history: serde_json::Value = stack.read(&format!("/v1/posts/{}/history", post.id), Some(&bob)).await;
        let history = history.to_string();
        assert!(history.contains("first words") && history.contains("second thoughts"), "{history}");
        stack.assert_verified().await;
    }
}

e2e! {
    async fn a_repost_of_a_deleted_post_shows_nothing_and_can_be_made_no_more() {
        let stack = Stack::start().await;
        let [ann, bob, eve] = stack.people(["ann", "bob", "eve"]).await;
        stack.follow(&bob, &eve).await;
        let post = stack.post(&ann, "short-lived").await;
        stack.repost(&eve, post.id).await;
        assert_eq!(stack.home(&bob).await.len(), 1);
        stack.delete(&ann, post.id).await;
        assert_eq!(stack.home(&bob).await, []);
        let listed: Vec<Post> = stack.list(&format!("/v1/users/{}/posts", eve.id), None, 100).await;
        assert_eq!(listed, []);
        let answer = reqwest::Client::new()
            .put(format!("{}/v1/posts/{}/repost", stack.command.url, post.id))
            .bearer_auth(&bob.token)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), StatusCode::NOT_FOUND);
        stack.assert_verified().await;
    }
}

e2e! {
    /// Everything of a deleted user disappears at once. The counts of other users are correct after the deletion sweep.
    async fn a_deleted_user_is_gone_at_once_and_swept_up_after() {
        let stack = Stack::start_with(&[
            ("sweep.look_every", "100ms"),
            ("rebuild.look_every", "100ms"),
            ("projector.look_every", "100ms"),
        ]).await;
        let [ann, bob, eve] = stack.people(["ann", "bob", "eve"]).await;
        for (follower, followee) in [(&bob, &ann), (&ann, &bob), (&eve, &ann), (&bob, &eve)] {
            stack.follow(follower, followee).await;
        }
        let theirs = stack.post(&ann, "by somebody who leaves").await;
        let others = stack.post(&eve, "by somebody who stays").await;
        stack.repost(&eve, theirs.id).await;
        stack.repost(&ann, others.id).await;
        stack.like(&ann, others.id).await;
        assert_eq!(stack.home(&bob).await.len(), 4);

        stack.delete_user(&ann).await;
        assert_eq!(stack.home_ids(&bob).await, [others.id]);
        assert_eq!(stack.home_ids(&eve).await, [others.id]);
        for path in [format!("/v1/users/{}", ann.id), "/v1/users/@ann".to_owned(), format!("/v1/posts/{}", theirs.id)] {
            assert_eq!(stack.try_read(&path, Some(&bob)).await.0, StatusCode::NOT_FOUND, "{path}");
        }
        let followers: Vec<User> = stack.list(&format!("/v1/users/{}/followers", bob.id), None, 100).await;
        assert_eq!(followers, []);

        eventually("the sweep has put the counts right", || async {
            let bob: User = stack.read("/v1/users/@bob", None).await;
            let eve: User = stack.read("/v1/users/@eve", None).await;
            let post: Post = stack.read(&format!("/v1/posts/{}", others.id), None).await;
            let (bob, eve, post) = (bob.counts.unwrap(), eve.counts.unwrap(), post.counts.unwrap());
            let right = bob.followers == 0 && bob.following == 1 && eve.following == 0 && post.likes == 0 && post.reposts == 0;
            right.then_some(())
        })
        .await;
        stack.assert_verified().await;
    }
}
