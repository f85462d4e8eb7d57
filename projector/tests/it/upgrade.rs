//! The views that an earlier version has written, under this one.

use std::time::Duration;

use bson::{Document, doc};
use event_log::position::Position;
use event_log::subscription::leases::LEASES;
use model::clock::Clock;
use model::events::SCHEMA;
use views::SHAPE;
use views::generation::{Phase, Progress, Term};

use crate::world::{DEADLINE, World, eventually};

const READER: &str = "reader/earlier";

impl World {
    async fn set(&self, collection: &str, filter: Document, update: Document) {
        let collection = self.views.collection::<Document>(collection);
        let updated = collection.update_many(filter, update).await.unwrap();
        assert!(updated.matched_count > 0);
    }

    /// The schema up to which every program may write.
    async fn allowed(&self) -> Option<i32> {
        let store = self.store.database().collection::<Document>("store");
        let document = store.find_one(doc! { "_id": "store" }).await.unwrap().unwrap();
        document.get_i32("schema").ok()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_of_an_earlier_version_are_rebuilt_and_then_its_last_reader_is_waited_for() {
    let world = World::new().await;
    let users = world.users(3).await;
    let first = world.projector().await;
    world.caught_up().await;
    first.stop().await;
    // What an earlier version leaves behind, and one of its readers, which still runs.
    let earlier = doc! { "$set": { "stamp": null, "needs": null } };
    world.set(LEASES, doc! { "subscription": "views-g1" }, earlier).await;
    let stores = world.store.database().collection::<Document>("store");
    let without = doc! { "$unset": { "schema": "" } };
    stores.update_one(doc! { "_id": "store" }, without).await.unwrap();
    let until = world.clock.now() + Duration::from_secs(600);
    let reader = doc! { "_id": READER, "generation": 2_i64, "seen_at": bson::DateTime::from_chrono(world.clock.now()), "expires_at": bson::DateTime::from_chrono(until) };
    let control = world.views.collection::<Document>("control");
    control.insert_one(reader).await.unwrap();

    let now = world.projector().await;
    world.follow(users[0], users[1]).await;
    eventually("the rebuild is over", DEADLINE, async || {
        let control = world.control().await;
        control.active == 2 && control.building.is_none() && control.retiring.is_none()
    })
    .await;
    world.caught_up().await;
    for lease in world.leases("views-g2").await {
        assert_eq!(lease.shape(), SHAPE);
        // This keeps programs away that do not know shapes.
        let needs = lease.needs.expect("it is renewed by each owner");
        assert_eq!((needs.event_type.as_str(), needs.fence), ("shape", lease.fence));
    }
    let minute = Duration::from_secs(60);
    world.generations.confirm("present", 2, minute).await.unwrap();
    assert!(!world.generations.all_are_upgraded().await.unwrap());
    assert_eq!(world.allowed().await, None);
    control.delete_one(doc! { "_id": READER }).await.unwrap();
    eventually("everything is allowed", DEADLINE, async || {
        world.allowed().await == Some(SCHEMA)
    })
    .await;
    assert_eq!(world.active().await, 2, "one rebuild is enough");

    // This is how an earlier version takes a lease from a living owner: it renews neither the stamp nor what the lease needs.
    let taken = doc! { "$inc": { "fence": 1_i64 }, "$set": { "owner": null, "needs": null } };
    world.set(LEASES, doc! { "_id": "views-g2/07" }, taken).await;
    eventually("what it may have written in part is rebuilt", DEADLINE, async || {
        let control = world.control().await;
        control.active == 3 && control.building.is_none()
    })
    .await;
    now.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_generation_that_an_earlier_version_has_worked_on_is_not_taken_for_complete() {
    let world = World::new().await;
    let it = &world.generations;
    let term = |fence| Term {
        owner: format!("builder {fence}"),
        fence,
    };
    it.request_rebuild().await.unwrap();
    let begun = it.begin(&term(1), Position::ORIGIN, 10).await.unwrap().unwrap();
    assert_eq!(begun.shape(), SHAPE);
    let adopted = it.adopt(&term(2)).await.unwrap().unwrap();
    assert_eq!((adopted.shape(), adopted.fence), (SHAPE, 2));
    // This is how a program takes a build over that does not know stamps.
    let earlier = doc! { "$set": { "building.owner": "earlier", "building.fence": 3_i64 } };
    world.set("control", doc! { "_id": "views" }, earlier).await;
    let adopted = it.adopt(&term(4)).await.unwrap().unwrap();
    assert_eq!((adopted.shape(), adopted.fence), (0, 4));
    let progress = Progress {
        phase: Phase::Scanning,
        scanned: 1,
        total: 1,
        cursor: None,
    };
    it.progress(&term(4), 2, progress).await.unwrap();
    assert_eq!(world.control().await.building.unwrap().shape(), 0);
}
