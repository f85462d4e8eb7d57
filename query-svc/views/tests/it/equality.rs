//! Any interleaving, duplication and restart of a history gives the same views.
//!
//! A history is what users did. A schedule is how its events reach the handlers: lane by lane and batch by batch, several at the same time
//! and by two processes. Lanes go back to an earlier checkpoint. Processes die between any two steps and leave the rest to a successor. Or
//! all events come in any order, as in a scan. Meanwhile owners visit or stay away, and time passes. In the end, the rows equal those of
//! one run in order, and the home timelines equal those of the definition, both in this generation and in a rebuilt one.

use std::collections::{BTreeMap, HashSet};
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bson::doc;
use event_log::subscription::{Delivery, Handler};
use futures_util::future::{join_all, poll_fn};
use model::ids::{ListId, PostId, UserId};
use model::tags::TagKey;
use model::values::Visibility;
use mongodb::Database;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use views::Timelines;
use views::ViewMetrics;

use crate::definition;
use crate::fixture::{Projected, StandingClock, Store, clock, database, timelines};
use crate::notifications;
use crate::served::{self, Met, Visit};

const USERS: u8 = 6;
/// Some are spellings of the same tag.
const TAGS: [&str; 4] = ["Rust", "rust", "東京", "none"];
/// How many cases each test run has. They are always the same.
const CASES: u32 = 20;
/// A case takes half a second. So of the new cases that `PROPTEST_CASES` asks for, only one in this many runs.
const ONE_IN: u32 = 40;
/// The most turns that a process needs for a few events. Each answer of the database is a turn, and so is each wait for another lane.
const MOST_TURNS: u8 = 80;

/// What a user does. Numbers choose among the existing users and posts. An action that makes no sense is skipped.
#[derive(Debug, Clone, Copy)]
enum Action {
    /// Who writes it, who may see it, and who is mentioned.
    Post(u8, Visibility, u8),
    Reply(u8, u8),
    Quote(u8, u8),
    /// Afterwards another user may be mentioned. Every other time it is the post that was reposted last.
    Edit(u8, u8),
    Delete(u8),
    Like(u8, u8),
    Repost(u8, u8),
    Follow(u8, u8),
    /// If true, the user follows again right after.
    Unfollow(u8, u8, bool),
    /// Asks to follow, or takes the request back.
    Request(u8, u8),
    /// Begins to block, or ends it.
    Block(u8, u8),
    /// Begins to mute, with an end if true, or ends it.
    Mute(u8, u8, bool),
    /// Follows one of the tags, or stops following it.
    FollowTag(u8, u8),
    /// Makes the list of this owner what a number says, or deletes it.
    List(u8, u8),
    /// Comes into the list of an owner, or leaves it.
    ListMember(u8, u8),
    ListTag(u8, u8),
    /// Has read all notifications so far, and dismisses what the last event told.
    ReadNotifications(u8),
    Rename(u8),
    DeleteUser(u8),
}

