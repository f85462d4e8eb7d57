//! Subscriptions against a database: checkpoints, dead letters, rollovers of the oplog.

use std::collections::HashSet;
use std::sync::Arc;

use bson::{Document, doc};
use chrono::Utc;
use event_log::event_store::Envelope;
use event_log::position::Position;
use event_log::subscription::dead_letters::{DeadLetters, Request};
use event_log::subscription::{SubscriptionMetrics, SubscriptionSettings};
use model::ids::{EventId, Partition};
use tokio_util::sync::CancellationToken;

use crate::event_store::{append, followed, post_created};
use crate::world::{Recorder, Told, World, eventually, settings, user, user_of};

#[tokio::test(flavor = "multi_thread")]
async fn events_from_before_and_after_the_start_are_handled_in_order() {
    let world = World::new().await;
    let followee = user();
    let mut expected = Vec::new();
    for _ in 0..20 {
        expected.push(world.follow(followee).await);
    }
    // A scan is in the order of ids, and ids of the same millisecond have no order.
    expected.sort_unstable();
    let recorder = Recorder::new();
    let running = world.start(&recorder);
    recorder.wait_for_all(&expected).await;
    for _ in 0..20 {
        expected.push(world.follow(followee).await);
    }
    recorder.wait_for_all(&expected).await;
    running.stop().await;

    let handled = recorder.handled();
    let firsts: Vec<_> = expected
        .iter()
        .map(|id| handled.iter().position(|other| other == id).unwrap())
        .collect();
    assert!(firsts.is_sorted(), "{firsts:?}");
}

