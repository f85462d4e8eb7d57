//! Everything of deleted users is retracted, so that counts are correct.

use std::time::Duration;

use bson::doc;
use event_log::event_store::{EVENTS, RecordedEvent};
use futures_util::TryStreamExt;
use model::ids::{EventId, UserId};
use projector::sweep::{Items, Phase};

use crate::oracle::Oracle;
use crate::world::{DEADLINE, World, eventually};

async fn phase(world: &World, user: UserId) -> Option<Phase> {
    Items::new(&world.views)
        .find(user)
        .await
        .unwrap()
        .map(|item| item.phase)
}

async fn reaches(world: &World, user: UserId, expected: Phase) {
    eventually(&format!("the sweep reaches {expected:?}"), DEADLINE, async || {
        phase(world, user).await == Some(expected)
    })
    .await;
}

/// The types of the events that a deletion caused.
async fn retractions(world: &World, tombstone: EventId) -> Vec<String> {
    let events = world.store.database().collection::<RecordedEvent>(EVENTS);
    let caused: Vec<RecordedEvent> = events
        .find(doc! { "causation_id": tombstone })
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    let mut types: Vec<String> = caused.into_iter().map(|event| event.event_type).collect();
    types.sort_unstable();
    types
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_pass_retracts_everything_and_the_last_one_what_came_after() {
    let world = World::new().await;
    let users = world.users(5).await;
    let [gone, friend, fan, other, foe] = users[..] else {
        unreachable!()
    };
    world.request(gone, fan).await;
    world.request(other, gone).await;
    for (one, another) in [(gone, foe), (foe, gone)] {
        world.block(one, another, true, [0, 0]).await;
        world.mute(one, another).await;
    }
    world.follow(gone, friend).await;
    world.follow(fan, gone).await;
    world.follow(fan, friend).await;
    let theirs = world.post(gone, "mine").await;
    let answered = world.post(friend, "hello").await;
    world.reply(gone, "hello to you", answered).await;
    world.like(gone, answered).await;
    world.repost(gone, answered).await;
    world.follow_tag(gone, "Rust").await;
    world.filter(gone, "spoiler").await;
    world.list(gone, &[friend, foe]).await;
    let theirs_too = world.list(fan, &[gone, friend]).await;
    // What others did to the user's posts stays, because it is not the user's.
    world.like(fan, theirs).await;

    let projector = world.projector().await;
    let tombstone = world.delete_user(gone).await;
    reaches(&world, gone, Phase::Last).await;
    world.caught_up().await;
    let swept = retractions(&world, tombstone.id).await;
    let expected = [
        "block.unblocked",
        "block.unblocked",
        "filter.deleted",
        "follow.cancelled",
        "follow.cancelled",
        "follow.unfollowed",
        "follow.unfollowed",
        "like.unliked",
        "list.deleted",
        "list_member.removed",
        "list_member.removed",
        "list_member.removed",
        "list_tag.removed",
        "mute.unmuted",
        "mute.unmuted",
        "post.deleted",
        "post.deleted",
        "repost.unreposted",
        "tag.unfollowed",
    ];
    assert_eq!(swept, expected);
    // The place is free for somebody else.
    let listed = world.active_views().await.list_members.all_of_list(theirs_too).await;
    assert_eq!(listed.unwrap(), [friend]);
    Oracle::of(&world.store)
        .await
        .assert_shown_by(&world.active_views().await)
        .await;

    // An access token stays valid for a while, and somebody uses it.
    world.post(gone, "one more").await;
    world.follow(gone, other).await;
    world.caught_up().await;
    world.clock.advance(Duration::from_secs(15 * 60));
    // Another deletion is swept meanwhile. A pass of this user would have been due before it.
    world.delete_user(other).await;
    reaches(&world, other, Phase::Last).await;
    assert_eq!(phase(&world, gone).await, Some(Phase::Last));
    world.clock.advance(Duration::from_secs(61));
    reaches(&world, gone, Phase::Done).await;
    world.caught_up().await;
    let swept = retractions(&world, tombstone.id).await;
    // The follow of the other user was retracted by whichever sweep came first.
    assert_eq!(swept.iter().filter(|kind| *kind == "post.deleted").count(), 3);
    let oracle = Oracle::of(&world.store).await;
    oracle.assert_shown_by(&world.active_views().await).await;
    assert_eq!(oracle.home(fan).len(), 1);
    projector.stop().await;
}

/// The command read its user before the deletion, and wrote after the sweep had searched for its writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_command_under_way_has_written_is_found_by_a_second_look() {
    let world = World::new().await;
    let users = world.users(2).await;
    let [gone, friend] = users[..] else { unreachable!() };
    let post = world.post(friend, "hello").await;
    world.like(gone, post).await;
    let mut config = world.config();
    config.sweep.settle_after = Duration::from_secs(10 * 60);
    let projector = world.projector_with(config).await;
    let tombstone = world.delete_user(gone).await;
    let items = Items::new(&world.views);
    eventually("the first look finds nothing any more", DEADLINE, async || {
        let item = items.find(gone).await.unwrap();
        item.is_some_and(|item| item.due_at > item.deleted_at)
    })
    .await;
    assert_eq!(phase(&world, gone).await, Some(Phase::First));
    assert_eq!(retractions(&world, tombstone.id).await, ["like.unliked"]);

    world.follow(gone, friend).await;
    world.caught_up().await;
    world.clock.advance(Duration::from_secs(10 * 60));
    reaches(&world, gone, Phase::Last).await;
    assert_eq!(
        retractions(&world, tombstone.id).await,
        ["follow.unfollowed", "like.unliked"]
    );
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweep_survives_a_restart_at_any_time() {
    let world = World::new().await;
    let users = world.users(12).await;
    let gone = users[0];
    for &user in &users[1..] {
        world.follow(user, gone).await;
        world.follow(gone, user).await;
    }
    for number in 0..40 {
        world.post(gone, &format!("number {number}")).await;
    }
    let tombstone = world.delete_user(gone).await;
    let hasty: &[(&str, &str)] = &[
        ("MICROBLOG__SUBSCRIPTIONS__LEASE_DURATION", "3s"),
        ("MICROBLOG__SUBSCRIPTIONS__RENEW_EVERY", "1s"),
        ("MICROBLOG__SUBSCRIPTIONS__HEARTBEAT_EVERY", "1s"),
        ("MICROBLOG__SUBSCRIPTIONS__IDLE_CHECKPOINT_EVERY", "300ms"),
        ("MICROBLOG__SWEEP__LOOK_EVERY", "50ms"),
        ("MICROBLOG__SWEEP__SETTLE_AFTER", "1s"),
        ("MICROBLOG__SWEEP__CONCURRENCY", "1"),
    ];
    for so_many in [1, 20, 45] {
        let process = world.process(hasty);
        eventually("it retracts", DEADLINE, async || {
            retractions(&world, tombstone.id).await.len() >= so_many
        })
        .await;
        process.kill();
    }
    let process = world.process(hasty);
    reaches(&world, gone, Phase::Last).await;
    world.caught_up().await;
    // Each was retracted once, although the sweep asked for some twice.
    assert_eq!(retractions(&world, tombstone.id).await.len(), 11 + 11 + 40);
    Oracle::of(&world.store)
        .await
        .assert_shown_by(&world.active_views().await)
        .await;
    assert_eq!(process.terminate().await, Some(0));
}
