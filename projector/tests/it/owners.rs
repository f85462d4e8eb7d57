//! Checks that the views are the same, whichever processes start, work and end.
//!
//! It uses the real engine, handler and database. Each process is a runtime of its own. While people write, processes start, end in order,
//! or die in the middle of their work. So leases are shared, handed over, or taken over after they run out. In the end the views must match
//! the events.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use event_log::event_store::{EventStore, Retries};
use event_log::mongo::Databases;
use event_log::subscription::{
    Delivery, Handler, HandlerError, Subscription, SubscriptionMetrics, SubscriptionSettings,
};
use model::ids::{PostId, UserId};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use views::Timelines;
use views::{ViewMetrics, ViewProjection, Views, subscription_name};

use crate::oracle::Oracle;
use crate::world::{DEADLINE, World};

const USERS: u8 = 5;
/// How many cases every test run has. They are always the same.
const CASES: u32 = 6;
/// A case waits for leases to run out, so it is slow. `PROPTEST_CASES` asks for new random cases; only one in so many of them is run.
const ONE_IN: u32 = 200;
const MOST_AT_ONCE: usize = 3;

/// What a user does. The numbers choose from what exists, and impossible actions are skipped.
#[derive(Debug, Clone, Copy)]
enum Action {
    Post(u8),
    Reply(u8, u8),
    Delete(u8),
    Like(u8, u8),
    Repost(u8, u8),
    Follow(u8, u8),
    Unfollow(u8, u8),
}

/// What happens to the processes. `after`: as soon as the process has handled so many more events, or none is left.
#[derive(Debug, Clone, Copy)]
enum Change {
    Begin,
    End { process: u8, after: u8 },
    Die { process: u8, after: u8 },
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let user = || 0..USERS;
    let action = prop_oneof![
        8 => user().prop_map(Action::Post),
        2 => (user(), any::<u8>()).prop_map(|(user, post)| Action::Reply(user, post)),
        1 => any::<u8>().prop_map(Action::Delete),
        3 => (user(), any::<u8>()).prop_map(|(user, post)| Action::Like(user, post)),
        3 => (user(), any::<u8>()).prop_map(|(user, post)| Action::Repost(user, post)),
        5 => (user(), user()).prop_map(|(a, b)| Action::Follow(a, b)),
        2 => (user(), user()).prop_map(|(a, b)| Action::Unfollow(a, b)),
    ];
    vec(action, 100..250)
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        3 => Just(Change::Begin),
        1 => (any::<u8>(), 0_u8..20).prop_map(|(process, after)| Change::End { process, after }),
        2 => (any::<u8>(), 0_u8..20).prop_map(|(process, after)| Change::Die { process, after }),
    ];
    vec(change, 3..9)
}

/// Counts the events that it has handled.
#[derive(Debug)]
struct Watched {
    projection: ViewProjection,
    handled: watch::Sender<u64>,
    by_all: Arc<AtomicU64>,
}

#[async_trait]
impl Handler for Watched {
    async fn handle(&self, batch: &[Delivery]) -> Result<(), HandlerError> {
        self.projection.handle(batch).await?;
        self.by_all.fetch_add(batch.len() as u64, Ordering::Relaxed);
        self.handled.send_modify(|handled| *handled += batch.len() as u64);
        Ok(())
    }

    async fn session(&self) -> Result<Option<bson::Uuid>, mongodb::error::Error> {
        self.projection.session().await
    }
}

struct Process {
    /// Taken when the process dies.
    runtime: Option<Runtime>,
    handled: watch::Receiver<u64>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Process {
    async fn end(mut self) {
        self.shutdown.cancel();
        tokio::time::timeout(DEADLINE, &mut self.task)
            .await
            .expect("it ends in time")
            .unwrap();
    }
}

/// Every task stops at its next await: nothing is finished, saved or given back.
impl Drop for Process {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The world of one case.
struct Case {
    world: Arc<World>,
    views: Views,
    settings: SubscriptionSettings,
    handled: Arc<AtomicU64>,
    running: Vec<Process>,
}

impl Case {
    async fn new() -> Self {
        let world = Arc::new(World::new().await);
        let views = world.active_views().await;
        views.ensure().await.unwrap();
        let settings = SubscriptionSettings {
            lease_duration: Duration::from_millis(600),
            renew_every: Duration::from_millis(100),
            heartbeat_every: Duration::from_millis(200),
            idle_checkpoint_every: Duration::from_millis(50),
            backoff: Duration::from_millis(5),
            backoff_max: Duration::from_millis(50),
            ..SubscriptionSettings::default()
        };
        Self {
            world,
            views,
            settings,
            handled: Arc::default(),
            running: Vec::new(),
        }
    }

