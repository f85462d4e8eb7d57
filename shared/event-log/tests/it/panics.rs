//! A panic ends nothing unnoticed.

use std::sync::Arc;

use async_trait::async_trait;
use event_log::event_store::{EventStore, Retries};
use event_log::mongo::Databases;
use event_log::subscription::dead_letters::DeadLetters;
use event_log::subscription::{Delivery, Handler, HandlerError, SubscriptionMetrics, SubscriptionSettings};
use model::clock::SystemClock;
use model::ids::EventId;

use crate::event_store::{append, followed};
use crate::world::{DEADLINE, Recorder, Told, Trap, World, eventually, settings, start_by, user, user_of};

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_a_handler_panics_on_is_a_dead_letter_and_the_partition_goes_on() {
    let world = World::new().await;
    let recorder = Recorder::new();
    let metrics = SubscriptionMetrics::default();
    let told = Told::by(&metrics);
    let (ada, bob) = (user(), user());
    let (poisoned, _) = append(&world.store, followed(ada, bob, true), 0).await;
    recorder.panics.lock().unwrap().insert(poisoned.id);
    let (behind, _) = append(&world.store, followed(ada, bob, false), 1).await;
    let other = world.follow(bob).await;
    let running = world.start_with(&recorder, settings(), metrics);
    recorder.wait_for_all(&[other]).await;
    let letters = DeadLetters::new(&world.views);
    eventually("both are put aside", || async {
        letters.list().await.unwrap().len() == 2
    })
    .await;
    let listed = letters.list().await.unwrap();
    assert!(
        listed[0].event == poisoned.id && listed[0].reason.contains("panicked"),
        "{listed:?}"
    );
    assert!(listed[1].event == behind.id && listed[1].queued_behind, "{listed:?}");
    world.wait_for_checkpoints(world.store.mark_all().await.unwrap()).await;
    running.stop().await;
    // One for the batch, and then each attempt at the event.
    assert_eq!(told.value("retries_total"), Some(f64::from(1 + settings().attempts)));
    assert_eq!(told.value("dead_letters_total"), Some(2.0));
    assert_eq!(told.value("restarts_total"), None);
}

/// Only the task that saves checkpoints writes marks here, and each mark reads the clock.
#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_go_on_after_the_task_that_saves_them_has_panicked() {
    let world = World::new().await;
    let (trap, recorder) = (Arc::new(Trap::default()), Recorder::new());
    let store = EventStore::open(world.store.database().clone(), trap.clone(), Retries::default());
    let databases = Databases::of(world.store.database().clone(), world.views.clone());
    let quiet = SubscriptionSettings {
        heartbeat_every: 10 * DEADLINE,
        stream_silence: 20 * DEADLINE,
        ..settings()
    };
    let metrics = SubscriptionMetrics::default();
    let told = Told::by(&metrics);
    let running = start_by(
        SystemClock::shared(),
        &store.await.unwrap(),
        &databases,
        &recorder,
        quiet,
        metrics,
    );
    let (_, position) = append(&world.store, followed(user(), user(), true), 0).await;
    world.wait_for_checkpoints(position).await;
    trap.set();
    let second = world.follow(user()).await;
    recorder.wait_for_all(&[second]).await;
    eventually("the trap is sprung", || async { trap.is_sprung() }).await;
    let (third, position) = append(&world.store, followed(user(), user(), true), 0).await;
    recorder.wait_for_all(&[third.id]).await;
    world.wait_for_checkpoints(position).await;
    running.stop().await;
    assert_eq!(told.value("restarts_total"), Some(1.0));
}

/// Sets a trap for the task that records the dead letter, because a dead letter reads the clock.
#[derive(Debug)]
struct Trapping {
    recorder: Arc<Recorder>,
    poisoned: EventId,
    trap: Arc<Trap>,
}

#[async_trait]
impl Handler for Trapping {
    async fn handle(&self, batch: &[Delivery]) -> Result<(), HandlerError> {
        let outcome = self.recorder.handle(batch).await;
        // One for the batch, and then each attempt at the event.
        let last = 1 + settings().attempts;
        if self.recorder.refusals.lock().unwrap().get(&self.poisoned) == Some(&last) {
            self.trap.set();
        }
        outcome
    }
}

/// A scan finds the event. What the task has received when it panics must not count as handled.
#[tokio::test(flavor = "multi_thread")]
async fn a_partition_goes_on_after_its_task_has_panicked() {
    let world = World::new().await;
    let poisoned = world.follow(user_of(1)).await;
    let trapping = Arc::new(Trapping {
        recorder: Recorder::new(),
        poisoned,
        trap: Arc::default(),
    });
    let recorder = &trapping.recorder;
    recorder.refused.lock().unwrap().insert(poisoned);
    let databases = Databases::of(world.store.database().clone(), world.views.clone());
    let quiet = SubscriptionSettings {
        heartbeat_every: 10 * DEADLINE,
        stream_silence: 20 * DEADLINE,
        ..settings()
    };
    let metrics = SubscriptionMetrics::default();
    let told = Told::by(&metrics);
    let clock = trapping.trap.clone();
    let running = start_by(clock, &world.store, &databases, &trapping, quiet, metrics);
    let letters = DeadLetters::new(&world.views);
    eventually("it is put aside", || async { letters.list().await.unwrap().len() == 1 }).await;
    let (after, position) = append(&world.store, followed(user(), user_of(1), true), 0).await;
    recorder.wait_for_all(&[after.id]).await;
    world.wait_for_checkpoints(position).await;
    running.stop().await;
    assert_eq!(told.value("restarts_total"), Some(1.0));
}
