//! Tests of rows: the highest version wins, counts are right, and nothing that was deleted comes back.

use std::sync::Arc;
use std::time::Duration;

use bson::{Document, doc};
use event_log::subscription::{Handler, HandlerError};
use model::ids::{EventId, UserId};
use model::values::Visibility;
use views::{Range, RelationKind};

use crate::fixture::{Projected, Store, clock, database};

#[tokio::test]
async fn a_repeated_event_counts_once() {
    let (_database, views) = database().await;
    let clock = clock();
    let mut store = Store::new(clock.clone());
    let projected = Projected::new(&views, 1, clock).await;
    let (ada, bob) = (store.register("ada"), store.register("bob"));
    let post = store.post(ada, "hello #world");
    store.like(bob, post, true);
    store.follow(bob, ada);
    let repost = store.repost(bob, post);
    store.write(bob, "indeed", Some(post), Visibility::Public);
    for _ in 0..2 {
        projected.projection.handle(&store.log).await.unwrap();
        projected.deliver(&store.log).await;
    }
    let read = projected.views.posts.live_by_ids(&[post]).await.unwrap().remove(0);
    assert_eq!((read.counts.likes, read.counts.reposts, read.counts.replies), (1, 1, 1));
    assert_eq!((read.text.as_str(), read.entities.hashtags.len()), ("hello #world", 1));
    let profile = async |user| {
        projected
            .views
            .profiles
            .live_by_ids(&[user])
            .await
            .unwrap()
            .remove(0)
            .counts
    };
    let (ada_counts, bob_counts) = (profile(ada).await, profile(bob).await);
    assert_eq!(
        (ada_counts.posts, ada_counts.followers, ada_counts.following),
        (1, 1, 0)
    );
    // Reposts are not counted among the posts.
    assert_eq!(
        (bob_counts.posts, bob_counts.followers, bob_counts.following),
        (1, 0, 1)
    );
    let relation = projected
        .views
        .relations
        .of_post(post, RelationKind::Repost, Range::newest(1))
        .await
        .unwrap()
        .remove(0);
    assert_eq!((relation.viewer(), relation.repost), (bob, Some(repost)));
    let shown = projected.views.posts.live_by_ids(&[repost]).await.unwrap().remove(0);
    assert_eq!(shown.repost_of.map(|original| original.post), Some(post));
    assert!(projected.metrics.refused_guards.get() > 0);
}

#[tokio::test]
async fn an_older_event_that_comes_later_changes_nothing() {
    let (_database, views) = database().await;
    let clock = clock();
    let mut store = Store::new(clock.clone());
    let projected = Projected::new(&views, 1, clock).await;
    let (ada, bob) = (store.register("ada"), store.register("bob"));
    let post = store.post(ada, "one");
    store.like(bob, post, true);
    store.like(bob, post, false);
    store.repost(bob, post);
    store.unrepost(bob, post);
    let second = store.repost(bob, post);
    store.follow(bob, ada);
    store.unfollow(bob, ada);
    store.rename(ada, "Countess");
    store.edit(post, "two");
    let reversed: Vec<_> = store.log.iter().rev().cloned().collect();
    projected.deliver(&reversed).await;
    let read = projected.views.posts.live_by_ids(&[post]).await.unwrap().remove(0);
    assert_eq!((read.text.as_str(), read.version), ("two", 2));
    assert_eq!((read.counts.likes, read.counts.reposts), (0, 1));
    let by_bob = projected
        .views
        .posts
        .heads_of_authors(&[bob], Range::newest(10))
        .await
        .unwrap();
    assert_eq!(by_bob.iter().map(|post| post.id).collect::<Vec<_>>(), [second]);
    assert_eq!(projected.views.relations.followees(bob).await.unwrap(), []);
    let ada = projected.views.profiles.live_by_handle("ada").await.unwrap().unwrap();
    assert_eq!((ada.display_name.as_str(), ada.counts.followers), ("Countess", 0));
    // Versions that came late are in the history too.
    let history = projected
        .views
        .post_history
        .of_post(post, Range::newest(10))
        .await
        .unwrap();
    assert_eq!(
        history.iter().map(|version| version.text.as_str()).collect::<Vec<_>>(),
        ["two", "one"]
    );
}

