//! Tests of home timelines: no entry is ever missing, even if handlers overlap or die in between.

use std::time::Duration;

use bson::{Document, doc};
use chrono::{TimeDelta, Utc};
use event_log::subscription::Handler;
use futures_util::TryStreamExt;
use model::clock::Clock;
use model::ids::{PostId, UserId};
use mongodb::Database;
use views::{Audience, Range, Views};

use crate::definition;
use crate::fixture::{Projected, Store, clock, database, timelines};
use crate::served::{self, Met, Visit};

async fn entries(views: &Views, owner: UserId) -> Vec<PostId> {
    let (_, entries) = views.home_timelines.page(owner, Range::newest(100)).await.unwrap();
    entries.iter().map(|entry| entry.id).collect()
}

async fn stored(database: &Database, views: &Views, owner: UserId) -> usize {
    entries_of(database, views, owner).await.len()
}

/// All stored entries of an owner, including those below the floor.
async fn entries_of(database: &Database, views: &Views, owner: UserId) -> Vec<PostId> {
    let bound = |last: u8| {
        let mut bytes = owner.as_bytes().to_vec();
        bytes.extend_from_slice(&[last; 16]);
        bson::Binary {
            subtype: bson::spec::BinarySubtype::Generic,
            bytes,
        }
    };
    let range = doc! { "_id": { "$gte": bound(0x00), "$lt": bound(0xFF) } };
    let stored = database.collection::<Document>(views.home_timelines.name());
    let found: Vec<Document> = stored.find(range).await.unwrap().try_collect().await.unwrap();
    let id = |entry: &Document| entry.get_binary_generic("_id").unwrap()[16..].try_into().unwrap();
    found.iter().map(|entry| PostId::from_bytes(id(entry))).collect()
}

async fn assert_served(projected: &Projected, store: &Store, owner: UserId) -> Met {
    let mut met = Met::default();
    let expected = definition::home_timeline(&store.log, owner);
    assert_eq!(
        served::home_timeline(projected, owner, Visit::Silent, 3, &mut met).await,
        expected
    );
    met
}

#[tokio::test]
async fn a_post_reaches_followers_and_a_follow_reaches_posts() {
    let (_database, views) = database().await;
    let clock = clock();
    let mut store = Store::new(clock.clone());
    let projected = Projected::new(&views, 1, clock).await;
    let (ada, bob, eve) = (store.register("ada"), store.register("bob"), store.register("eve"));
    store.follow(bob, ada);
    let post = store.post(ada, "hello");
    let repost = store.repost(ada, post);
    store.follow(eve, ada);
    projected.deliver(&store.log).await;
    for owner in [ada, bob, eve] {
        assert_eq!(entries(&projected.views, owner).await, [repost, post]);
    }
    store.unfollow(bob, ada);
    store.delete_post(post);
    projected.deliver(&store.log[store.log.len() - 2..]).await;
    for owner in [ada, bob, eve] {
        assert_served(&projected, &store, owner).await;
    }
}

