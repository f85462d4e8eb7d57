//! Authors with so many followers that their posts are not fanned out.

use futures_util::future::join_all;
use model::ids::PostId;

use crate::home::e2e;
use crate::stack::Stack;

fn newest_first(mut ids: Vec<PostId>) -> Vec<PostId> {
    ids.sort_by(|one, other| other.cmp(one));
    ids
}

e2e! {
    async fn an_author_grows_past_the_limit_and_nobody_misses_anything() {
        let stack = Stack::start_with(&[("timelines.fan_out_limit", "3"), ("timelines.window", "4")]).await;
        let [author, small] = stack.people(["author", "small"]).await;
        let followers = stack.crowd("follower", 6).await;
        let mut posts = Vec::new();
        for (n, follower) in followers.iter().enumerate() {
            stack.follow(follower, &small).await;
            // The author writes while the crowd grows: before the limit, at the crossing, and above it.
            let writing = join_all((0..3).map(|m| {
                let (stack, author) = (&stack, &author);
                async move { stack.post(author, &format!("post {n}.{m}")).await.id }
            }));
            let (written, ()) = tokio::join!(writing, stack.follow(follower, &author));
            posts.extend(written);
        }
        posts.push(stack.post(&author, "to all of them").await.id);
        let between = stack.post(&small, "of somebody small").await.id;
        posts.push(stack.post(&author, "and once more").await.id);
        let mut expected = posts;
        expected.push(between);
        // By now, `small` has crossed the limit too.
        let expected = newest_first(expected);
        for follower in &followers {
            stack.assert_ids(&follower.handle, &stack.home_ids(follower).await, &expected).await;
        }
        assert_eq!(stack.home_ids(&author).await, expected.iter().copied().filter(|&id| id != between).collect::<Vec<_>>());
        stack.assert_verified().await;
    }
}

e2e! {
    async fn the_posts_of_a_large_author_end_with_the_follow_and_come_back_with_it() {
        let stack = Stack::start_with(&[("timelines.fan_out_limit", "3")]).await;
        let author = stack.person("author").await;
        let followers = stack.crowd("follower", 4).await;
        let early = stack.post(&author, "early").await.id;
        join_all(followers.iter().map(|follower| stack.follow(follower, &author))).await;
        let late = stack.post(&author, "late").await.id;
        stack.repost(&author, early).await;
        let home = stack.home_ids(&followers[0]).await;
        assert_eq!((home.len(), &home[1..]), (3, &[late, early][..]));
        stack.unfollow(&followers[0], &author).await;
        assert_eq!(stack.home_ids(&followers[0]).await, []);
        stack.delete(&author, late).await;
        stack.follow(&followers[0], &author).await;
        // The timeline shows the original itself, and as a repost.
        assert_eq!(stack.home_ids(&followers[0]).await, [home[0], early]);
        stack.assert_verified().await;
    }
}

e2e! {
    /// All users follow at the same time, across the limit. The result must not depend on who comes first.
    async fn a_crowd_that_arrives_at_once_while_the_author_writes() {
        let stack = Stack::start_with(&[("timelines.fan_out_limit", "3"), ("timelines.window", "4")]).await;
        for round in 0..4 {
            let author = stack.person(&format!("author{round}")).await;
            let crowd = stack.crowd(&format!("crowd{round}_"), 6).await;
            let writing = join_all((0..6).map(|n| {
                let (stack, author) = (&stack, &author);
                async move { stack.post(author, &format!("post {n}")).await.id }
            }));
            let arriving = join_all(crowd.iter().map(|follower| stack.follow(follower, &author)));
            let (posts, _) = tokio::join!(writing, arriving);
            let expected = newest_first(posts);
            for follower in &crowd {
                stack.assert_ids(&follower.handle, &stack.home_ids(follower).await, &expected).await;
            }
        }
        stack.assert_verified().await;
    }
}
