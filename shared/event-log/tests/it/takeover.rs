//! Several processes of one subscription: they share the partitions, die and come back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bson::{Document, doc};
use event_log::subscription::{Delivery, Handler, HandlerError, SubscriptionMetrics, SubscriptionSettings};
use model::ids::Partition;
use mongodb::{ClientSession, Collection, Database};
use tokio::sync::Notify;

use crate::world::{DEADLINE, Recorder, Told, World, eventually, settings, user, user_of};

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_share_and_the_death_of_one_loses_nothing() {
    let world = World::new().await;
    let (first, second) = (Recorder::new(), Recorder::new());
    let mut running_first = Some(world.start(&first));
    eventually("the first holds all leases", || async {
        world
            .leases()
            .all()
            .await
            .unwrap()
            .iter()
            .filter(|lease| lease.owner.is_some())
            .count()
            == 64
    })
    .await;
    let running_second = world.start(&second);
    eventually("both hold half", || async {
        let mut held: HashMap<Option<String>, usize> = HashMap::new();
        for lease in world.leases().all().await.unwrap() {
            *held.entry(lease.owner).or_default() += 1;
        }
        held.len() == 2 && held.values().all(|&count| count == 32)
    })
    .await;

    let mut ids = Vec::new();
    for number in 0..64 {
        ids.push(world.follow(user_of(number)).await);
        if number == 50 {
            first.wait_for(|handled| handled.len() > 1).await;
            running_first.take().unwrap().kill(&first).await;
        }
    }
    second
        .wait_for(|handled| {
            let first = first.handled();
            ids.iter().all(|id| handled.contains(id) || first.contains(id))
        })
        .await;
    let barrier = world.store.mark_all().await.unwrap();
    world.wait_for_checkpoints(barrier).await;
    running_second.stop().await;
    assert!(first.handled().len() > 1, "the first did a part of the work");
}

/// Readers wait for partitions that nobody works on, and in a rolling update one process after the other ends. So a process that ends goes
/// on until others have taken over, and the others don't wait for their next renewal.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_ends_works_until_others_have_taken_over() {
    let world = World::new().await;
    let patient = || SubscriptionSettings {
        lease_duration: 10 * DEADLINE,
        renew_every: 4 * DEADLINE,
        ..settings()
    };
    let (first, second) = (Recorder::new(), Recorder::new());
    let metrics = SubscriptionMetrics::default();
    let told = Told::by(&metrics);
    let running_first = world.start_with(&first, patient(), metrics);
    let held = async || {
        let mut held: HashMap<String, usize> = HashMap::new();
        for owner in world
            .leases()
            .all()
            .await
            .unwrap()
            .into_iter()
            .filter_map(|lease| lease.owner)
        {
            *held.entry(owner).or_default() += 1;
        }
        held.into_values().collect::<Vec<_>>()
    };
    eventually("the first holds all leases", || async { held().await == [64] }).await;
    let running_second = world.start_with(&second, patient(), SubscriptionMetrics::default());
    eventually("both hold half", || async { held().await == [32, 32] }).await;
    let tells_of_leases = || told.text().contains("subscription_leases_held{");
    assert!(tells_of_leases());
    running_first.stop().await;
    // Otherwise they would show their last values as long as the process lives.
    assert!(!tells_of_leases());
    assert_eq!(
        held().await,
        [64],
        "the second has taken them over before the first ended"
    );

    let ids = [world.follow(user_of(1)).await, world.follow(user_of(63)).await];
    second.wait_for_all(&ids).await;
    running_second.stop().await;
}

/// The other owner of a lease lives, and takes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_ends_does_not_wait_without_end() {
    let world = World::new().await;
    let hasty = SubscriptionSettings {
        lease_duration: 10 * DEADLINE,
        hand_over_within: Duration::from_millis(50),
        ..settings()
    };
    let running = world.start_with(&Recorder::new(), hasty, SubscriptionMetrics::default());
    let owners = async || -> Vec<String> {
        let leases = world.leases().all().await.unwrap().into_iter();
        leases.filter_map(|lease| lease.owner).collect()
    };
    eventually("it holds all leases", || async { owners().await.len() == 64 }).await;
    let leases = world.views.collection::<Document>("leases");
    let theirs = doc! { "$set": { "owner": "another" }, "$inc": { "fence": 1, "beat": 1 } };
    let taken = leases.update_one(doc! { "_id": "test/03" }, theirs).await.unwrap();
    assert_eq!(taken.modified_count, 1);
    running.stop().await;
    assert_eq!(owners().await, ["another"], "the others were given back");
}