/// How the next events reach the handlers, or what else happens meanwhile.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// Delivers the next events of some lanes at the same time: which lane, how many events, by which process.
    Deliver([(u8, u8, bool); 3]),
    /// A lane goes back by this many events. Another process takes it over while the first one continues.
    Repeat(u8, u8),
    /// A process dies after this many turns, while it handles the next events of some lanes. Another one starts again at earlier
    /// checkpoints.
    Die([(u8, u8); 2], u8),
    /// An owner reads.
    Visit(u8),
    /// A time after which an owner who does not read meanwhile becomes idle.
    Absence,
    /// A time after which entries below floors can be removed.
    Minute,
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let user = 0..USERS;
    // The first users write most, and have most followers.
    let writer = prop_oneof![3 => 0_u8..2, 1 => 0..USERS];
    let action = prop_oneof![
        14 => (writer.clone(), visibility(), user.clone()).prop_map(|(user, to, other)| Action::Post(user, to, other)),
        2 => (user.clone(), any::<u8>()).prop_map(|(user, post)| Action::Reply(user, post)),
        1 => (user.clone(), any::<u8>()).prop_map(|(user, post)| Action::Quote(user, post)),
        2 => (any::<u8>(), user.clone()).prop_map(|(post, other)| Action::Edit(post, other)),
        2 => any::<u8>().prop_map(Action::Delete),
        3 => (user.clone(), any::<u8>()).prop_map(|(user, post)| Action::Like(user, post)),
        4 => (writer.clone(), any::<u8>()).prop_map(|(user, post)| Action::Repost(user, post)),
        10 => (user.clone(), writer.clone()).prop_map(|(a, b)| Action::Follow(a, b)),
        4 => (user.clone(), writer, any::<bool>()).prop_map(|(a, b, again)| Action::Unfollow(a, b, again)),
        1 => (user.clone(), user.clone()).prop_map(|(a, b)| Action::Request(a, b)),
        1 => (user.clone(), user.clone()).prop_map(|(a, b)| Action::Block(a, b)),
        1 => (user.clone(), user.clone(), any::<bool>()).prop_map(|(a, b, ends)| Action::Mute(a, b, ends)),
        3 => (user.clone(), any::<u8>()).prop_map(|(user, tag)| Action::FollowTag(user, tag)),
        1 => (user.clone(), any::<u8>()).prop_map(|(owner, change)| Action::List(owner, change)),
        2 => (user.clone(), user.clone()).prop_map(|(owner, member)| Action::ListMember(owner, member)),
        1 => (user.clone(), any::<u8>()).prop_map(|(owner, tag)| Action::ListTag(owner, tag)),
        1 => user.clone().prop_map(Action::ReadNotifications),
        1 => user.clone().prop_map(Action::Rename),
        1 => (3..USERS).prop_map(Action::DeleteUser),
    ];
    vec(action, 20..70)
}

fn visibility() -> impl Strategy<Value = Visibility> {
    prop_oneof![
        4 => Just(Visibility::Public),
        1 => Just(Visibility::Unlisted),
        1 => Just(Visibility::Followers),
        2 => Just(Visibility::Mentioned),
    ]
}

fn schedule() -> impl Strategy<Value = Vec<Step>> {
    let delivery = (any::<u8>(), 1_u8..5, any::<bool>());
    let dying = (any::<u8>(), 1_u8..5);
    let step = prop_oneof![
        10 => [delivery.clone(), delivery.clone(), delivery].prop_map(Step::Deliver),
        3 => (any::<u8>(), 1_u8..8).prop_map(|(lane, by)| Step::Repeat(lane, by)),
        3 => ([dying.clone(), dying], 1..MOST_TURNS).prop_map(|(lanes, turns)| Step::Die(lanes, turns)),
        2 => (0..USERS).prop_map(Step::Visit),
        1 => Just(Step::Absence),
        1 => Just(Step::Minute),
    ];
    vec(step, 10..40)
}

