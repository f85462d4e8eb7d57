//! From events to views, by one projector or by several of which some die.

use std::time::Duration;

use bson::Document;
use model::ids::{PARTITIONS, PostId, UserId};
use views::collection_name;

use crate::oracle::Oracle;
use crate::world::{DEADLINE, World, eventually};

/// Writes some of every kind of event.
async fn some_history(world: &World, users: &[UserId], round: usize) -> Vec<PostId> {
    let mut posts = Vec::new();
    for (number, &user) in users.iter().enumerate() {
        let next = users[(number + 1) % users.len()];
        if round == 0 {
            world.follow(user, next).await;
        }
        let post = world.post(user, &format!("round {round} by #{number}")).await;
        let reply = world.reply(next, "indeed", post).await;
        world.like(next, post).await;
        world.repost(next, post).await;
        if number % 3 == 0 {
            world.delete_post(reply).await;
        }
        posts.push(post);
    }
    posts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_become_views() {
    let world = World::new().await;
    let projector = world.projector().await;
    let users = world.users(6).await;
    some_history(&world, &users, 0).await;
    world.unfollow(users[0], users[1]).await;
    world.caught_up().await;
    let oracle = Oracle::of(&world.store).await;
    oracle.assert_shown_by(&world.active_views().await).await;
    assert_eq!(
        oracle.home(users[0]).len(),
        3,
        "its own post and reply were deleted or reposted as written above"
    );
    projector.stop().await;
}

/// The control document, the leases of all subscriptions, and all rows and indexes are removed under running projectors.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_that_are_lost_are_made_anew() {
    let world = World::new().await;
    let projector = world.projector().await;
    let users = world.users(4).await;
    some_history(&world, &users, 0).await;
    world.caught_up().await;
    world.views.drop().await.unwrap();
    // An index that the stand-in builds while a transaction writes may miss the transaction's rows. MongoDB's indexes miss none.
    eventually("the indexes are made again", DEADLINE, async || {
        let last = world
            .views
            .collection::<Document>(&collection_name("notification_groups", 1));
        last.list_index_names().await.is_ok_and(|names| names.len() == 2)
    })
    .await;
    some_history(&world, &users, 1).await;
    world.caught_up().await;
    let views = world.active_views().await;
    Oracle::of(&world.store).await.assert_shown_by(&views).await;
    eventually("the deletions are handled again", DEADLINE, async || {
        world.leases("sweep").await.len() == usize::from(PARTITIONS)
    })
    .await;
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_appended_before_the_first_start_is_scanned() {
    let world = World::new().await;
    let users = world.users(4).await;
    some_history(&world, &users, 0).await;
    let projector = world.projector().await;
    world.caught_up().await;
    Oracle::of(&world.store)
        .await
        .assert_shown_by(&world.active_views().await)
        .await;
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_and_metrics_say_how_it_is() {
    let world = World::new().await;
    let projector = world.projector().await;
    eventually("it is ready", DEADLINE, async || {
        projector.get("/readyz").await.0 == 200
    })
    .await;
    assert_eq!(projector.get("/livez").await.0, 200);
    assert_eq!(projector.get("/healthz").await.0, 200);
    assert_eq!(projector.get("/v1/posts").await.0, 404);
    let users = world.users(2).await;
    some_history(&world, &users, 0).await;
    world.caught_up().await;
    let metrics = projector.get("/metrics").await.1;
    let value = |name: &str| {
        let line = metrics
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap_or_else(|| panic!("{name} in {metrics}"));
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    assert!(
        metrics.contains("subscription_events_handled_total{subscription=\"views-g1\",partition="),
        "{metrics}"
    );
    assert!(value("subscription_lag_seconds{subscription=\"views-g1\"}") < 60.0);
    assert!((value("subscription_leases_held{subscription=\"views-g1\"}") - 64.0).abs() < 0.1);
    assert!((value("views_generation_active") - 1.0).abs() < 0.1);
    assert!(value("views_fanned_out_entries_total") > 0.0);
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_projector_that_ends_in_order_gives_everything_back() {
    let world = World::new().await;
    let first = world.projector().await;
    let users = world.users(3).await;
    some_history(&world, &users, 0).await;
    world.caught_up().await;
    first.stop().await;
    for subscription in ["views-g1", "sweep"] {
        let leases = world.leases(subscription).await;
        assert!(
            leases.len() == 64 && leases.iter().all(|lease| lease.owner.is_none()),
            "{leases:?}"
        );
    }
    // The next process need not wait for leases to run out.
    let second = world.projector().await;
    some_history(&world, &users, 1).await;
    world.caught_up().await;
    Oracle::of(&world.store)
        .await
        .assert_shown_by(&world.active_views().await)
        .await;
    second.stop().await;
}

/// The real programs, with the default settings.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_projectors_one_is_killed_and_nothing_is_lost() {
    let world = World::new().await;
    let (one, two) = (world.process(&[]), world.process(&[]));
    let users = world.users(8).await;
    eventually("both have their share", DEADLINE, async || {
        let leases = world.leases("views-g1").await;
        let owners: std::collections::BTreeSet<_> = leases.iter().map(|lease| lease.owner.as_deref()).collect();
        owners.len() == 2 && !owners.contains(&None)
    })
    .await;
    some_history(&world, &users, 0).await;
    one.kill();
    let taking_over = eventually("the other one has taken over", Duration::from_secs(10), async || {
        let leases = world.leases("views-g1").await;
        leases.windows(2).all(|pair| pair[0].owner == pair[1].owner)
    });
    tokio::join!(taking_over, some_history(&world, &users, 1));
    world.caught_up().await;
    Oracle::of(&world.store)
        .await
        .assert_shown_by(&world.active_views().await)
        .await;
    assert_eq!(two.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_again_and_again_under_writes_it_loses_nothing() {
    let world = World::new().await;
    let hasty: &[(&str, &str)] = &[
        ("MICROBLOG__SUBSCRIPTIONS__LEASE_DURATION", "3s"),
        ("MICROBLOG__SUBSCRIPTIONS__RENEW_EVERY", "1s"),
    ];
    let users = world.users(6).await;
    let writing = async {
        for round in 0..4 {
            some_history(&world, &users, round).await;
        }
    };
    let killing = async {
        for _ in 0..3 {
            let process = world.process(hasty);
            let before = world.leases("views-g1").await;
            // It has taken the leases and written something, or everything was written already.
            eventually("it works", DEADLINE, async || {
                let now = world.leases("views-g1").await;
                !now.is_empty()
                    && now
                        .iter()
                        .any(|lease| before.iter().all(|it| it.position < lease.position))
            })
            .await;
            process.kill();
        }
    };
    tokio::join!(writing, killing);
    let last = world.process(hasty);
    world.caught_up().await;
    Oracle::of(&world.store)
        .await
        .assert_shown_by(&world.active_views().await)
        .await;
    assert_eq!(last.terminate().await, Some(0));
}
