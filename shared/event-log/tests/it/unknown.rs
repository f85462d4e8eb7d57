//! Events that this program can't read wait for a newer one. What no program can read is a dead letter.

use bson::{Bson, Document, doc};
use chrono::Utc;
use event_log::event_store::{Envelope, RecordedEvent};
use event_log::position::Position;
use event_log::subscription::SubscriptionMetrics;
use event_log::subscription::dead_letters::DeadLetters;
use event_log::subscription::leases::{Lease, Needs};
use model::events::SCHEMA;
use model::ids::{EventId, Partition};

use crate::event_store::{append, followed, post_created};
use crate::world::{Recorder, Told, World, eventually, settings, user, user_of};

impl World {
    fn events(&self) -> mongodb::Collection<Document> {
        self.store.database().collection("events")
    }

    /// Appends the next event of a stream, with one field changed.
    async fn insert_after(&self, event: &RecordedEvent, key: &str, value: impl Into<Bson>) -> EventId {
        let id = EventId::new(Utc::now());
        let mut document = bson::serialize_to_document(event).unwrap();
        document.insert("_id", id);
        document.insert("version", event.version + 1);
        document.insert(key, value);
        self.events().insert_one(document).await.unwrap();
        id
    }

    async fn lease(&self, partition: Partition) -> Option<Lease> {
        let all = self.leases().all().await.unwrap();
        all.into_iter().find(|lease| lease.partition == partition)
    }

    async fn is_given_back(&self, partition: Partition, (event_type, schema): (&str, i32), fence: i64) {
        eventually("it is given back", || async {
            let is = |lease: Lease| {
                let needs = Needs {
                    event_type: event_type.to_owned(),
                    schema,
                    fence: lease.fence,
                };
                lease.owner.is_none() && lease.needs == Some(needs) && lease.fence > fence
            };
            self.lease(partition).await.is_some_and(is)
        })
        .await;
    }
}

/// The type does not matter: a handler that asks only for follows gets it, too.
#[tokio::test(flavor = "multi_thread")]
async fn only_a_partition_with_an_unknown_event_waits_for_a_program_that_knows_it() {
    let world = World::new().await;
    let recorder = Recorder::of_types(Some(&["follow.followed", "post.edited"]));
    let metrics = SubscriptionMetrics::default();
    let told = Told::by(&metrics);
    let running = world.start_with(&recorder, settings(), metrics);
    let author = user_of(1);
    let partition = author.partition();
    let before = world.follow(author).await;
    recorder.wait_for_all(&[before]).await;

    let (post, _) = append(&world.store, post_created(author, "from the past"), 0).await;
    let unknown = world.insert_after(&post, "type", "post.teleported").await;
    let behind = world.follow(author).await;
    let elsewhere = world.follow(user_of(2)).await;
    recorder.wait_for_all(&[elsewhere]).await;
    let teleported = ("post.teleported", 1);
    world.is_given_back(partition, teleported, 0).await;
    let given_back = world.lease(partition).await.unwrap();

    // Another process that does not know the event does not take the lease, either.
    let second = Recorder::of_types(recorder.types);
    let running_second = world.start(&second);
    let barrier = world.store.mark_all().await.unwrap();
    eventually("they share the others, and these go on", || async {
        let mut all = world.leases().all().await.unwrap();
        all.retain(|lease| lease.partition != partition);
        let owners: std::collections::HashSet<_> = all.iter().map(|lease| lease.owner.as_deref()).collect();
        owners.len() == 2 && !owners.contains(&None) && all.iter().all(|lease| lease.position >= barrier)
    })
    .await;
    running_second.stop().await;
    assert_eq!(world.lease(partition).await.as_ref(), Some(&given_back));
    assert!(!recorder.handled().contains(&behind) && !second.handled().contains(&behind));
    assert_eq!(DeadLetters::new(&world.views).list().await.unwrap().len(), 0);
    eventually("it is told", || async { told.value("leases_waiting") == Some(1.0) }).await;

    // A process that knows what is needed takes it. (The stream shows the unknown event again, and the lease is given back.)
    let leases = world.views.collection::<Document>("leases");
    let known = doc! { "$set": { "needs.type": "post.edited" } };
    leases
        .update_one(doc! { "_id": "test/01" }, known.clone())
        .await
        .unwrap();
    world.is_given_back(partition, teleported, given_back.fence).await;

    // A scan reads the event as it is now.
    let by_now = doc! { "$set": { "type": "post.edited" } };
    world
        .events()
        .update_one(doc! { "_id": unknown }, by_now)
        .await
        .unwrap();
    let mut anew = known;
    anew.get_document_mut("$set")
        .unwrap()
        .insert("position", Position::ORIGIN);
    leases.update_one(doc! { "_id": "test/01" }, anew).await.unwrap();
    recorder.wait_for_all(&[unknown, behind]).await;
    world.wait_for_checkpoints(world.store.mark_all().await.unwrap()).await;
    eventually("it is told", || async { told.value("leases_waiting") == Some(0.0) }).await;
    running.stop().await;
}

