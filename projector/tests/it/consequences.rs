//! A block ends follows, and an account that is no longer protected accepts the requests that wait.

use std::time::Duration;

use model::ids::{EventId, UserId};
use projector::consequences::{Items, Look};

use crate::world::{DEADLINE, Running, World, eventually};

/// The first look is done. The second one waits for the clock.
async fn looked_once(world: &World, event: EventId) {
    let items = Items::new(&world.views);
    eventually("the first look is done", DEADLINE, async || {
        let item = items.find(event).await.unwrap();
        item.is_some_and(|item| item.look == Look::Second)
    })
    .await;
}

async fn completed(world: &World, event: EventId) {
    let items = Items::new(&world.views);
    eventually("nothing is left to do", DEADLINE, async || {
        items.find(event).await.unwrap().is_none()
    })
    .await;
}

const SETTLE_AFTER: Duration = Duration::from_secs(10 * 60);

/// A projector whose second look comes when the test moves the clock.
async fn projector(world: &World) -> Running {
    let mut config = world.config();
    config.sweep.settle_after = SETTLE_AFTER;
    world.projector_with(config).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_ends_what_there_is_and_what_a_command_under_way_has_written() {
    let world = World::new().await;
    let [ada, bob] = world.users(2).await[..] else {
        unreachable!()
    };
    world.follow(ada, bob).await;
    let projector = projector(&world).await;
    let block = world.block(ada, bob, true, [1, 0]).await.id;
    looked_once(&world, block).await;
    assert_eq!(world.last_of_follow(ada, bob).await, "follow.removed");

    // The command has read "no block" just before the block.
    world.follow(bob, ada).await;
    world.clock.advance(SETTLE_AFTER);
    completed(&world, block).await;
    assert_eq!(world.last_of_follow(bob, ada).await, "follow.removed");
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_that_is_over_ends_only_what_it_named() {
    let world = World::new().await;
    let [ada, bob] = world.users(2).await[..] else {
        unreachable!()
    };
    world.follow(ada, bob).await;
    let block = world.block(ada, bob, true, [1, 0]).await.id;
    world.block(ada, bob, false, [1, 0]).await;
    world.follow(bob, ada).await;
    let projector = projector(&world).await;
    looked_once(&world, block).await;
    world.clock.advance(SETTLE_AFTER);
    completed(&world, block).await;
    assert_eq!(world.last_of_follow(ada, bob).await, "follow.removed");
    assert_eq!(world.last_of_follow(bob, ada).await, "follow.followed");
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_accepted_until_the_account_is_protected_again() {
    let world = World::new().await;
    let [ada, bob, eve] = world.users(3).await[..] else {
        unreachable!()
    };
    world.protect(ada, true).await;
    world.request(bob, ada).await;
    let projector = projector(&world).await;
    let open = world.protect(ada, false).await.id;
    looked_once(&world, open).await;
    assert_eq!(world.last_of_follow(bob, ada).await, "follow.accepted");

    // The command has read "protected" just before the end of the protection.
    world.request(eve, ada).await;
    world.clock.advance(SETTLE_AFTER);
    completed(&world, open).await;
    assert_eq!(world.last_of_follow(eve, ada).await, "follow.accepted");

    let again = world.users(1).await[0];
    let open = world.protect(ada, false).await.id;
    world.protect(ada, true).await;
    looked_once(&world, open).await;
    world.request(again, ada).await;
    world.clock.advance(SETTLE_AFTER);
    completed(&world, open).await;
    assert_eq!(world.last_of_follow(again, ada).await, "follow.requested");
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_number_of_requests_is_accepted_through_kills() {
    const REQUESTS: usize = 2_500;
    let world = World::new().await;
    let ada = world.users(1).await[0];
    world.protect(ada, true).await;
    let now = model::clock::Clock::now(&*world.clock);
    let followers: Vec<UserId> = (0..REQUESTS).map(|_| UserId::new(now)).collect();
    for &follower in &followers {
        world.request(follower, ada).await;
    }
    let open = world.protect(ada, false).await.id;
    let hasty: &[(&str, &str)] = &[
        ("MICROBLOG__SUBSCRIPTIONS__LEASE_DURATION", "3s"),
        ("MICROBLOG__SUBSCRIPTIONS__RENEW_EVERY", "1s"),
        ("MICROBLOG__SUBSCRIPTIONS__HEARTBEAT_EVERY", "1s"),
        ("MICROBLOG__SWEEP__LOOK_EVERY", "50ms"),
        ("MICROBLOG__SWEEP__SETTLE_AFTER", "1s"),
    ];
    for so_many in [1, 1_100] {
        let process = world.process(hasty);
        eventually("it accepts", DEADLINE, async || accepted(&world).await >= so_many).await;
        process.kill();
    }
    let process = world.process(hasty);
    completed(&world, open).await;
    assert_eq!(accepted(&world).await, REQUESTS as u64);
    for &follower in followers.iter().step_by(100) {
        let stream = model::events::StreamId::follow(follower, ada);
        assert_eq!(world.store.read_stream(&stream).await.unwrap().len(), 2);
    }
    assert_eq!(process.terminate().await, Some(0));
}

async fn accepted(world: &World) -> u64 {
    let events = world.store.database().collection::<bson::Document>("events");
    let accepted = bson::doc! { "type": "follow.accepted" };
    events.count_documents(accepted).await.unwrap()
}