#[tokio::test]
async fn what_counts_may_come_before_what_it_counts_for() {
    let (_database, views) = database().await;
    let clock = clock();
    let mut store = Store::new(clock.clone());
    let projected = Projected::new(&views, 1, clock).await;
    let ada = store.register("ada");
    let post = store.post(ada, "hello");
    let like = store.like(UserId::new(chrono::Utc::now()), post, true);
    projected.deliver(&[like]).await;
    assert_eq!(projected.views.posts.live_by_ids(&[post]).await.unwrap(), []);
    assert_eq!(projected.views.posts.public_heads(Range::newest(10)).await.unwrap(), []);
    projected.deliver(&store.log).await;
    assert_eq!(
        projected.views.posts.live_by_ids(&[post]).await.unwrap()[0]
            .counts
            .likes,
        1
    );
}

#[tokio::test]
async fn a_deleted_post_leaves_a_tombstone_that_no_late_event_fills() {
    let (_database, views) = database().await;
    let clock = clock();
    let mut store = Store::new(clock.clone());
    let projected = Projected::new(&views, 1, clock).await;
    let ada = store.register("ada");
    let parent = store.post(ada, "question");
    let post = store.write(ada, "answer", Some(parent), Visibility::Public);
    let created = store.last();
    let edited = store.edit(post, "better answer");
    projected.deliver(&store.log).await;
    assert_eq!(
        projected.views.posts.live_by_ids(&[parent]).await.unwrap()[0]
            .counts
            .replies,
        1
    );
    let deleted = store.delete_post(post);
    projected.deliver(&[deleted, edited, created]).await;
    assert_eq!(projected.views.posts.live_by_ids(&[post]).await.unwrap(), []);
    assert_eq!(
        projected.views.posts.live_by_ids(&[parent]).await.unwrap()[0]
            .counts
            .replies,
        0
    );
    assert_eq!(
        projected
            .views
            .posts
            .heads_of_replies(parent, true, Range::newest(10))
            .await
            .unwrap(),
        []
    );
    assert_eq!(
        projected
            .views
            .post_history
            .of_post(post, Range::newest(10))
            .await
            .unwrap(),
        []
    );
    assert_eq!(
        projected
            .views
            .profiles
            .live_by_handle("ada")
            .await
            .unwrap()
            .unwrap()
            .counts
            .posts,
        1
    );
    let row = views
        .collection::<Document>(projected.views.posts.name())
        .find_one(doc! { "_id": post })
        .await
        .unwrap();
    assert!(!row.unwrap().to_string().contains("answer"));
}

#[tokio::test]
async fn a_deleted_user_is_not_found() {
    let (_database, views) = database().await;
    let clock = clock();
    let mut store = Store::new(clock.clone());
    let projected = Projected::new(&views, 1, clock).await;
    let ada = store.register("ada");
    projected.deliver(&store.log).await;
    assert!(projected.views.profiles.live_by_handle("ada").await.unwrap().is_some());
    let deleted = store.delete_user(ada);
    projected.deliver(&[deleted]).await;
    projected.deliver(&store.log).await;
    assert_eq!(projected.views.profiles.live_by_handle("ada").await.unwrap(), None);
    assert_eq!(projected.views.profiles.live_by_ids(&[ada]).await.unwrap(), []);
}