/// Carries out the actions. Later ones see what earlier ones did, as commands do.
fn history(store: &mut Store, users: &[UserId], actions: &[Action]) {
    let mut posts: Vec<PostId> = Vec::new();
    let mut deleted: HashSet<PostId> = HashSet::new();
    let mut likes: HashSet<(UserId, PostId)> = HashSet::new();
    let mut follows: HashSet<(UserId, UserId)> = HashSet::new();
    let (mut requests, mut blocks, mut mutes) = (follows.clone(), follows.clone(), follows.clone());
    let mut members = follows.clone();
    let mut list_tags: HashSet<(u8, TagKey)> = HashSet::new();
    // Each user has one list.
    let list = |owner: u8| ListId::from_bytes([owner + 1; 16]);
    let toggle = |all: &mut HashSet<(UserId, UserId)>, pair: (u8, u8)| {
        let pair = (users[usize::from(pair.0)], users[usize::from(pair.1)]);
        let begins = all.insert(pair) || !all.remove(&pair);
        (pair, begins)
    };
    let mut followed_tags: HashSet<(UserId, TagKey)> = HashSet::new();
    let tag = |n: usize| TAGS[n % TAGS.len()];
    let live = |store: &Store, user: u8| {
        let id = users[usize::from(user)];
        (!store.users[&id].deleted).then_some(id)
    };
    let pick = |posts: &[PostId], deleted: &HashSet<PostId>, n: u8| {
        let there: Vec<PostId> = posts.iter().copied().filter(|post| !deleted.contains(post)).collect();
        (!there.is_empty()).then(|| there[usize::from(n) % there.len()])
    };
    for (n, &action) in actions.iter().enumerate() {
        match action {
            Action::Post(user, visibility, other) => {
                let Some(user) = live(store, user) else { continue };
                let text = format!("[warning {n}] post {n} #{} @user{other}", tag(n));
                posts.push(store.write(user, &text, None, visibility));
            }
            Action::Reply(user, parent) => {
                let (Some(user), Some(parent)) = (live(store, user), pick(&posts, &deleted, parent)) else {
                    continue;
                };
                posts.push(store.write(
                    user,
                    &format!("reply {n} #{}", tag(n)),
                    Some(parent),
                    Visibility::Public,
                ));
            }
            Action::Quote(user, quoted) => {
                let (Some(user), Some(quoted)) = (live(store, user), pick(&posts, &deleted, quoted)) else {
                    continue;
                };
                posts.push(store.quote(user, &format!("quote {n}"), quoted));
            }
            Action::Edit(post, other) => {
                let reposts = store
                    .reposts
                    .values()
                    .filter(|it| it.active && !deleted.contains(&it.post));
                let reposted = reposts.max_by_key(|it| it.id).map(|it| it.post);
                let reposted = reposted.filter(|_| post % 2 == 0);
                let Some(post) = reposted.or_else(|| pick(&posts, &deleted, post)) else {
                    continue;
                };
                let text = format!("edited {n} #{} #{} @user{other}", tag(n), tag(n / 2));
                store.edit(post, &text);
            }
            Action::Delete(post) => {
                let Some(post) = pick(&posts, &deleted, post) else {
                    continue;
                };
                store.delete_post(post);
                deleted.insert(post);
            }
            Action::Like(user, post) => {
                let (Some(user), Some(post)) = (live(store, user), pick(&posts, &deleted, post)) else {
                    continue;
                };
                let active = likes.insert((user, post));
                if !active {
                    likes.remove(&(user, post));
                }
                store.like(user, post, active);
            }
            Action::Repost(user, post) => {
                let (Some(user), Some(post)) = (live(store, user), pick(&posts, &deleted, post)) else {
                    continue;
                };
                if !store.posts[&post].visibility.is_open() {
                    continue;
                }
                if store.reposts.get(&(user, post)).is_some_and(|repost| repost.active) {
                    store.unrepost(user, post);
                } else {
                    store.repost(user, post);
                }
            }
            Action::Follow(follower, followee) => {
                let (Some(follower), Some(followee)) = (live(store, follower), live(store, followee)) else {
                    continue;
                };
                if follower != followee && follows.insert((follower, followee)) {
                    if requests.remove(&(follower, followee)) {
                        store.accept(follower, followee);
                    } else {
                        store.follow(follower, followee);
                    }
                }
            }
            Action::Unfollow(follower, followee, again) => {
                let (follower, followee) = (users[usize::from(follower)], users[usize::from(followee)]);
                if follows.remove(&(follower, followee)) {
                    store.unfollow(follower, followee);
                    if again && !store.users[&follower].deleted && !store.users[&followee].deleted {
                        follows.insert((follower, followee));
                        store.follow(follower, followee);
                    }
                }
            }
            Action::Request(follower, followee) => {
                if follows.contains(&(users[usize::from(follower)], users[usize::from(followee)])) {
                    continue;
                }
                let ((follower, followee), requested) = toggle(&mut requests, (follower, followee));
                store.request(follower, followee, requested);
            }
            Action::Block(blocker, blocked) => {
                let ((blocker, blocked), active) = toggle(&mut blocks, (blocker, blocked));
                store.block(blocker, blocked, active);
            }
            Action::Mute(muter, muted, ends) => {
                let ((muter, muted), active) = toggle(&mut mutes, (muter, muted));
                store.mute(muter, muted, active, ends);
            }
            Action::FollowTag(user, number) => {
                let Some(user) = live(store, user) else { continue };
                let followed = (user, TagKey::of(tag(number.into())));
                let active = followed_tags.insert(followed.clone());
                if !active {
                    followed_tags.remove(&followed);
                }
                store.follow_tag(user, tag(number.into()), active);
            }
            Action::List(owner, change) => {
                let titles = [Some("friends"), Some("family"), None];
                let (owner, id) = (users[usize::from(owner)], list(owner));
                store.list(id, owner, titles[usize::from(change) % 3], change % 2 == 0);
            }
            Action::ListMember(owner, member) => {
                let ((owner_id, member), active) = toggle(&mut members, (owner, member));
                store.list_member(list(owner), owner_id, member, active);
            }
            Action::ListTag(owner, number) => {
                let listed = (owner, TagKey::of(tag(number.into())));
                let active = list_tags.insert(listed.clone()) || !list_tags.remove(&listed);
                store.list_tag(list(owner), users[usize::from(owner)], tag(number.into()), active);
            }
            Action::ReadNotifications(user) => {
                let Some(user) = live(store, user) else { continue };
                let last = store.last().recorded.id;
                store.read_notifications(user, last);
                store.dismiss(user, last);
            }
            Action::Rename(user) => {
                let Some(user) = live(store, user) else { continue };
                store.rename(user, &format!("Name {n}"));
            }
            Action::DeleteUser(user) => {
                let Some(user) = live(store, user) else { continue };
                store.delete_user(user);
            }
        }
    }
}