/// No event may be missed between the scan and the stream, however many writes are being committed.
#[tokio::test(flavor = "multi_thread")]
async fn events_appended_while_a_subscription_starts_are_handled() {
    for _ in 0..5 {
        let world = Arc::new(World::new().await);
        let stop = CancellationToken::new();
        let writers: Vec<_> = (0..8)
            .map(|_| {
                let (world, stop) = (world.clone(), stop.clone());
                tokio::spawn(async move {
                    let mut ids = Vec::new();
                    while !stop.is_cancelled() {
                        ids.push(world.follow(user()).await);
                    }
                    ids
                })
            })
            .collect();
        let recorder = Recorder::new();
        let running = world.start(&recorder);
        recorder.wait_for(|handled| handled.len() > 100).await;
        let barrier = world.store.mark_all().await.unwrap();
        world.wait_for_checkpoints(barrier).await;
        stop.cancel();
        for writer in writers {
            recorder.wait_for_all(&writer.await.unwrap()).await;
        }
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_below_a_checkpoint_are_not_handled_again() {
    let world = World::new().await;
    let recorder = Recorder::new();
    let running = world.start(&recorder);
    let ids = [world.follow(user()).await, world.follow(user()).await];
    recorder.wait_for_all(&ids).await;
    let barrier = world.store.mark_all().await.unwrap();
    world.wait_for_checkpoints(barrier).await;
    running.stop().await;

    let second = Recorder::new();
    let running = world.start(&second);
    let fresh = world.follow(user()).await;
    second.wait_for_all(&[fresh]).await;
    running.stop().await;
    assert_eq!(second.handled(), [fresh]);
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_without_events_keep_up_by_heartbeats() {
    let world = World::new().await;
    let recorder = Recorder::new();
    let running = world.start(&recorder);
    let barrier = world.store.mark(Partition::new(7).unwrap()).await.unwrap();
    // Nothing more is written, so that only the heartbeat can move the other 63 past the mark.
    world.wait_for_checkpoints(barrier).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_waits_through_an_outage() {
    let world = World::new().await;
    let recorder = Recorder::new();
    *recorder.outages.lock().unwrap() = 12;
    let metrics = SubscriptionMetrics::default();
    let told = Told::by(&metrics);
    let running = world.start_with(&recorder, settings(), metrics);
    let id = world.follow(user()).await;
    recorder.wait_for_all(&[id]).await;
    running.stop().await;
    assert_eq!(told.value("retries_total"), Some(12.0));
    assert_eq!(told.value("dead_letters_total"), None);
    assert!(DeadLetters::new(&world.views).list().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_event_holds_up_its_stream_and_nothing_else() {
    let world = World::new().await;
    let recorder = Recorder::new();
    let (ada, bob) = (user(), user());
    let (poisoned, _) = append(&world.store, followed(ada, bob, true), 0).await;
    recorder.refused.lock().unwrap().insert(poisoned.id);
    let (behind, _) = append(&world.store, followed(ada, bob, false), 1).await;
    let other = world.follow(bob).await;

    let running = world.start(&recorder);
    recorder.wait_for_all(&[other]).await;
    let letters = DeadLetters::new(&world.views);
    eventually("both are put aside", || async {
        letters.list().await.unwrap().len() == 2
    })
    .await;
    let listed = letters.list().await.unwrap();
    assert_eq!((listed[0].event, listed[0].queued_behind), (poisoned.id, false));
    assert_eq!((listed[1].event, listed[1].queued_behind), (behind.id, true));
    assert!(!recorder.handled().contains(&behind.id));
    assert!(recorder.refusals.lock().unwrap()[&poisoned.id] >= 5);

    // If a retry fails, the letter stays. If it succeeds, those behind it follow in order.
    let reached = letters.request(poisoned.id, Request::Retry).await.unwrap();
    world.store.wake(reached[0].partition).await.unwrap();
    eventually("the retry was refused", || async {
        !letters.list().await.unwrap()[0].retry_requested
    })
    .await;
    recorder.refused.lock().unwrap().clear();
    letters.request(poisoned.id, Request::Retry).await.unwrap();
    world.store.wake(bob.partition()).await.unwrap();
    recorder.wait_for_all(&[poisoned.id, behind.id]).await;
    eventually("no letter is left", || async {
        letters.list().await.unwrap().is_empty()
    })
    .await;
    let handled = recorder.handled();
    let place = |id| handled.iter().position(|&other| other == id).unwrap();
    assert!(place(poisoned.id) < place(behind.id));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_discarded_letter_lets_its_stream_go_on_and_stays_on_record() {
    let world = World::new().await;
    let recorder = Recorder::new();
    let (ada, bob) = (user(), user());
    let (poisoned, _) = append(&world.store, followed(ada, bob, true), 0).await;
    recorder.refused.lock().unwrap().insert(poisoned.id);
    let (behind, _) = append(&world.store, followed(ada, bob, false), 1).await;
    let running = world.start(&recorder);
    let letters = DeadLetters::new(&world.views);
    eventually("both are put aside", || async {
        letters.list().await.unwrap().len() == 2
    })
    .await;

    letters.request(poisoned.id, Request::Discard).await.unwrap();
    world.store.wake(bob.partition()).await.unwrap();
    recorder.wait_for_all(&[behind.id]).await;
    let (next, _) = append(&world.store, followed(ada, bob, true), 2).await;
    recorder.wait_for_all(&[next.id]).await;
    assert_eq!(letters.discarded(|name| name == "test").await.unwrap(), [poisoned.id]);
    assert_eq!(letters.discarded(|name| name != "test").await.unwrap(), []);
    running.stop().await;
}

/// Those of a batch are found without reading the others.
#[tokio::test(flavor = "multi_thread")]
async fn discarded_events_are_found_by_their_ids() {
    let world = World::new().await;
    let letters = DeadLetters::new(&world.views);
    letters.ensure().await.unwrap();
    assert!(!letters.any_discarded().await.unwrap());
    let (event, _) = append(&world.store, post_created(user(), "discarded"), 0).await;
    let other = EventId::new(Utc::now());
    for name in ["one", "other"] {
        let envelope = Envelope::from(&event);
        letters
            .record(name, &envelope, "it was bad", false, Utc::now())
            .await
            .unwrap();
    }
    let asked = || [event.id, other].into_iter();
    assert_eq!(
        letters.discarded_among(asked(), |_| true).await.unwrap(),
        HashSet::new()
    );
    letters.request(event.id, Request::Discard).await.unwrap();
    assert!(letters.any_discarded().await.unwrap());
    let of = async |name: &str| letters.discarded_among(asked(), |it| it == name).await.unwrap();
    assert_eq!(of("one").await, HashSet::from([event.id]));
    assert_eq!(of("nobody").await, HashSet::new());
    let explained = doc! {
        "explain": { "find": "dead_letters", "filter": { "discarded": true, "event": { "$in": [event.id] } } },
        "verbosity": "queryPlanner",
    };
    let plan = world.views.run_command(explained).await.unwrap();
    assert!(plan.to_string().contains("\"discards\""), "{plan}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_queue_delays_no_other_partition() {
    let world = World::new().await;
    let recorder = Recorder::new();
    let slow = user_of(1);
    *recorder.shut_for.lock().unwrap() = Some(slow);
    let running = world.start_with(
        &recorder,
        SubscriptionSettings {
            window: 4,
            ..settings()
        },
        SubscriptionMetrics::default(),
    );
    let mut queued = Vec::new();
    for _ in 0..50 {
        queued.push(world.follow(slow).await);
    }
    let quick = world.follow(user_of(2)).await;
    recorder.wait_for_all(&[quick]).await;
    assert!(queued.iter().all(|id| !recorder.handled().contains(id)));
    recorder.gate.add_permits(1_000);
    recorder.wait_for_all(&queued).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_replaces_a_checkpoint_older_than_the_oplog() {
    let world = World::new().await;
    let recorder = Recorder::new();
    let before = world.follow(user_of(9)).await;
    let running = world.start(&recorder);
    recorder.wait_for_all(&[before]).await;
    running.stop().await;
    // A document that is no event stops nothing.
    world
        .store
        .database()
        .collection::<Document>("events")
        .insert_one(doc! { "_id": EventId::new(Utc::now()), "partition": 9, "nonsense": true })
        .await
        .unwrap();
    let missed = world.follow(user_of(9)).await;
    // A time long before the oplog's first entry.
    let ancient = Position::from(bson::Timestamp {
        time: 1_000,
        increment: 1,
    });
    let leases = world.views.collection::<Document>("leases");
    leases
        .update_many(doc! {}, doc! { "$set": { "position": ancient } })
        .await
        .unwrap();

    let second = Recorder::new();
    let metrics = SubscriptionMetrics::default();
    let told = Told::by(&metrics);
    let running = world.start_with(&second, settings(), metrics);
    second.wait_for_all(&[before, missed]).await;
    let barrier = world.store.mark_all().await.unwrap();
    world.wait_for_checkpoints(barrier).await;
    running.stop().await;
    assert_eq!(told.value("scans_total"), Some(1.0));
    assert_eq!(told.value("dead_letters_total"), Some(1.0), "what is no event");
    assert_eq!(told.value("events_handled_total"), Some(2.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_of_some_types_gets_no_others_and_keeps_up() {
    let world = World::new().await;
    let recorder = Recorder::of_types(Some(&["follow.unfollowed"]));
    let (ada, bob) = (user(), user());
    append(&world.store, followed(ada, bob, true), 0).await;
    let (scanned, _) = append(&world.store, followed(ada, bob, false), 1).await;
    let running = world.start(&recorder);
    recorder.wait_for_all(&[scanned.id]).await;
    append(&world.store, followed(ada, bob, true), 2).await;
    let (streamed, _) = append(&world.store, followed(ada, bob, false), 3).await;
    recorder.wait_for_all(&[streamed.id]).await;
    let barrier = world.store.mark_all().await.unwrap();
    world.wait_for_checkpoints(barrier).await;
    running.stop().await;
    let handled: HashSet<EventId> = recorder.handled().into_iter().collect();
    assert_eq!(handled, HashSet::from([scanned.id, streamed.id]));
}

/// Writes that an owner of the earlier leases has under way must be refused.
#[tokio::test(flavor = "multi_thread")]
async fn leases_that_are_made_again_have_new_fences() {
    let world = World::new().await;
    let fences = async || {
        world.leases().ensure(Position::ORIGIN, 0).await.unwrap();
        let all = world.leases().all().await.unwrap();
        all.into_iter().map(|lease| lease.fence).max().unwrap()
    };
    let before = fences().await;
    world.leases().remove().await.unwrap();
    let anew = fences().await;
    assert!(before != anew, "{before}");
}