/// An earlier version of the program takes a lease whatever it needs, and does not clear that. Any process may take what it gives back.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_lease_needed_before_another_owner_is_needed_no_more() {
    let world = World::new().await;
    let author = user_of(1);
    let (post, _) = append(&world.store, post_created(author, "from the past"), 0).await;
    world.insert_after(&post, "type", "post.teleported").await;
    let running = world.start(&Recorder::new());
    let teleported = ("post.teleported", 1);
    world.is_given_back(author.partition(), teleported, 0).await;
    let given_back = world.lease(author.partition()).await.unwrap();
    let turn = doc! { "$inc": { "fence": 1 } };
    let leases = world.views.collection::<Document>("leases");
    leases.update_one(doc! { "_id": &given_back.id }, turn).await.unwrap();
    // It is taken, and given back.
    let theirs = given_back.fence + 1;
    world.is_given_back(author.partition(), teleported, theirs).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_that_finds_an_unknown_event_moves_no_checkpoint() {
    let world = World::new().await;
    let author = user_of(1);
    let (post, _) = append(&world.store, post_created(author, "from the past"), 0).await;
    world.insert_after(&post, "schema", SCHEMA + 1).await;
    let behind = world.follow(author).await;
    let recorder = Recorder::new();
    let running = world.start(&recorder);
    world
        .is_given_back(author.partition(), ("post.created", SCHEMA + 1), 0)
        .await;
    running.stop().await;
    assert!(!recorder.handled().contains(&behind));
    assert_eq!(world.checkpoint(author.partition()).await, Position::ORIGIN);
}

/// An earlier version put it aside, because it did not wait.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_put_aside_as_unknown_is_handled_by_a_program_that_knows_it() {
    let world = World::new().await;
    let recorder = Recorder::new();
    let (ada, bob) = (user(), user());
    let reasons = [
        "unknown event type 'follow.followed'",
        "event type 'follow.followed' has schema 2, newer than the 1 this program knows",
    ];
    let letters = DeadLetters::new(&world.views);
    for reason in reasons {
        let (event, _) = append(&world.store, followed(user(), bob, true), 0).await;
        let envelope = Envelope::from(&event);
        letters
            .record("test", &envelope, reason, false, Utc::now())
            .await
            .unwrap();
    }
    let (refused, _) = append(&world.store, followed(ada, bob, true), 0).await;
    let envelope = Envelope::from(&refused);
    letters
        .record("test", &envelope, "it was bad", false, Utc::now())
        .await
        .unwrap();
    let running = world.start(&recorder);
    eventually("only the one that was known is left", || async {
        let left = letters.list().await.unwrap();
        left.len() == 1 && left[0].event == refused.id
    })
    .await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_is_no_event_is_a_dead_letter() {
    let world = World::new().await;
    let recorder = Recorder::new();
    let running = world.start(&recorder);
    let (event, _) = append(&world.store, post_created(user_of(9), "readable"), 0).await;
    recorder.wait_for_all(&[event.id]).await;
    let malformed = world.insert_after(&event, "data", doc! { "nonsense": true }).await;
    let envelope =
        doc! { "_id": EventId::new(Utc::now()), "partition": 9, "stream": event.stream.as_str(), "version": 3_i64 };
    world.events().insert_one(&envelope).await.unwrap();
    // Neither a valid partition nor the id of an event.
    world
        .events()
        .insert_one(doc! { "_id": "nonsense", "partition": 99 })
        .await
        .unwrap();
    let letters = DeadLetters::new(&world.views);
    eventually("all are put aside", || async {
        letters.list().await.unwrap().len() == 3
    })
    .await;
    let listed = letters.list().await.unwrap();
    let of: Vec<_> = listed
        .iter()
        .map(|letter| (letter.partition.number(), letter.version))
        .collect();
    assert_eq!(of, [(0, 0), (9, 2), (9, 3)]);
    assert!(listed[0].reason.contains("is no event"), "{listed:?}");
    assert!(
        listed[1].event == malformed && listed[1].reason.contains("malformed"),
        "{listed:?}"
    );
    assert!(
        listed[2].reason.contains("is no event") && listed[2].stream == event.stream,
        "{listed:?}"
    );
    world.wait_for_checkpoints(world.store.mark_all().await.unwrap()).await;
    running.stop().await;
}