/// The events of each audience in commit order, and how many are handled.
struct Lanes {
    lanes: Vec<(Vec<Delivery>, usize)>,
}

impl Lanes {
    fn of(log: &[Delivery]) -> Self {
        let mut lanes: BTreeMap<UserId, Vec<Delivery>> = BTreeMap::new();
        for delivery in log {
            lanes
                .entry(delivery.event.audience())
                .or_default()
                .push(delivery.clone());
        }
        Self {
            lanes: lanes.into_values().map(|lane| (lane, 0)).collect(),
        }
    }

    fn take(&mut self, lane: u8, count: u8) -> Vec<Delivery> {
        let index = usize::from(lane) % self.lanes.len();
        let (events, done) = &mut self.lanes[index];
        let end = (*done + usize::from(count)).min(events.len());
        let batch = events[*done..end].to_vec();
        *done = end;
        batch
    }

    /// The events that are handled again, from an earlier checkpoint on.
    fn again(&self, lane: u8, count: u8) -> Vec<Delivery> {
        let (events, done) = &self.lanes[usize::from(lane) % self.lanes.len()];
        events[done.saturating_sub(usize::from(count))..*done].to_vec()
    }

    fn rest(&mut self) -> Vec<Vec<Delivery>> {
        self.lanes
            .iter_mut()
            .map(|(events, done)| events.split_off(*done))
            .collect()
    }
}

/// The environment of a case, and what all cases have met so far.
struct Cases {
    database: Database,
    generation: i64,
    timelines: Timelines,
    metrics: ViewMetrics,
    met: Met,
    /// How often a process died in the middle of its work.
    deaths: u64,
    /// How often somebody is told of an edit.
    edits: usize,
}

impl Cases {
    async fn process(&self, clock: &Arc<StandingClock>) -> Projected {
        let (clock, metrics, timelines) = (clock.clone(), self.metrics.clone(), self.timelines.clone());
        Projected::with_timelines(&self.database, self.generation, clock, metrics, timelines).await
    }

