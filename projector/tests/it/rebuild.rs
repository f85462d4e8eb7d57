//! A rebuild while people write, by processes that are killed in every phase.

use std::time::Duration;

use bson::{Document, doc};
use event_log::event_store::EVENTS;
use event_log::subscription::dead_letters::DeadLetters;
use model::ids::UserId;
use tokio_util::sync::CancellationToken;
use views::Views;
use views::generation::Phase;

use crate::oracle::Oracle;
use crate::world::{DEADLINE, Process, World, eventually};

/// A process that works in small steps, so that it can be killed in the middle.
const HASTY: &[(&str, &str)] = &[
    ("MICROBLOG__SUBSCRIPTIONS__LEASE_DURATION", "3s"),
    ("MICROBLOG__SUBSCRIPTIONS__RENEW_EVERY", "1s"),
    ("MICROBLOG__SUBSCRIPTIONS__HEARTBEAT_EVERY", "1s"),
    ("MICROBLOG__SUBSCRIPTIONS__IDLE_CHECKPOINT_EVERY", "300ms"),
    ("MICROBLOG__PROJECTOR__LOOK_EVERY", "50ms"),
    ("MICROBLOG__REBUILD__LOOK_EVERY", "50ms"),
    ("MICROBLOG__REBUILD__READER_GRACE", "300ms"),
    ("MICROBLOG__REBUILD__BATCH", "5"),
];

