//! Seats: one process at a time, and another soon after it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bson::{Document, doc};
use event_log::mongo::Databases;
use projector::leadership::{Leadership, Pace};
use tokio_util::sync::CancellationToken;

use crate::world::{DEADLINE, World, eventually};

const PACE: Pace = Pace {
    lease_duration: Duration::from_secs(2),
    renew_every: Duration::from_millis(200),
};

/// Works until it is told to stop, and records its term.
#[derive(Debug, Clone, Default)]
struct Worker {
    working: Arc<AtomicUsize>,
    fence: Arc<AtomicI64>,
}

impl Worker {
    fn start(&self, world: &World, owner: &str) -> (CancellationToken, tokio::task::JoinHandle<()>) {
        let databases = Databases::of(world.store.database().clone(), world.views.clone());
        let seat = Leadership::new(&databases, "test", owner.to_owned(), PACE);
        let shutdown = CancellationToken::new();
        let (told, worker) = (shutdown.clone(), self.clone());
        let task = tokio::spawn(async move {
            seat.lead(&told, |term, stop| {
                let worker = worker.clone();
                async move {
                    worker.fence.store(term.fence, Ordering::SeqCst);
                    worker.working.fetch_add(1, Ordering::SeqCst);
                    stop.cancelled().await;
                    worker.working.fetch_sub(1, Ordering::SeqCst);
                }
            })
            .await;
        });
        (shutdown, task)
    }

    fn works(&self) -> bool {
        self.working.load(Ordering::SeqCst) > 0
    }

    async fn works_soon(&self) {
        eventually("it takes the seat", DEADLINE, async || self.works()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seat_that_is_given_back_is_taken_at_once() {
    let world = World::new().await;
    let (one, two) = (Worker::default(), Worker::default());
    let (stop_one, task_one) = one.start(&world, "one");
    one.works_soon().await;
    let (stop_two, task_two) = two.start(&world, "two");
    // Longer than the lease, to show that a living owner keeps its seat.
    let until = Instant::now() + PACE.lease_duration * 2;
    eventually("time passes", DEADLINE, async || {
        assert!(!two.works());
        Instant::now() > until
    })
    .await;

    stop_one.cancel();
    task_one.await.unwrap();
    let since = Instant::now();
    two.works_soon().await;
    assert!(since.elapsed() < PACE.lease_duration, "{:?}", since.elapsed());
    assert!(!one.works() && two.fence.load(Ordering::SeqCst) > one.fence.load(Ordering::SeqCst));
    stop_two.cancel();
    task_two.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_owners_seat_is_taken_when_it_has_run_out() {
    let world = World::new().await;
    let (one, two) = (Worker::default(), Worker::default());
    let (_, dead) = one.start(&world, "one");
    one.works_soon().await;
    dead.abort();
    let (stop, task) = two.start(&world, "two");
    two.works_soon().await;
    stop.cancel();
    task.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_lost_the_seat_is_told_to_stop() {
    let world = World::new().await;
    let one = Worker::default();
    let (stop, task) = one.start(&world, "one");
    one.works_soon().await;
    let taken = doc! { "$set": { "owner": "two" }, "$inc": { "fence": 1, "beat": 1 } };
    world
        .views
        .collection::<Document>("seats")
        .update_one(doc! { "_id": "test" }, taken)
        .await
        .unwrap();
    eventually("it stops", DEADLINE, async || !one.works()).await;
    // The thief raises no beat, so the seat comes back, in a later term.
    one.works_soon().await;
    assert_eq!(one.fence.load(Ordering::SeqCst), 3);
    stop.cancel();
    task.await.unwrap();
}
