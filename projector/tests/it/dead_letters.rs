//! Events that can't be handled: put aside, retried, discarded, and respected by a rebuild.

use std::collections::HashSet;

use bson::{Document, doc};
use event_log::event_store::{EVENTS, RecordedEvent};
use event_log::subscription::dead_letters::{DeadLetter, DeadLetters, Request};
use model::ids::UserId;

use crate::oracle::Oracle;
use crate::world::{DEADLINE, Running, World, eventually};

struct Poisoned {
    world: World,
    projector: Running,
    users: Vec<UserId>,
    /// A follow, an unfollow, and the follow again. The unfollow can't be read.
    stream: Vec<RecordedEvent>,
    healthy: Document,
}

impl Poisoned {
    /// Appends correct events, and damages one before a projector sees it.
    async fn new() -> Self {
        let world = World::new().await;
        let users = world.users(3).await;
        let (ada, bob) = (users[0], users[1]);
        world.post(bob, "before").await;
        let stream = vec![
            world.follow(ada, bob).await,
            world.unfollow(ada, bob).await,
            world.follow(ada, bob).await,
        ];
        let events = world.store.database().collection::<Document>(EVENTS);
        let healthy = events.find_one(doc! { "_id": stream[1].id }).await.unwrap().unwrap();
        let spoilt = doc! { "$set": { "data": { "forgotten": true } } };
        events.update_one(doc! { "_id": stream[1].id }, spoilt).await.unwrap();
        let projector = world.projector().await;
        world.caught_up().await;
        Self {
            world,
            projector,
            users,
            stream,
            healthy,
        }
    }

    async fn letters(&self) -> Vec<DeadLetter> {
        let letters = DeadLetters::new(&self.world.views).list().await.unwrap();
        letters
            .into_iter()
            .filter(|letter| letter.subscription.starts_with("views-g"))
            .collect()
    }

    async fn ask(&self, event: &RecordedEvent, request: Request) {
        DeadLetters::new(&self.world.views)
            .request(event.id, request)
            .await
            .unwrap();
        self.world.store.wake(event.partition).await.unwrap();
    }

    async fn heal(&self) {
        let events = self.world.store.database().collection::<Document>(EVENTS);
        let data = doc! { "$set": { "data": self.healthy.get_document("data").unwrap() } };
        events
            .update_one(doc! { "_id": self.stream[1].id }, data)
            .await
            .unwrap();
    }

    /// What the views must show while the dead letters wait: the stream up to the damaged event.
    async fn oracle_without_letters(&self) -> Oracle {
        Oracle::without(
            &self.world.store,
            &self.stream[1..].iter().map(|event| event.id).collect(),
        )
        .await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn later_events_of_the_stream_queue_behind_a_letter_and_nothing_else_does() {
    let it = Poisoned::new().await;
    let letters = it.letters().await;
    let queued: Vec<_> = letters
        .iter()
        .map(|letter| (letter.event, letter.queued_behind))
        .collect();
    assert_eq!(queued, [(it.stream[1].id, false), (it.stream[2].id, true)]);
    assert!(letters[0].reason.contains("malformed"), "{letters:?}");

    // The same partition goes on, and so does the same audience.
    it.world.post(it.users[1], "after").await;
    it.world.follow(it.users[2], it.users[1]).await;
    it.world.caught_up().await;
    it.oracle_without_letters()
        .await
        .assert_shown_by(&it.world.active_views().await)
        .await;
    it.projector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_executes_what_waits_in_its_order() {
    let it = Poisoned::new().await;
    // The event still can't be read. The retry fails again, and the dead letter waits.
    it.ask(&it.stream[1], Request::Retry).await;
    eventually("the retry failed", DEADLINE, async || {
        let letters = it.letters().await;
        letters.len() == 2 && letters.iter().all(|letter| !letter.retry_requested)
    })
    .await;

    it.heal().await;
    it.ask(&it.stream[1], Request::Retry).await;
    eventually("both are handled", DEADLINE, async || it.letters().await.is_empty()).await;
    it.world.caught_up().await;
    let views = it.world.active_views().await;
    Oracle::of(&it.world.store).await.assert_shown_by(&views).await;
    let followees = views.relations.followees(it.users[0]).await.unwrap();
    assert_eq!(followees, [it.users[1]], "the last event of the stream decides");
    it.projector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_discard_lets_the_others_pass_and_a_rebuild_leaves_it_out_too() {
    let it = Poisoned::new().await;
    it.ask(&it.stream[1], Request::Discard).await;
    eventually("what waited behind it is handled", DEADLINE, async || {
        it.letters().await.iter().all(|letter| letter.discarded)
    })
    .await;
    it.world.caught_up().await;
    let discarded = HashSet::from([it.stream[1].id]);
    let oracle = Oracle::without(&it.world.store, &discarded).await;
    oracle.assert_shown_by(&it.world.active_views().await).await;

    // The event could be read by now, but it stays discarded.
    it.heal().await;
    let generation = it.world.generations.request_rebuild().await.unwrap();
    eventually("the rebuild is over", DEADLINE, async || {
        let control = it.world.control().await;
        control.active == generation && control.retiring.is_none()
    })
    .await;
    it.world.caught_up().await;
    oracle.assert_shown_by(&it.world.active_views().await).await;
    assert!(
        it.letters().await.iter().all(|letter| letter.discarded),
        "the record stays: {:?}",
        it.letters().await
    );
    it.projector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_meets_the_same_letter_and_a_retry_reaches_the_new_generation() {
    let it = Poisoned::new().await;
    let generation = it.world.generations.request_rebuild().await.unwrap();
    eventually("the rebuild is over", DEADLINE, async || {
        let control = it.world.control().await;
        control.active == generation && control.retiring.is_none()
    })
    .await;
    it.world.caught_up().await;
    it.oracle_without_letters()
        .await
        .assert_shown_by(&it.world.active_views().await)
        .await;
    let letters = it.letters().await;
    let name = format!("views-g{generation}");
    let queued: Vec<_> = letters
        .iter()
        .map(|letter| (letter.subscription.as_str(), letter.event, letter.queued_behind))
        .collect();
    assert_eq!(
        queued,
        [
            (name.as_str(), it.stream[1].id, false),
            (name.as_str(), it.stream[2].id, true)
        ]
    );

    it.heal().await;
    it.ask(&it.stream[1], Request::Retry).await;
    eventually("both are handled", DEADLINE, async || it.letters().await.is_empty()).await;
    it.world.caught_up().await;
    Oracle::of(&it.world.store)
        .await
        .assert_shown_by(&it.world.active_views().await)
        .await;
    it.projector.stop().await;
}