/// Writes some of every kind of event, until it is told to stop.
async fn write_until(world: &World, users: &[UserId], stop: &CancellationToken) {
    let mut round = 0;
    while !stop.is_cancelled() {
        let (one, two) = (users[round % users.len()], users[(round * 3 + 1) % users.len()]);
        let post = world.post(one, &format!("round {round}")).await;
        if one != two {
            match round % 5 {
                0 => drop(world.follow(one, two).await),
                1 => world.like(two, post).await,
                2 => world.repost(two, post).await,
                3 => drop(world.unfollow(one, two).await),
                _ => world.delete_post(post).await,
            }
        }
        round += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn is_over(world: &World, generation: i64) -> bool {
    let control = world.control().await;
    control.active == generation && control.building.is_none() && control.retiring.is_none()
}

async fn collections_of(world: &World, generation: i64) -> Vec<String> {
    let names = world.views.list_collection_names().await.unwrap();
    names
        .into_iter()
        .filter(|name| name.ends_with(&format!("_g{generation}")))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_generation_takes_over_under_writes_and_the_former_one_goes() {
    let world = World::new().await;
    let (one, two) = (world.projector().await, world.projector().await);
    let users = world.users(8).await;
    let stop = CancellationToken::new();
    let rebuilding = async {
        let generation = world.generations.request_rebuild().await.unwrap();
        eventually("the rebuild is over", DEADLINE, async || {
            is_over(&world, generation).await
        })
        .await;
        stop.cancel();
    };
    tokio::join!(write_until(&world, &users, &stop), rebuilding);
    world.caught_up().await;
    assert_eq!(world.active().await, 2);
    Oracle::of(&world.store)
        .await
        .assert_shown_by(&world.active_views().await)
        .await;
    assert_eq!(collections_of(&world, 1).await, Vec::<String>::new());
    assert_eq!(world.leases("views-g1").await, []);
    one.stop().await;
    two.stop().await;
}

/// In each phase, a process is killed and another continues, while people write.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_every_phase_it_is_completed_by_the_next_process() {
    let world = World::new().await;
    let users = world.users(40).await;
    let stop = CancellationToken::new();
    let killing = async {
        let mut process = world.process(HASTY);
        for (number, &user) in users.iter().enumerate() {
            world.follow(user, users[(number * 7 + 1) % users.len()]).await;
        }
        world.caught_up().await;
        // A reader of the first generation delays its end until the reader has confirmed the second.
        let minute = Duration::from_secs(60);
        world.generations.confirm("reader", 1, minute).await.unwrap();
        let generation = world.generations.request_rebuild().await.unwrap();

        let scanned = || async {
            phase_of(&world)
                .await
                .filter(|it| it.0 == Phase::Scanning)
                .map(|it| it.1)
        };
        let before = kill_when(process, "scans", async || {
            scanned().await.is_some_and(|events| events > 20)
        })
        .await;
        process = before.restart(&world).await;
        let filled = || async {
            phase_of(&world)
                .await
                .filter(|it| it.0 == Phase::Filling)
                .map(|it| it.1)
        };
        let before = kill_when(process, "fills", async || {
            filled().await.is_some_and(|owners| owners > 5)
        })
        .await;
        process = before.restart(&world).await;
        let catches_up = || async { phase_of(&world).await.is_some_and(|it| it.0 == Phase::CatchingUp) };
        let switched = || async { world.active().await == generation };
        let before = kill_when(process, "catches up", async || catches_up().await || switched().await).await;
        process = before.restart(&world).await;
        let before = kill_when(process, "switches", async || switched().await).await;

        // The former generation still exists for its reader.
        assert!(!collections_of(&world, 1).await.is_empty());
        world.generations.confirm("reader", generation, minute).await.unwrap();
        process = before.restart(&world).await;
        let stopping = || async { world.control().await.retiring.is_none_or(|retiring| retiring.stopping) };
        let before = kill_when(process, "retires", async || stopping().await).await;
        process = before.restart(&world).await;
        eventually("the rebuild is over", DEADLINE, async || {
            is_over(&world, generation).await
        })
        .await;
        stop.cancel();
        process
    };
    let (_, process) = tokio::join!(write_until(&world, &users, &stop), killing);
    world.caught_up().await;
    assert_eq!(world.active().await, 2);
    Oracle::of(&world.store)
        .await
        .assert_shown_by(&world.active_views().await)
        .await;
    eventually("nothing of the former generation is left", DEADLINE, async || {
        collections_of(&world, 1).await.is_empty() && world.leases("views-g1").await.is_empty()
    })
    .await;
    assert_eq!(process.terminate().await, Some(0));
}

async fn phase_of(world: &World) -> Option<(Phase, i64)> {
    world
        .control()
        .await
        .building
        .map(|building| (building.phase, building.scanned))
}

/// A process was killed.
struct Killed;

impl Killed {
    async fn restart(self, world: &World) -> Process {
        world.process(HASTY)
    }
}

async fn kill_when(process: Process, what: &str, holds: impl AsyncFnMut() -> bool) -> Killed {
    eventually(&format!("it {what}"), DEADLINE, holds).await;
    process.kill();
    Killed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_former_generation_stays_until_its_readers_have_left() {
    let world = World::new().await;
    let projector = world.projector().await;
    let users = world.users(3).await;
    world.follow(users[0], users[1]).await;
    world.caught_up().await;
    let minute = Duration::from_secs(60);
    world.generations.confirm("slow", 1, minute).await.unwrap();
    let generation = world.generations.request_rebuild().await.unwrap();
    eventually("it is switched", DEADLINE, async || world.active().await == generation).await;

    // Both generations are followed until the last reader has confirmed.
    let post = world.post(users[1], "to both").await;
    for generation in [1, generation] {
        let views = Views::new(&world.views, generation);
        eventually("both have the post", DEADLINE, async || {
            views.posts.live_by_ids(&[post]).await.unwrap().len() == 1
        })
        .await;
    }
    assert!(
        world
            .control()
            .await
            .retiring
            .is_some_and(|retiring| !retiring.stopping)
    );
    world.generations.confirm("slow", generation, minute).await.unwrap();
    eventually("the rebuild is over", DEADLINE, async || {
        is_over(&world, generation).await
    })
    .await;
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_that_is_asked_for_meanwhile_follows() {
    let world = World::new().await;
    let projector = world.projector().await;
    let users = world.users(5).await;
    world.follow(users[0], users[1]).await;
    assert_eq!(world.generations.request_rebuild().await.unwrap(), 2);
    eventually("the first begins", DEADLINE, async || {
        world.control().await.requested.is_none()
    })
    .await;
    let next = world.generations.request_rebuild().await.unwrap();
    assert_eq!(next, 3);
    eventually("the second is over", DEADLINE, async || is_over(&world, next).await).await;
    world.caught_up().await;
    Oracle::of(&world.store)
        .await
        .assert_shown_by(&world.active_views().await)
        .await;
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_projectors_build_nothing_another_process_does() {
    let world = World::new().await;
    let mut config = world.config();
    config.rebuild.hosted = false;
    let projector = world.projector_with(config.clone()).await;
    let users = world.users(3).await;
    world.follow(users[0], users[1]).await;
    world.post(users[1], "kept").await;
    // Numbers may be skipped. A generation that exists or is already requested is not requested again.
    world.generations.request(1).await.unwrap();
    assert_eq!(world.control().await.requested, None);
    world.generations.request(4).await.unwrap();
    world.generations.request(3).await.unwrap();
    world.caught_up().await;
    let asked = world.control().await;
    assert_eq!((asked.active, asked.requested, asked.building), (1, Some(4), None));

    let stop = CancellationToken::new();
    let databases = event_log::mongo::Databases::connect(&config.mongodb, "rebuild")
        .await
        .unwrap();
    let clock: model::clock::SharedClock = world.clock.clone();
    let building = projector::host_rebuilds(&config, &clock, &databases, &stop);
    let watching = async {
        eventually("the rebuild is over", DEADLINE, async || is_over(&world, 4).await).await;
        stop.cancel();
    };
    let (built, ()) = tokio::join!(building, watching);
    built.unwrap();
    world.caught_up().await;
    Oracle::of(&world.store)
        .await
        .assert_shown_by(&world.active_views().await)
        .await;
    databases.close().await;
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paused_views_stay_as_they_are_and_catch_up_later() {
    let world = World::new().await;
    let projector = world.projector().await;
    let users = world.users(2).await;
    world.follow(users[0], users[1]).await;
    world.caught_up().await;
    world.generations.pause(true).await.unwrap();
    let working = async || {
        let leases = world.leases("views-g1").await;
        leases.iter().any(|lease| lease.owner.is_some())
    };
    eventually("the leases are given back", DEADLINE, async || !working().await).await;
    let post = world.post(users[1], "later").await;
    let shown = async || {
        let views = world.active_views().await;
        views.posts.live_by_ids(&[post]).await.unwrap().len() == 1
    };
    assert!(!shown().await);

    world.generations.pause(false).await.unwrap();
    eventually("the post is shown", DEADLINE, shown).await;
    world.caught_up().await;
    Oracle::of(&world.store)
        .await
        .assert_shown_by(&world.active_views().await)
        .await;
    projector.stop().await;
}

/// As in a rolling update. A generation must not leave out an event only because this program does not know it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_here_knows_is_waited_for() {
    let world = World::new().await;
    let users = world.users(2).await;
    let follow = world.follow(users[0], users[1]).await;
    world.post(users[1], "after").await;
    let events = world.store.database().collection::<Document>(EVENTS);
    let is_of = async |kind: &str| {
        let kind = doc! { "$set": { "type": kind } };
        events.update_one(doc! { "_id": follow.id }, kind).await.unwrap();
    };
    is_of("follow.foretold").await;
    let generation = world.generations.request_rebuild().await.unwrap();
    let one_by_one = [
        HASTY,
        &[
            ("MICROBLOG__REBUILD__BATCH", "1"),
            ("MICROBLOG__REBUILD__RETRY_AFTER", "100ms"),
        ],
    ]
    .concat();
    let process = world.process(&one_by_one);
    // The database's first answer contains all events. So the scan has already received this event with the unknown type.
    eventually("a part is built", DEADLINE, async || {
        let building = world.control().await.building;
        building.is_some_and(|building| building.scanned > 0)
    })
    .await;
    is_of("follow.followed").await;
    eventually("the rebuild is over", DEADLINE, async || {
        is_over(&world, generation).await
    })
    .await;
    world.caught_up().await;
    let views = world.active_views().await;
    Oracle::of(&world.store).await.assert_shown_by(&views).await;
    assert_eq!(DeadLetters::new(&world.views).list().await.unwrap().len(), 0);
    assert_eq!(process.terminate().await, Some(0));
}

/// Kubernetes starts the Job again with the installed version. While the process lives, no other rebuilds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_only_builds_ends_at_what_it_does_not_know() {
    let world = World::new().await;
    let users = world.users(2).await;
    let follow = world.follow(users[0], users[1]).await;
    let events = world.store.database().collection::<Document>(EVENTS);
    let unknown = doc! { "$set": { "type": "follow.foretold" } };
    events.update_one(doc! { "_id": follow.id }, unknown).await.unwrap();
    world.generations.request_rebuild().await.unwrap();

    let config = world.config();
    let databases = event_log::mongo::Databases::connect(&config.mongodb, "rebuild")
        .await
        .unwrap();
    let (clock, stop): (model::clock::SharedClock, _) = (world.clock.clone(), CancellationToken::new());
    let building = projector::host_rebuilds(&config, &clock, &databases, &stop);
    let ended = tokio::time::timeout(DEADLINE, building).await.unwrap().unwrap_err();
    assert!(ended.to_string().contains("follow.foretold"), "{ended}");
    let seats = world.views.collection::<Document>("seats");
    let seat = seats.find_one(doc! { "_id": "rebuild" }).await.unwrap().unwrap();
    assert_eq!(seat.get("owner"), Some(&bson::Bson::Null));
    assert!(world.control().await.building.is_some());
    databases.close().await;
}