    async fn check(
        &mut self,
        actions: &[Action],
        schedule: &[Step],
        scan: bool,
        trims: bool,
    ) -> Result<(), TestCaseError> {
        let clock = clock();
        let mut store = Store::new(clock.clone());
        let users: Vec<UserId> = (0..USERS).map(|n| store.register(&format!("user{n}"))).collect();
        history(&mut store, &users, actions);
        self.generation += 3;
        // Trimming raises floors too. That would hide a floor that was not raised although it should be.
        let one_in = if trims { 1 } else { u32::MAX };
        self.timelines = Timelines {
            trim_one_in: NonZeroU32::new(one_in).unwrap(),
            ..timelines()
        };
        let (here, there) = (self.process(&clock).await, self.process(&clock).await);
        let mut lanes = Lanes::of(&store.log);
        for &step in schedule {
            self.step(step, &mut lanes, &users, &here, &there).await;
        }
        if scan {
            // The oplog has rolled over. The other events come in the order of a scan, which is arbitrary.
            let mut rest = lanes.rest().concat();
            rest.sort_by_key(|delivery| delivery.recorded.id.as_bytes()[15]);
            here.deliver(&rest).await;
        } else {
            join_all(lanes.rest().iter().map(|lane| here.projection.handle(lane)))
                .await
                .into_iter()
                .for_each(Result::unwrap);
        }
        self.compare(&store, &here, Visit::Silent, 5).await?;
        self.compare(&store, &here, Visit::Owner, 20).await?;

        let orderly = Projected::new(&self.database, self.generation + 1, here.clock.clone()).await;
        orderly.projection.apply_rows_only(&store.log).await.unwrap();
        prop_assert_eq!(here.rows().await, orderly.rows().await);

        // The same history again as a new generation. Then its subscription delivers a second time what it would deliver twice.
        orderly.fill(Some(here.views.clone())).await;
        self.compare(&store, &orderly, Visit::Silent, 20).await?;
        let late = Lanes::of(&store.log[store.log.len() / 2..]).rest();
        join_all(late.iter().map(|lane| orderly.projection.handle(lane)))
            .await
            .into_iter()
            .for_each(Result::unwrap);
        self.compare(&store, &orderly, Visit::Silent, 20).await?;
        orderly.drop().await;
        here.drop().await;
        Ok(())
    }

    async fn step(&mut self, step: Step, lanes: &mut Lanes, users: &[UserId], here: &Projected, there: &Projected) {
        match step {
            Step::Deliver(deliveries) => {
                let batches = deliveries.map(|(lane, count, elsewhere)| (lanes.take(lane, count), elsewhere));
                let handled = batches.iter().map(|(batch, elsewhere)| {
                    let process = if *elsewhere { there } else { here };
                    process.projection.handle(batch)
                });
                join_all(handled).await.into_iter().for_each(Result::unwrap);
            }
            Step::Repeat(lane, by) => {
                let (again, next) = (lanes.again(lane, by), lanes.take(lane, by));
                let (again, next) = tokio::join!(there.projection.handle(&again), here.projection.handle(&next));
                again.unwrap();
                next.unwrap();
            }
            Step::Die(of_lanes, turns) => self.die(of_lanes, turns, lanes, here).await,
            Step::Visit(user) => {
                served::home_timeline(here, users[usize::from(user)], Visit::Owner, 3, &mut self.met).await;
            }
            Step::Absence => {
                here.clock.advance(timelines().idle_after);
                here.projection.mark_idle_owners().await.unwrap();
            }
            Step::Minute => here.clock.advance(timelines().trim_delay + Duration::from_secs(1)),
        }
    }