/// `subscriptions.batch` may be larger than a transaction. What a transaction has read is valid for its own events only.
#[tokio::test]
async fn a_follow_at_the_beginning_of_a_large_batch_reaches_posts() {
    let (_database, views) = database().await;
    let clock = clock();
    let mut store = Store::new(clock.clone());
    let projected = Projected::new(&views, 1, clock).await;
    let (ada, bob) = (store.register("ada"), store.register("bob"));
    let post = store.post(ada, "hello");
    projected.deliver(&store.log).await;
    let before = store.log.len();
    store.follow(bob, ada);
    // The transaction of a like does not read how ada's posts reach her followers.
    for number in 0..400 {
        store.like(bob, post, number % 2 == 0);
    }
    projected.projection.handle(&store.log[before..]).await.unwrap();
    assert_eq!(entries(&projected.views, bob).await, [post]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_post_and_a_follow_at_once_never_miss_each_other() {
    let (_database, views) = database().await;
    let clock = clock();
    let mut store = Store::new(clock.clone());
    let one = Projected::new(&views, 1, clock.clone()).await;
    let other = Projected::new(&views, 1, clock).await;
    let bob = store.register("bob");
    for n in 0..40 {
        let ada = store.register(&format!("ada{n}"));
        let follow = store.follow(bob, ada);
        let post = store.post(ada, "hello");
        let created = store.last();
        // Two processes run at the same time, as after a takeover when the former owner is late.
        let (followed, posted) = tokio::join!(
            one.projection.handle(std::slice::from_ref(&follow)),
            other.projection.handle(std::slice::from_ref(&created)),
        );
        followed.unwrap();
        posted.unwrap();
        assert_eq!(entries(&one.views, bob).await.first(), Some(&post), "round {n}");
    }
}

#[tokio::test]
async fn a_refused_guard_does_not_stop_what_follows_from_the_event() {
    let (_database, views) = database().await;
    let clock = clock();
    let mut store = Store::new(clock.clone());
    let projected = Projected::new(&views, 1, clock).await;
    let (ada, bob, eve) = (store.register("ada"), store.register("bob"), store.register("eve"));
    store.follow(bob, ada);
    let post = store.post(ada, "hello");
    store.follow(eve, ada);
    // A process has committed the rows and died.
    projected.projection.apply_rows_only(&store.log).await.unwrap();
    assert_eq!(entries(&projected.views, bob).await, []);
    let refused = projected.metrics.refused_guards.get();
    projected.deliver(&store.log).await;
    assert_eq!(projected.metrics.refused_guards.get() - refused, store.log.len() as u64);
    assert_eq!(entries(&projected.views, bob).await, [post]);
    assert_eq!(entries(&projected.views, eve).await, [post]);
}

#[tokio::test]
async fn a_follow_of_somebody_with_more_than_the_window_raises_the_floor() {
    let (_database, views) = database().await;
    let clock = clock();
    let mut store = Store::new(clock.clone());
    let projected = Projected::new(&views, 1, clock).await;
    let (ada, bob, eve) = (store.register("ada"), store.register("bob"), store.register("eve"));
    store.follow(bob, eve);
    store.post(eve, "early");
    let posts: Vec<PostId> = (0..6).map(|n| store.post(ada, &format!("{n}"))).collect();
    store.follow(bob, ada);
    projected.deliver(&store.log).await;
    let header = projected.views.home_timelines.header(bob).await.unwrap();
    assert_eq!(header.floor, Some(posts[1]));
    assert_eq!(
        entries(&projected.views, bob).await,
        [posts[5], posts[4], posts[3], posts[2]]
    );
    let met = assert_served(&projected, &store, bob).await;
    assert!(met.below_the_floor > 0);
    assert_eq!(projected.metrics.raised_floors.get(), 1);
    // Once is enough.
    projected.deliver(&[store.last()]).await;
    assert_eq!(
        projected.views.home_timelines.header(bob).await.unwrap().floor,
        Some(posts[1])
    );
    assert_eq!(projected.metrics.raised_floors.get(), 1);
}

#[tokio::test]
async fn posts_of_a_large_account_are_looked_up_and_not_copied() {
    let (_database, views) = database().await;
    let clock = clock();
    let mut store = Store::new(clock.clone());
    let projected = Projected::new(&views, 1, clock).await;
    let star = store.register("star");
    let fans: Vec<UserId> = (0..5).map(|n| store.register(&format!("fan{n}"))).collect();
    let before = store.post(star, "small");
    for &fan in &fans[..3] {
        store.follow(fan, star);
    }
    projected.deliver(&store.log).await;
    assert_eq!(projected.metrics.crossings.get(), 1);
    let profile = projected.views.profiles.live_by_ids(&[star]).await.unwrap().remove(0);
    assert_eq!(profile.audience, Some(Audience::Large));
    let mark = store.log.len();
    let after = store.post(star, "large");
    for &fan in &fans[3..] {
        store.follow(fan, star);
    }
    // It stays large.
    store.unfollow(fans[0], star);
    store.unfollow(fans[1], star);
    store.post(star, "still large");
    projected.deliver(&store.log[mark..]).await;
    assert_eq!(projected.metrics.large_posts.get(), 2);
    assert_eq!(entries(&projected.views, fans[0]).await, [before]);
    assert_eq!(entries(&projected.views, fans[3]).await, []);
    assert!(entries(&projected.views, star).await.contains(&after));
    for &owner in fans.iter().chain([&star]) {
        assert_served(&projected, &store, owner).await;
    }
    let met = assert_served(&projected, &store, fans[3]).await;
    assert!(met.large > 0);
}

#[tokio::test]
async fn whoever_died_while_an_audience_was_crossing_is_followed_by_one_who_finishes() {
    let (_database, views) = database().await;
    let clock = clock();
    let mut store = Store::new(clock.clone());
    let projected = Projected::new(&views, 1, clock).await;
    let star = store.register("star");
    let fans: Vec<UserId> = (0..4).map(|n| store.register(&format!("fan{n}"))).collect();
    for &fan in &fans[..3] {
        store.follow(fan, star);
    }
    // All rows exist and the flag is set, but no follower's header names the account.
    projected.projection.apply_rows_only(&store.log).await.unwrap();
    let profiles = views.collection::<Document>(projected.views.profiles.name());
    profiles
        .update_one(doc! { "_id": star }, doc! { "$set": { "audience": "crossing" } })
        .await
        .unwrap();
    // Meanwhile posts are fanned out to all followers.
    let meanwhile = store.post(star, "meanwhile");
    projected.deliver(&[store.last()]).await;
    assert_eq!(entries(&projected.views, fans[1]).await, [meanwhile]);
    // Any follow that sees the flag finishes the crossing and writes all headers.
    let follow = store.follow(fans[3], star);
    projected.deliver(&[follow]).await;
    assert_eq!(projected.metrics.crossings.get(), 1);
    for &fan in &fans {
        assert_eq!(projected.views.home_timelines.header(fan).await.unwrap().large, [star]);
        assert_served(&projected, &store, fan).await;
    }
}

#[tokio::test]
async fn an_idle_owner_gets_nothing_until_the_next_visit() {
    let (_database, views) = database().await;
    let clock = clock();
    let mut store = Store::new(clock.clone());
    let projected = Projected::new(&views, 1, clock.clone()).await;
    let (ada, bob, eve) = (store.register("ada"), store.register("bob"), store.register("eve"));
    store.follow(bob, ada);
    store.follow(eve, ada);
    let first = store.post(ada, "first");
    projected.deliver(&store.log).await;
    clock.advance(timelines().idle_after);
    // Eve has just read, and Ada and Bob never have.
    projected
        .views
        .home_timelines
        .note_visit(eve, clock.now())
        .await
        .unwrap();
    assert_eq!(projected.projection.mark_idle_owners().await.unwrap(), 2);
    assert_eq!(projected.projection.mark_idle_owners().await.unwrap(), 0);
    let second = store.post(ada, "second");
    projected.deliver(&[store.last()]).await;
    assert_eq!(stored(&views, &projected.views, bob).await, 1);
    assert_eq!(stored(&views, &projected.views, eve).await, 2);
    // The author always has an own copy.
    assert_eq!(stored(&views, &projected.views, ada).await, 2);
    assert_eq!(projected.metrics.idle_skips.get(), 1);
    let header = projected.views.home_timelines.header(bob).await.unwrap();
    assert!(header.idle && !header.covers(second));

    // This wake-up reaches the server too late. Its floor might be below a post that was not copied meanwhile.
    let headers = &projected.views.home_timelines;
    let begun = Utc::now() - TimeDelta::seconds(10);
    headers.wake(bob, begun, timelines().wake_margin).await.unwrap();
    assert_eq!(headers.header(bob).await.unwrap(), header);

    // A reader other than the owner sees everything and wakes nobody.
    assert!(assert_served(&projected, &store, bob).await.idle > 0);
    let mut met = Met::default();
    let seen = served::home_timeline(&projected, bob, Visit::Owner, 3, &mut met).await;
    assert_eq!((seen, met.woken), (vec![second, first], 1));
    let header = projected.views.home_timelines.header(bob).await.unwrap();
    assert!(!header.idle && header.last_read == Some(clock.now()));
    let floor = header.floor.unwrap();

    // A second visitor at the same time changes nothing.
    let higher = Duration::from_secs(3_600);
    headers.wake(bob, clock.now(), higher).await.unwrap();
    assert_eq!(headers.header(bob).await.unwrap().floor, Some(floor));

    clock.advance(Duration::from_secs(10));
    let third = store.post(ada, "third");
    projected.deliver(&[store.last()]).await;
    assert_eq!(entries(&projected.views, bob).await, [third]);
    assert_served(&projected, &store, bob).await;
}

/// Small audiences are fanned out together. Each post must go to the followers of its own author, and to nobody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_many_accounts_post_at_once_goes_to_the_followers_of_each() {
    let (_database, views) = database().await;
    let clock = clock();
    let mut store = Store::new(clock.clone());
    let projected = Projected::new(&views, 1, clock.clone()).await;
    let accounts: Vec<UserId> = (0..12).map(|n| store.register(&format!("account{n}"))).collect();
    // Each account has two followers. The last one has three, which is the limit, so it is large.
    for (n, &account) in accounts.iter().enumerate() {
        for ahead in 1..=2 {
            store.follow(accounts[(n + ahead) % accounts.len()], account);
        }
    }
    let large = accounts[11];
    store.follow(accounts[5], large);
    projected.deliver(&store.log).await;
    let headers = &projected.views.home_timelines;
    for &owner in &accounts {
        headers.note_visit(owner, clock.now()).await.unwrap();
    }
    clock.advance(timelines().idle_after * 2);
    for &owner in accounts.iter().skip(1) {
        headers.note_visit(owner, clock.now()).await.unwrap();
    }
    let idle = accounts[0];
    assert_eq!(projected.projection.mark_idle_owners().await.unwrap(), 1);
    let skipped = projected.metrics.idle_skips.get();

    let posts: Vec<PostId> = accounts.iter().map(|&account| store.post(account, "at once")).collect();
    let posted = store.log[store.log.len() - posts.len()..].iter();
    let handled = posted.map(|post| projected.projection.handle(std::slice::from_ref(post)));
    for outcome in futures_util::future::join_all(handled).await {
        outcome.unwrap();
    }
    for (n, &owner) in accounts.iter().enumerate() {
        let by = |behind: usize| accounts[(n + accounts.len() - behind) % accounts.len()];
        let followed = [by(1), by(2)].into_iter().filter(|&it| it != large && owner != idle);
        let mut copied: Vec<PostId> = followed
            .chain([owner])
            .map(|author| posts[accounts.iter().position(|&it| it == author).unwrap()])
            .collect();
        copied.sort_unstable();
        let mut there = entries_of(&views, &projected.views, owner).await;
        there.sort_unstable();
        assert_eq!(there, copied, "account{n}");
        assert_served(&projected, &store, owner).await;
    }
    // The idle owner follows two accounts, of which one is large.
    assert_eq!(projected.metrics.idle_skips.get() - skipped, 1);
}

#[tokio::test]
async fn an_owner_who_comes_back_meanwhile_is_not_marked_idle() {
    let (_database, views) = database().await;
    let clock = clock();
    let mut store = Store::new(clock.clone());
    let projected = Projected::new(&views, 1, clock.clone()).await;
    let ada = store.register("ada");
    projected.deliver(&store.log).await;
    clock.advance(timelines().idle_after + Duration::from_secs(1));
    projected
        .views
        .home_timelines
        .note_visit(ada, clock.now())
        .await
        .unwrap();
    // A repeated registration does not count as a visit long ago either.
    projected.deliver(&store.log).await;
    assert_eq!(projected.projection.mark_idle_owners().await.unwrap(), 0);
}

#[tokio::test]
async fn a_long_timeline_is_trimmed_and_stays_exact() {
    let (_database, views) = database().await;
    let clock = clock();
    let mut store = Store::new(clock.clone());
    let projected = Projected::new(&views, 1, clock.clone()).await;
    let (ada, bob) = (store.register("ada"), store.register("bob"));
    store.follow(bob, ada);
    let posts: Vec<PostId> = (0..8).map(|n| store.post(ada, &format!("{n}"))).collect();
    projected.deliver(&store.log).await;
    assert_eq!(projected.views.home_timelines.header(bob).await.unwrap().floor, None);
    store.post(ada, "one too many");
    projected.deliver(&[store.last()]).await;
    let header = projected.views.home_timelines.header(bob).await.unwrap();
    assert_eq!(header.floor, Some(posts[4]));
    // A page that began before may still need the entries below the floor.
    store.post(ada, "another");
    projected.deliver(&[store.last()]).await;
    assert_eq!(stored(&views, &projected.views, bob).await, 10);
    clock.advance(timelines().trim_delay);
    store.post(ada, "a minute later");
    projected.deliver(&[store.last()]).await;
    assert_eq!(stored(&views, &projected.views, bob).await, 6);
    assert_eq!(
        projected.views.home_timelines.header(bob).await.unwrap().floor,
        Some(posts[4])
    );
    for owner in [ada, bob] {
        let met = assert_served(&projected, &store, owner).await;
        assert!(met.below_the_floor > 0);
    }
    assert_eq!(
        (projected.metrics.trims.get(), projected.metrics.trimmed_entries.get()),
        (2, 10)
    );
}

#[tokio::test]
async fn a_new_generation_is_filled_from_posts_and_follows() {
    let (_database, views) = database().await;
    let clock = clock();
    let mut store = Store::new(clock.clone());
    let old = Projected::new(&views, 1, clock.clone()).await;
    let (star, bob, eve) = (store.register("star"), store.register("bob"), store.register("eve"));
    let (ada, ida) = (store.register("ada"), store.register("ida"));
    for (follower, followee) in [
        (bob, star),
        (eve, star),
        (ada, star),
        (bob, ada),
        (ida, ada),
        (ida, bob),
    ] {
        store.follow(follower, followee);
    }
    for n in 0..6 {
        let post = store.post(ada, &format!("ada {n}"));
        store.post(star, &format!("star {n}"));
        store.repost(bob, post);
    }
    old.deliver(&store.log).await;
    clock.advance(timelines().idle_after);
    for user in [star, bob, ada, ida] {
        old.views.home_timelines.note_visit(user, clock.now()).await.unwrap();
    }

    let new = Projected::new(&views, 2, clock).await;
    let mut shuffled = store.log.clone();
    shuffled.reverse();
    new.projection.apply_rows_only(&shuffled).await.unwrap();
    for _ in 0..2 {
        new.fill(Some(old.views.clone())).await;
    }
    assert_eq!(new.rows().await, old.rows().await);
    for owner in [star, bob, eve, ada, ida] {
        assert_served(&new, &store, owner).await;
    }
    let header = async |owner| new.views.home_timelines.header(owner).await.unwrap();
    assert_eq!(header(bob).await.large, [star]);
    // An owner who is idle in the old generation is idle in the new one too.
    assert!(header(eve).await.idle && !header(bob).await.idle);
    assert_eq!(stored(&views, &new.views, eve).await, 0);
    assert_eq!(entries(&new.views, ida).await.len(), 4);
    // From now on, events come as in any other generation.
    let post = store.post(ada, "new");
    new.deliver(&[store.last()]).await;
    assert_eq!(entries(&new.views, ida).await[0], post);
    assert_eq!(new.metrics.crossings.get(), 0);
}
