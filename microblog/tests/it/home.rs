//! Home timelines of accounts of ordinary size.

use std::collections::BTreeSet;
use std::time::Instant;

use futures_util::future::join_all;
use model::api::{Page, Post};
use model::ids::PostId;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, doc};

use crate::stack::{DEADLINE, Person, Stack, eventually};

/// Actix starts threads of its own. Everything else shares these threads.
macro_rules! e2e {
    ($(#[$meta:meta])* async fn $name:ident() $body:block) => {
        $(#[$meta])*
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() $body
    };
}
pub(crate) use e2e;

e2e! {
    async fn a_post_after_the_follow_is_there_and_so_is_one_before_it() {
        let stack = Stack::start().await;
        let [ann, bob, eve] = stack.people(["ann", "bob", "eve"]).await;
        stack.post(&ann, "before").await;
        stack.follow(&bob, &ann).await;
        stack.post(&ann, "after").await;
        stack.post(&eve, "elsewhere").await;
        stack.post(&bob, "mine").await;
        assert_eq!(stack.home_texts(&bob).await, ["mine", "after", "before"]);
        assert_eq!(stack.home_texts(&ann).await, ["after", "before"]);
        stack.assert_verified().await;
    }
}

e2e! {
    /// A fan-out races with a backfill. Whichever comes first, no post may be missed by both.
    async fn a_post_and_a_follow_at_once_never_miss_each_other() {
        let stack = Stack::start().await;
        let author = stack.person("author").await;
        let followers = stack.crowd("follower", 8).await;
        let mut posted = Vec::new();
        for round in 0..12 {
            // In each round, half of them unfollow and follow again, so that edges change while posts are written.
            for follower in followers.iter().skip(round % 2).step_by(2) {
                stack.unfollow(follower, &author).await;
            }
            let posts = join_all((0..3).map(|n| {
                let (stack, author) = (&stack, &author);
                async move { stack.post(author, &format!("post {round}.{n}")).await.id }
            }));
            let follows = join_all(followers.iter().map(|follower| stack.follow(follower, &author)));
            let (posts, _) = tokio::join!(posts, follows);
            posted.extend(posts);
            let mut expected = posted.clone();
            expected.sort_by(|one: &PostId, other| other.cmp(one));
            for follower in &followers {
                let what = format!("@{} in round {round}", follower.handle);
                stack.assert_ids(&what, &stack.home_ids(follower).await, &expected).await;
            }
        }
        stack.assert_verified().await;
    }
}

e2e! {
    async fn who_unfollows_during_the_fan_out_sees_nothing_of_it_until_following_again() {
        let stack = Stack::start().await;
        let author = stack.person("author").await;
        let followers = stack.crowd("follower", 12).await;
        join_all(followers.iter().map(|follower| stack.follow(follower, &author))).await;
        let (stays, goes) = followers.split_at(6);
        let posts = join_all((0..10).map(|n| {
            let (stack, author) = (&stack, &author);
            async move { stack.post(author, &format!("post {n}")).await.id }
        }));
        let leaving = join_all(goes.iter().map(|follower| stack.unfollow(follower, &author)));
        let (posts, _) = tokio::join!(posts, leaving);
        let mut expected = posts;
        expected.sort_by(|one, other| other.cmp(one));
        for follower in stays {
            stack.assert_ids("who stays", &stack.home_ids(follower).await, &expected).await;
        }
        for follower in goes {
            stack.assert_ids("who goes", &stack.home_ids(follower).await, &[]).await;
            stack.follow(follower, &author).await;
            stack.assert_ids("who comes again", &stack.home_ids(follower).await, &expected).await;
        }
        stack.assert_verified().await;
    }
}

e2e! {
    async fn a_repost_is_an_entry_of_its_own_and_brings_what_is_not_followed() {
        let stack = Stack::start().await;
        let [ann, bob, eve] = stack.people(["ann", "bob", "eve"]).await;
        stack.follow(&bob, &ann).await;
        let original = stack.post(&eve, "original").await;
        stack.repost(&ann, original.id).await;
        let home = stack.home(&bob).await;
        assert_eq!(home.len(), 1);
        assert_eq!(home[0].author.id, ann.id);
        let shown = home[0].repost_of.as_ref().unwrap();
        assert_eq!((shown.id, shown.text.as_str()), (original.id, "original"));
        assert_ne!(home[0].id, original.id);

        stack.follow(&bob, &eve).await;
        assert_eq!(stack.home_ids(&bob).await, [home[0].id, original.id]);
        stack.unrepost(&ann, original.id).await;
        assert_eq!(stack.home_ids(&bob).await, [original.id]);
        stack.repost(&ann, original.id).await;
        let again = stack.home_ids(&bob).await;
        assert_eq!((again.len(), again[1]), (2, original.id));
        assert_ne!(again[0], home[0].id, "a repost that is made again is a new one");
        stack.assert_verified().await;
    }
}

e2e! {
    async fn five_hundred_posts_are_paged_without_a_gap_or_a_double() {
        const AUTHORS: usize = 4;
        const POSTS: usize = 125;
        // Far more posts than the window, so that most of them lie below the floor.
        let stack = Stack::start_with(&[("timelines.window", "60"), ("timelines.trim_one_in", "5"), ("timelines.trim_delay", "0s")]).await;
        let reader = stack.person("reader").await;
        let authors = stack.crowd("author", AUTHORS).await;
        for author in &authors[1..] {
            stack.follow(&reader, author).await;
        }
        let posts = join_all(authors.iter().map(|author| {
            let stack = &stack;
            async move {
                let mut ids = Vec::with_capacity(POSTS);
                for n in 0..POSTS {
                    ids.push(stack.post(author, &format!("{} {n}", author.handle)).await.id);
                }
                ids
            }
        }))
        .await;
        // Backfill and fan-out on read find the author's earlier posts. Fan-out on write adds the others.
        stack.follow(&reader, &authors[0]).await;
        let mut expected: Vec<PostId> = posts.into_iter().flatten().collect();
        expected.sort_by(|one, other| other.cmp(one));
        assert_eq!(expected.len(), AUTHORS * POSTS);

        for limit in [37, 100] {
            let home: Vec<Post> = stack.list("/v1/timelines/home", Some(&reader), limit).await;
            let ids: Vec<PostId> = home.iter().map(|post| post.id).collect();
            stack.assert_ids(&format!("in pages of {limit}"), &ids, &expected).await;
        }
        go_up_again(&stack, &reader, &expected).await;
        stack.assert_verified().await;
    }
}

/// Reads from the oldest page up to the newest: `prev` leaves nothing out.
async fn go_up_again(stack: &Stack, reader: &Person, expected: &[PostId]) {
    let mut page: Page<Post> = stack.read("/v1/timelines/home?limit=50", Some(reader)).await;
    for _ in 0..7 {
        let before = page.next.expect("there is more below");
        page = stack
            .read(&format!("/v1/timelines/home?limit=50&before={before}"), Some(reader))
            .await;
    }
    let mut seen: BTreeSet<PostId> = page.items.iter().map(|post| post.id).collect();
    let mut after = page.prev.expect("there is something newer");
    let deadline = Instant::now() + DEADLINE;
    while !seen.contains(&expected[0]) {
        assert!(Instant::now() < deadline, "the newest post never came");
        let page: Page<Post> = stack
            .read(&format!("/v1/timelines/home?limit=50&after={after}"), Some(reader))
            .await;
        seen.extend(page.items.iter().map(|post| post.id));
        after = page.prev.expect("one can always ask for what is newer");
    }
    let oldest = *seen.first().expect("something was read");
    let newer: BTreeSet<PostId> = expected.iter().copied().filter(|&id| id >= oldest).collect();
    assert_eq!(newer.difference(&seen).count(), 0, "going up left something out");
}

e2e! {
    async fn what_one_wrote_is_what_one_reads_next() {
        let stack = Stack::start().await;
        let [ann, bob] = stack.people(["ann", "bob"]).await;
        stack.follow(&bob, &ann).await;
        for round in 0..25 {
            let post = stack.post(&ann, &format!("post {round}")).await;
            assert_eq!(stack.home_ids(&bob).await.first(), Some(&post.id));
            stack.like(&bob, post.id).await;
            let read: Post = stack.read(&format!("/v1/posts/{}", post.id), Some(&bob)).await;
            assert_eq!((read.counts.unwrap().likes, read.viewer.unwrap().liked), (1, true));
            stack.edit(&ann, post.id, &format!("edited {round}")).await;
            assert_eq!(stack.home_texts(&bob).await[0], format!("edited {round}"));
        }
        stack.assert_verified().await;
    }
}

e2e! {
    /// An owner who has not read for long gets no more entries, but still finds everything at the next visit.
    async fn an_owner_who_was_away_misses_nothing() {
        let stack = Stack::start_with(&[
            ("timelines.idle_after", "300ms"),
            ("timelines.note_visit_every", "50ms"),
            ("timelines.wake_margin", "200ms"),
            ("projector.idle_pass_every", "100ms"),
        ]).await;
        let [ann, bob] = stack.people(["ann", "bob"]).await;
        stack.follow(&bob, &ann).await;
        let mut expected = Vec::new();
        let databases = stack.databases().await;
        let headers = databases.views.collection::<mongodb::bson::Document>("home_timelines_g1");
        let key = [bob.id.as_bytes().as_slice(), &[0xff; 16]].concat();
        let header = Binary { subtype: BinarySubtype::Generic, bytes: key };
        for round in 0..3 {
            expected.insert(0, stack.post(&ann, &format!("while reading {round}")).await.id);
            assert_eq!(stack.home_ids(&bob).await, expected);
            eventually("the owner is marked idle", || async {
                headers.find_one(doc! { "_id": header.clone(), "idle": true }).await.unwrap().map(drop)
            })
            .await;
            for n in 0..3 {
                expected.insert(0, stack.post(&ann, &format!("while away {round}.{n}")).await.id);
            }
            assert_eq!(stack.home_ids(&bob).await, expected);
        }
        stack.assert_verified().await;
        databases.close().await;
    }
}