    async fn die(&mut self, of_lanes: [(u8, u8); 2], turns: u8, lanes: &mut Lanes, successor: &Projected) {
        let dying = self.process(&successor.clock).await;
        let session = dying.projection.session().await.unwrap().unwrap();
        let batches = of_lanes.map(|(lane, count)| lanes.take(lane, count));
        let work = join_all(batches.iter().map(|batch| dying.projection.handle(batch)));
        match cut_off(work, turns).await {
            Some(outcomes) => outcomes.into_iter().for_each(Result::unwrap),
            None => self.deaths += 1,
        }
        // A process that takes over the leases does the same before anything else.
        let end = doc! { "killSessions": [{ "id": session }] };
        let admin = self.database.client().database("admin");
        admin.run_command(end).await.unwrap();
        // The checkpoints may be older than the work that was cut off.
        let again = of_lanes.map(|(lane, _)| lanes.again(lane, 12));
        join_all(again.iter().map(|lane| successor.projection.handle(lane)))
            .await
            .into_iter()
            .for_each(Result::unwrap);
    }

    async fn compare(
        &mut self,
        store: &Store,
        projected: &Projected,
        visit: Visit,
        page: u32,
    ) -> Result<(), TestCaseError> {
        for user in definition::live_users(&store.log) {
            let edits = notifications::told_of_edits(projected, user).await;
            self.edits += edits.len();
            prop_assert_eq!(
                edits,
                notifications::edits(&store.log, user),
                "edits that {} is told of",
                user
            );
            let expected = definition::home_timeline(&store.log, user);
            let served = served::home_timeline(projected, user, visit, page, &mut self.met).await;
            prop_assert_eq!(served, expected, "home timeline of {} ({:?})", user, visit);
        }
        Ok(())
    }
}

/// Polls the work this many times and then drops it, as `SIGKILL` would. The requests that it has sent to the database are still carried
/// out, now or later.
async fn cut_off<F: Future>(work: F, turns: u8) -> Option<F::Output> {
    let mut work = pin!(work);
    let mut left = turns;
    poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if left == 0 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}

#[test]
fn any_schedule_gives_the_same_views() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let (_database, views) = runtime.block_on(database());
    let cases = Cases {
        database: views,
        generation: 0,
        timelines: timelines(),
        metrics: ViewMetrics::default(),
        met: Met::default(),
        deaths: 0,
        edits: 0,
    };
    let cases = std::cell::RefCell::new(cases);
    let config = Config {
        max_shrink_iters: 40,
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
    let checked = runner.run(
        &(actions(), schedule(), any::<bool>(), any::<bool>()),
        |(actions, schedule, scan, trims)| runtime.block_on(cases.borrow_mut().check(&actions, &schedule, scan, trims)),
    );
    if let Err(error) = checked {
        panic!("{error}");
    }
    // A branch that no case has entered is not tested.
    let cases = cases.into_inner();
    let entered = [
        ("fan-out", cases.metrics.fanned_out_entries.get()),
        ("backfill", cases.metrics.backfilled_entries.get()),
        ("a floor raised by a follow", cases.metrics.raised_floors.get()),
        ("refused guard", cases.metrics.refused_guards.get()),
        ("owner marked idle", cases.metrics.idle_marks.get()),
        ("idle owner skipped", cases.metrics.idle_skips.get()),
        ("idle owner woken", cases.met.woken),
        ("idle owner read", cases.met.idle),
        ("crossing", cases.metrics.crossings.get()),
        ("post of a large account", cases.metrics.large_posts.get()),
        ("large account read", cases.met.large),
        ("followed tag read", cases.met.tags),
        ("below the floor", cases.met.below_the_floor),
        ("trim", cases.metrics.trims.get()),
        ("removal", cases.metrics.trimmed_entries.get()),
        ("conflict of two transactions", cases.metrics.conflicts.get()),
        ("death in the middle of it", cases.deaths),
        ("told of an edit", cases.edits as u64),
    ];
    for (branch, count) in entered {
        assert!(count > 0, "never entered: {branch} (of {entered:?})");
    }
}
