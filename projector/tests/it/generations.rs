//! The control document: every step is one guarded write.

use std::time::Duration;

use bson::{Document, doc};
use event_log::position::Position;
use model::clock::Clock;
use views::generation::{GenerationError, Phase, Progress, Term};

use crate::world::World;

fn term(owner: &str, fence: i64) -> Term {
    Term {
        owner: owner.to_owned(),
        fence,
    }
}

fn progress(phase: Phase, scanned: i64) -> Progress {
    Progress {
        phase,
        scanned,
        total: 10,
        cursor: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_is_requested_once_and_another_can_be_asked_for_while_it_is_built() {
    let world = World::new().await;
    let it = &world.generations;
    let (one, two) = tokio::join!(it.request_rebuild(), it.request_rebuild());
    assert_eq!((one.unwrap(), two.unwrap()), (2, 2));

    let building = it
        .begin(&term("a", 1), Position::from_u64(7), 10)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((building.generation, building.horizon), (2, Position::from_u64(7)));
    assert_eq!(it.request_rebuild().await.unwrap(), 3);
    // Only one rebuild at a time.
    assert_eq!(it.begin(&term("a", 1), Position::ORIGIN, 0).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_succeeded_writes_nothing_any_more() {
    let world = World::new().await;
    let it = &world.generations;
    it.request_rebuild().await.unwrap();
    let (old, new) = (term("old", 1), term("new", 2));
    it.begin(&old, Position::ORIGIN, 10).await.unwrap().unwrap();
    it.progress(&old, 2, progress(Phase::Scanning, 5)).await.unwrap();

    let adopted = it.adopt(&new).await.unwrap().unwrap();
    assert_eq!((adopted.scanned, adopted.fence), (5, 2));
    it.progress(&new, 2, progress(Phase::CatchingUp, 0)).await.unwrap();

    let late = it.progress(&old, 2, progress(Phase::Scanning, 6)).await;
    assert!(
        matches!(late, Err(GenerationError::Superseded { generation: 2 })),
        "{late:?}"
    );
    let late = it.switch(&old, 2).await;
    assert!(
        matches!(late, Err(GenerationError::Superseded { generation: 2 })),
        "{late:?}"
    );
    let late = it.adopt(&old).await;
    assert!(
        matches!(late, Err(GenerationError::Superseded { generation: 2 })),
        "{late:?}"
    );
    assert_eq!(world.control().await.building.unwrap().phase, Phase::CatchingUp);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_caught_up_is_switched_to_and_twice_is_once() {
    let world = World::new().await;
    let it = &world.generations;
    let term = term("a", 1);
    it.request_rebuild().await.unwrap();
    it.begin(&term, Position::ORIGIN, 10).await.unwrap().unwrap();
    assert!(it.switch(&term, 2).await.is_err());
    it.progress(&term, 2, progress(Phase::CatchingUp, 0)).await.unwrap();

    let control = it.switch(&term, 2).await.unwrap();
    assert_eq!((control.active, control.building.is_none()), (2, true));
    let retiring = control.retiring.clone().unwrap();
    assert_eq!((retiring.generation, retiring.stopping), (1, false));
    // The answer was lost, so the switch is repeated.
    assert_eq!(it.switch(&term, 2).await.unwrap(), control);
    // No new rebuild begins before the former generation is gone.
    it.request_rebuild().await.unwrap();
    assert_eq!(it.begin(&term, Position::ORIGIN, 0).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn living_readers_are_waited_for_and_dead_ones_are_not() {
    let world = World::new().await;
    let it = &world.generations;
    world.control().await;
    let minute = Duration::from_secs(60);
    assert!(it.readers_confirmed(2, world.clock.now()).await.unwrap());
    it.confirm("one", 1, minute).await.unwrap();
    it.confirm("two", 2, minute).await.unwrap();
    assert!(!it.readers_confirmed(2, world.clock.now()).await.unwrap());
    assert_eq!(it.readers(world.clock.now()).await.unwrap().len(), 2);

    it.confirm("one", 2, minute).await.unwrap();
    // A delayed confirmation does not undo a later one.
    it.confirm("one", 1, minute).await.unwrap();
    assert!(it.readers_confirmed(2, world.clock.now()).await.unwrap());

    it.confirm("three", 1, minute).await.unwrap();
    assert!(!it.readers_confirmed(2, world.clock.now()).await.unwrap());
    it.withdraw("three").await.unwrap();
    assert!(it.readers_confirmed(2, world.clock.now()).await.unwrap());

    it.confirm("four", 1, minute).await.unwrap();
    world.clock.advance(minute + Duration::from_secs(1));
    assert!(it.readers_confirmed(2, world.clock.now()).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_generation_that_is_read_is_never_dropped() {
    let world = World::new().await;
    let it = &world.generations;
    world.control().await;
    for name in ["posts_g1", "posts_g2", "profiles_g1", "dead_letters"] {
        world
            .views
            .collection::<Document>(name)
            .insert_one(doc! { "_id": 1 })
            .await
            .unwrap();
    }
    assert!(it.retire(1).await.is_err());
    it.drop_unused().await.unwrap();

    it.request_rebuild().await.unwrap();
    let term = term("a", 1);
    it.begin(&term, Position::ORIGIN, 10).await.unwrap().unwrap();
    it.progress(&term, 2, progress(Phase::CatchingUp, 0)).await.unwrap();
    it.switch(&term, 2).await.unwrap();
    // Nobody has confirmed yet that the readers have left.
    assert!(it.retire(1).await.is_err());
    it.drop_unused().await.unwrap();
    assert!(
        world
            .views
            .list_collection_names()
            .await
            .unwrap()
            .contains(&"posts_g1".to_owned())
    );

    it.stop_following(1).await.unwrap();
    it.retire(1).await.unwrap();
    assert_eq!(world.control().await.retiring, None);
    // A late writer makes a collection again, and it is dropped too.
    world
        .views
        .collection::<Document>("posts_g1")
        .insert_one(doc! { "_id": 1 })
        .await
        .unwrap();
    it.drop_unused().await.unwrap();
    let mut left = world.views.list_collection_names().await.unwrap();
    left.sort_unstable();
    assert_eq!(left, ["control", "dead_letters", "posts_g2"]);
}