#[tokio::test]
async fn lists_are_read_from_either_end_of_a_cursor() {
    let (_database, views) = database().await;
    let clock = clock();
    let mut store = Store::new(clock.clone());
    let projected = Projected::new(&views, 1, clock).await;
    let ada = store.register("ada");
    let fans: Vec<UserId> = (0..5).map(|n| store.register(&format!("fan{n}"))).collect();
    let posts: Vec<_> = (0..5).map(|n| store.post(ada, &format!("post {n}"))).collect();
    let secret = store.write(ada, "for followers", None, Visibility::Followers);
    let reply = store.write(fans[0], "reply", Some(posts[0]), Visibility::Public);
    let repost = store.repost(fans[1], posts[0]);
    for &fan in &fans {
        store.follow(fan, ada);
        store.like(fan, posts[0], true);
    }
    projected.projection.handle(&store.log).await.unwrap();

    let read = &projected.views.posts;
    let ids = |posts: Vec<views::PostHead>| posts.iter().map(|post| post.id).collect::<Vec<_>>();
    assert_eq!(
        ids(read.public_heads(Range::newest(3)).await.unwrap()),
        [reply, posts[4], posts[3]]
    );
    assert_eq!(
        ids(read.public_heads(Range::before(posts[3], 2)).await.unwrap()),
        [posts[2], posts[1]]
    );
    assert_eq!(
        ids(read.public_heads(Range::after(posts[1], 2)).await.unwrap()),
        [posts[3], posts[2]]
    );
    let authors = [ada, fans[0], fans[1]];
    assert_eq!(
        ids(read.heads_of_authors(&authors, Range::newest(4)).await.unwrap()),
        [repost, reply, secret, posts[4]]
    );
    assert_eq!(
        ids(read.heads_of_authors(&[ada], Range::after(posts[3], 9)).await.unwrap()),
        [secret, posts[4]]
    );
    let closed = store.write(ada, "reply for followers", Some(posts[0]), Visibility::Followers);
    projected.deliver(&[store.last()]).await;
    for (closed_too, expected) in [(true, vec![closed, reply]), (false, vec![reply])] {
        let replies = read.heads_of_replies(posts[0], closed_too, Range::newest(4)).await;
        assert_eq!(ids(replies.unwrap()), expected);
    }
    let open = read.public_heads_of_author(ada, Range::newest(2)).await.unwrap();
    assert_eq!(ids(open), [posts[4], posts[3]]);
    store.delete_post(closed);
    projected.deliver(&[store.last()]).await;
    let heads = read.heads_of_authors(&authors, Range::newest(1)).await.unwrap();
    assert_eq!(
        (heads[0].id, heads[0].repost_of.map(|original| original.post)),
        (repost, Some(posts[0]))
    );

    let relations = &projected.views.relations;
    let viewers = |rows: &[views::Relation]| rows.iter().map(|row| row.viewer()).collect::<Vec<_>>();
    let first = relations.followers(ada, Range::newest(2)).await.unwrap();
    assert_eq!(viewers(&first), [fans[4], fans[3]]);
    let cursor: EventId = first[1].order;
    let second = relations.followers(ada, Range::before(cursor, 9)).await.unwrap();
    assert_eq!(viewers(&second), [fans[2], fans[1], fans[0]]);
    assert_eq!(
        viewers(
            &relations
                .followers(ada, Range::after(second[1].order, 2))
                .await
                .unwrap()
        ),
        [fans[3], fans[2]]
    );
    let likes = relations
        .of_post(posts[0], RelationKind::Like, Range::newest(9))
        .await
        .unwrap();
    assert_eq!((likes.len(), likes[0].post()), (5, posts[0]));
    let reposts = relations
        .of_post(posts[0], RelationKind::Repost, Range::newest(9))
        .await
        .unwrap();
    assert_eq!(viewers(&reposts), [fans[1]]);
    let following = relations
        .of_viewer(fans[2], RelationKind::Follow, Range::newest(9))
        .await
        .unwrap();
    assert_eq!(following.iter().map(|row| row.target_user()).collect::<Vec<_>>(), [ada]);
}

/// Two processes, each with several busy partitions, write the same profiles.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_are_right_whoever_writes_at_once() {
    let (_database, views) = database().await;
    let clock = clock();
    let mut store = Store::new(clock.clone());
    let one = Projected::new(&views, 1, clock.clone()).await;
    let other = Projected::with_metrics(&views, 1, clock, one.metrics.clone()).await;
    let users: Vec<UserId> = (0..9).map(|n| store.register(&format!("user{n}"))).collect();
    one.projection.apply_rows_only(&store.log).await.unwrap();
    let registered = store.log.len();
    for &follower in &users {
        for &followee in &users {
            if follower != followee {
                store.follow(follower, followee);
            }
        }
    }
    let follows = &store.log[registered..];
    let mut tasks = Vec::new();
    for (n, follow) in follows.iter().enumerate() {
        // Some events go to both, as after a takeover of a lease.
        let takers: &[&Projected] = match n % 3 {
            0 => &[&one],
            1 => &[&other],
            _ => &[&one, &other],
        };
        for &taker in takers {
            tasks.push(taker.projection.apply_rows_only(std::slice::from_ref(follow)));
        }
    }
    for result in futures_util::future::join_all(tasks).await {
        result.unwrap();
    }
    for profile in one.views.profiles.live_by_ids(&users).await.unwrap() {
        assert_eq!(
            (profile.counts.followers, profile.counts.following),
            (8, 8),
            "{}",
            profile.handle
        );
    }
}