/// The successor does not handle again what was handled since the last checkpoint.
#[tokio::test(flavor = "multi_thread")]
async fn leases_are_given_back_with_their_last_checkpoints() {
    let world = World::new().await;
    let never = SubscriptionSettings {
        checkpoint_every: 10 * DEADLINE,
        ..settings()
    };
    let first = Recorder::new();
    let running = world.start_with(&first, never, SubscriptionMetrics::default());
    let settled = world.follow(user_of(1)).await;
    first.wait_for_all(&[settled]).await;
    // It is handled in a later batch, when the first one is settled.
    let last = world.follow(user_of(1)).await;
    first.wait_for_all(&[last]).await;
    let partition = user_of(1).partition();
    let before = world.checkpoint(partition).await;
    running.stop().await;
    assert!(world.checkpoint(partition).await > before);

    let second = Recorder::new();
    let running = world.start(&second);
    let fresh = world.follow(user_of(1)).await;
    second.wait_for_all(&[fresh]).await;
    running.stop().await;
    assert!(!second.handled().contains(&settled));
}

/// Writes one row in a transaction of its session. If it is to die, it stops before the commit.
#[derive(Debug)]
struct InTransaction {
    session: tokio::sync::Mutex<ClientSession>,
    id: bson::Uuid,
    row: Collection<Document>,
    dies: bool,
    done: Notify,
}

impl InTransaction {
    async fn new(views: &Database, dies: bool) -> Arc<Self> {
        let session = views.client().start_session().await.unwrap();
        let Some(bson::Bson::Binary(id)) = session.id().get("id") else {
            panic!("a session has an id")
        };
        Arc::new(Self {
            id: id.to_uuid().unwrap(),
            session: tokio::sync::Mutex::new(session),
            row: views.collection("row"),
            dies,
            done: Notify::new(),
        })
    }
}

#[async_trait]
impl Handler for InTransaction {
    async fn handle(&self, _: &[Delivery]) -> Result<(), HandlerError> {
        let mut session = self.session.lock().await;
        session.start_transaction().await?;
        let counted = self
            .row
            .update_one(doc! { "_id": 1 }, doc! { "$inc": { "count": 1 } })
            .session(&mut *session)
            .await;
        if let Err(error) = counted {
            session.abort_transaction().await?;
            return Err(error.into());
        }
        if self.dies {
            self.done.notify_one();
            std::future::pending::<()>().await;
        }
        session.commit_transaction().await?;
        self.done.notify_one();
        Ok(())
    }

    async fn session(&self) -> Result<Option<bson::Uuid>, mongodb::error::Error> {
        Ok(Some(self.id))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_a_dead_process_left_open_is_ended_by_its_successor() {
    let world = World::on_a_patient_server().await;
    let rows = world.views.collection::<Document>("row");
    rows.insert_one(doc! { "_id": 1, "count": 0 }).await.unwrap();
    let first = InTransaction::new(&world.views, true).await;
    let dead = world.start_with(&first, settings(), SubscriptionMetrics::default());
    world.follow(user()).await;
    first.done.notified().await;
    // `first` keeps the session, so that the server is not told of its end.
    dead.kill(&first).await;

    let successor = InTransaction::new(&world.views, false).await;
    let running = world.start_with(&successor, settings(), SubscriptionMetrics::default());
    tokio::time::timeout(DEADLINE, successor.done.notified())
        .await
        .expect("the successor handles the event");
    let row = rows.find_one(doc! { "_id": 1 }).await.unwrap().unwrap();
    assert_eq!(row.get_i32("count").unwrap(), 1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_comes_back_moves_no_checkpoint_of_another() {
    let world = World::new().await;
    let recorder = Recorder::new();
    let patient = SubscriptionSettings {
        lease_duration: Duration::from_secs(3),
        ..settings()
    };
    let running = world.start_with(&recorder, patient, SubscriptionMetrics::default());
    let partition = Partition::new(3).unwrap();
    let id = world.follow(user_of(3)).await;
    recorder.wait_for_all(&[id]).await;
    let leases = world.views.collection::<Document>("leases");
    // Another owner: the fencing number is higher, and the owner shows signs of life.
    leases
        .update_one(
            doc! { "_id": "test/03" },
            doc! { "$set": { "owner": "another" }, "$inc": { "fence": 1, "beat": 1 } },
        )
        .await
        .unwrap();
    let before = world.checkpoint(partition).await;
    let barrier = world.store.mark_all().await.unwrap();
    eventually("the others have passed the barrier", || async {
        // The other shows that it lives.
        leases
            .update_one(
                doc! { "_id": "test/03", "owner": "another" },
                doc! { "$inc": { "beat": 1 } },
            )
            .await
            .unwrap();
        let all = world.leases().all().await.unwrap();
        all.iter()
            .all(|lease| lease.partition == partition || lease.position >= barrier)
    })
    .await;
    assert_eq!(world.checkpoint(partition).await, before);
    // The lease of the silent owner is taken, and the partition goes on.
    world.wait_for_checkpoints(barrier).await;
    running.stop().await;
}