    fn begin(&mut self) {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (handled, told) = watch::channel(0);
        let shutdown = CancellationToken::new();
        let (mongodb, clock) = (self.world.config().mongodb, self.world.clock.clone());
        let (generation, settings) = (self.views.generation(), self.settings.clone());
        let (by_all, token) = (self.handled.clone(), shutdown.clone());
        let task = runtime.spawn(async move {
            let databases = Databases::connect(&mongodb, "projector").await.unwrap();
            let store = EventStore::open(databases.events.clone(), clock.clone(), Retries::default())
                .await
                .unwrap();
            let views = Views::new(&databases.views, generation);
            let handler = Watched {
                projection: ViewProjection::new(views, Timelines::default(), clock.clone(), ViewMetrics::default()),
                handled,
                by_all,
            };
            let (name, metrics) = (subscription_name(generation), SubscriptionMetrics::default());
            Subscription::new(&name, store, &databases, Arc::new(handler), settings, metrics, clock)
                .run(token)
                .await;
        });
        self.running.push(Process {
            runtime: Some(runtime),
            handled: told,
            shutdown,
            task,
        });
    }

    /// Takes a running process, when it has handled so many more events, or when nothing is left to handle.
    async fn chosen(&mut self, process: u8, after: u8) -> Process {
        let mut chosen = self.running.remove(usize::from(process) % self.running.len());
        let enough = *chosen.handled.borrow() + u64::from(after);
        tokio::select! {
            reached = chosen.handled.wait_for(|&handled| handled >= enough) => drop(reached.expect("it runs")),
            () = self.world.caught_up() => {}
        }
        chosen
    }

    async fn change(&mut self, change: Change) {
        if self.running.is_empty() {
            self.begin();
        }
        match change {
            Change::Begin if self.running.len() < MOST_AT_ONCE => self.begin(),
            Change::Begin => {}
            Change::End { process, after } => self.chosen(process, after).await.end().await,
            Change::Die { process, after } => drop(self.chosen(process, after).await),
        }
    }
}

/// Each write sees the earlier ones, as commands do.
async fn write(world: &World, users: &[UserId], actions: &[Action]) {
    let of = |user: u8| users[usize::from(user)];
    let mut posts: Vec<PostId> = Vec::new();
    let (mut liked, mut reposted, mut following) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (number, &action) in actions.iter().enumerate() {
        let post = |choice: u8| (!posts.is_empty()).then(|| posts[usize::from(choice) % posts.len()]);
        match action {
            Action::Post(user) => posts.push(world.post(of(user), &format!("post {number}")).await),
            Action::Reply(user, to) => {
                let Some(to) = post(to) else { continue };
                posts.push(world.reply(of(user), &format!("reply {number}"), to).await);
            }
            Action::Delete(choice) => {
                let Some(post) = post(choice) else { continue };
                posts.retain(|&other| other != post);
                world.delete_post(post).await;
            }
            Action::Like(user, choice) => {
                let Some(post) = post(choice) else { continue };
                if liked.insert((user, post)) {
                    world.like(of(user), post).await;
                }
            }
            Action::Repost(user, choice) => {
                let Some(post) = post(choice) else { continue };
                if reposted.insert((user, post)) {
                    world.repost(of(user), post).await;
                }
            }
            Action::Follow(follower, followee) => {
                if follower != followee && following.insert((follower, followee)) {
                    world.follow(of(follower), of(followee)).await;
                }
            }
            Action::Unfollow(follower, followee) => {
                if following.remove(&(follower, followee)) {
                    world.unfollow(of(follower), of(followee)).await;
                }
            }
        }
    }
}

/// Returns how many events were handled more than once.
async fn check(actions: &[Action], changes: &[Change]) -> u64 {
    let mut case = Case::new().await;
    let world = case.world.clone();
    let users = world.users(usize::from(USERS)).await;
    let changing = async {
        for &change in changes {
            case.change(change).await;
        }
        if case.running.is_empty() {
            case.begin();
        }
    };
    tokio::join!(write(&world, &users, actions), changing);
    world.caught_up().await;
    Oracle::of(&world.store).await.assert_shown_by(&case.views).await;
    for process in case.running {
        process.end().await;
    }
    let events = world.store.estimate().await.unwrap();
    case.handled.load(Ordering::Relaxed).saturating_sub(events)
}

#[test]
fn whoever_comes_and_goes_the_views_are_the_same() {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let config = Config {
        max_shrink_iters: 20,
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = if std::env::var_os("PROPTEST_CASES").is_some() {
        let cases = (config.cases / ONE_IN).max(CASES);
        TestRunner::new(Config { cases, ..config })
    } else {
        let seeded = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
        TestRunner::new_with_rng(Config { cases: CASES, ..config }, seeded)
    };
    let again = AtomicU64::new(0);
    let checked = runner.run(&(actions(), changes()), |(actions, changes)| {
        let repeated = runtime.block_on(check(&actions, &changes));
        again.fetch_add(repeated, Ordering::Relaxed);
        Ok(())
    });
    if let Err(error) = checked {
        panic!("{error}");
    }
    assert!(again.into_inner() > 0, "no process that died left any event to repeat");
}