/// A lane without a lease is dropped at any point, even while it commits for others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_for_a_writer_that_is_dropped_is_not_forgotten() {
    let (_database, views) = database().await;
    let clock = clock();
    let mut store = Store::new(clock.clone());
    let projected = Arc::new(Projected::new(&views, 1, clock).await);
    let star = store.register("star");
    for round in 0..20_u32 {
        let mut follow = || {
            let fan = UserId::new(chrono::Utc::now());
            store.follow(fan, star)
        };
        let events = [follow(), follow(), follow()];
        let started = events.each_ref().map(|event| {
            let (projected, event) = (Arc::clone(&projected), event.clone());
            tokio::spawn(async move { projected.projection.handle(&[event]).await })
        });
        let [dropped, first, second] = started;
        for _ in 0..round {
            tokio::task::yield_now().await;
        }
        dropped.abort();
        let _ = dropped.await;
        let waited = Duration::from_secs(30);
        for waiting in [first, second] {
            tokio::time::timeout(waited, waiting)
                .await
                .expect("it is answered")
                .unwrap()
                .unwrap();
        }
        projected.deliver(&events[..1]).await;
    }
    let registered = store.log[0].clone();
    projected.deliver(&[registered]).await;
    let counts = projected.views.profiles.live_by_ids(&[star]).await.unwrap()[0].counts;
    assert_eq!(counts.followers, 60);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_can_not_be_stored_fails_alone() {
    let (_database, views) = database().await;
    let clock = clock();
    let mut store = Store::new(clock.clone());
    let projected = Projected::new(&views, 1, clock).await;
    let ada = store.register("ada");
    let validator = doc! { "text": { "$ne": "poison" } };
    views
        .run_command(doc! { "collMod": projected.views.posts.name(), "validator": validator })
        .await
        .unwrap();
    let mut batches = Vec::new();
    for n in 0..9 {
        let text = if n == 4 {
            "poison".to_owned()
        } else {
            format!("post {n}")
        };
        store.post(ada, &text);
        batches.push([store.last()]);
    }
    let handled = batches.iter().map(|batch| projected.projection.handle(batch));
    let results = futures_util::future::join_all(handled).await;
    for (n, result) in results.into_iter().enumerate() {
        match result {
            Err(HandlerError::Refused(_)) if n == 4 => {}
            other => assert!(n != 4 && other.is_ok(), "{n}: {other:?}"),
        }
    }
    assert_eq!(
        projected
            .views
            .posts
            .public_heads(Range::newest(100))
            .await
            .unwrap()
            .len(),
        8
    );
}

/// One process has an old event of a post, while the other one deletes the post.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_that_comes_late_does_not_outlive_a_deletion_at_the_same_time() {
    let (_database, views) = database().await;
    let clock = clock();
    let mut store = Store::new(clock.clone());
    let one = Projected::new(&views, 1, clock.clone()).await;
    let other = Projected::new(&views, 1, clock).await;
    let ada = store.register("ada");
    one.deliver(&store.log).await;
    for round in 0..20 {
        let post = store.post(ada, "secret");
        let created = store.last();
        let edited = store.edit(post, "still secret");
        one.deliver(&[edited]).await;
        let deleted = store.delete_post(post);
        let (late, last) = tokio::join!(
            one.projection.apply_rows_only(std::slice::from_ref(&created)),
            other.projection.apply_rows_only(std::slice::from_ref(&deleted)),
        );
        late.unwrap();
        last.unwrap();
        let history = one.views.post_history.of_post(post, Range::newest(10)).await.unwrap();
        assert_eq!(history, [], "round {round}");
    }
}
