//! The stream is read only while there is room for its events.

use std::time::Duration;

use bson::{Document, doc};
use event_log::subscription::{SubscriptionMetrics, SubscriptionSettings};

use crate::world::{Recorder, Told, World, eventually, settings, user_of};

/// A handler stands still while many events are written. Then the stream waits, but nothing else does: leases are renewed, a stream that
/// waits for room does not count as broken, and marks do not pile up behind it.
#[tokio::test(flavor = "multi_thread")]
async fn queued_events_take_no_more_memory_than_allowed() {
    const MOST: u32 = 64 * 1024;
    let world = World::new().await;
    let recorder = Recorder::new();
    let slow = user_of(1);
    *recorder.shut_for.lock().unwrap() = Some(slow);
    let metrics = SubscriptionMetrics::default();
    let told = Told::by(&metrics);
    let narrow = SubscriptionSettings {
        queue_bytes: MOST,
        stream_silence: Duration::from_millis(500),
        ..settings()
    };
    let running = world.start_with(&recorder, narrow, metrics);
    world.wait_for_checkpoints(world.store.mark_all().await.unwrap()).await;
    let opened = told.value("streams_opened_total");
    let lease = async || {
        let all = world.leases().all().await.unwrap();
        all.into_iter()
            .find(|lease| lease.partition == slow.partition())
            .unwrap()
    };
    let before = lease().await;

    let mut queued = Vec::new();
    for _ in 0..300 {
        queued.push(world.follow(slow).await);
        let bytes = told.value("queue_bytes").unwrap();
        assert!(bytes <= f64::from(MOST), "{bytes}");
    }
    let elsewhere = world.follow(user_of(2)).await;
    // An event takes more than 1 KiB, so that less than a quarter of them fits.
    eventually("there is no room left", || async {
        told.value("queue_bytes").unwrap() > f64::from(MOST - 2 * 1024)
    })
    .await;
    assert!(told.value("backlog_events").unwrap() < 64.0);
    let marks = world.store.database().collection::<Document>("marks");
    let written = marks.count_documents(doc! {}).await.unwrap();
    // Longer than a lease lasts, and than a stream may be silent.
    eventually("it is renewed", || async { lease().await.beat > before.beat + 15 }).await;
    let now = lease().await;
    assert_eq!((now.owner, now.fence), (before.owner, before.fence));
    assert_eq!(told.value("streams_opened_total"), opened);
    let heartbeats = marks.count_documents(doc! {}).await.unwrap() - written;
    assert!(heartbeats < 30, "{heartbeats}");
    assert!(!recorder.handled().contains(&elsewhere));

    recorder.gate.add_permits(1_000);
    recorder.wait_for_all(&queued).await;
    recorder.wait_for_all(&[elsewhere]).await;
    world.wait_for_checkpoints(world.store.mark_all().await.unwrap()).await;
    eventually("all room is given back", || async {
        told.value("queue_bytes") == Some(0.0)
    })
    .await;
    running.stop().await;
}
