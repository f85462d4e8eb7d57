//! Tests of a client that polls a list in which items arrive late. Events are committed in another order than that of their
//! ids. The views handle partitions side by side. Checkpoints come after the rows.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use model::ids::{Partition, UserId};
use uuid::Uuid;

use super::*;

const PARTITIONS: u8 = 3;
const OVERLAP: i64 = 10;
/// The most seconds by which an id is older than the position of its event.
const MOST_BEHIND: i64 = 8;

/// An item, and what decides whether it is shown.
#[derive(Debug, Clone, Copy)]
struct Item {
    place: Cursor,
    position: Position,
    /// False for a row that a scan has written, or a release that did not store positions yet.
    position_is_stored: bool,
    author: UserId,
    /// For a repost: the place of its original, and the author of the original.
    original: Option<(Cursor, UserId)>,
    hidden: bool,
}

fn user(partition: u8) -> UserId {
    UserId::from_uuid(Uuid::from_u128(u128::from(partition)))
}

/// The event store, the projectors and the views.
#[derive(Debug, Clone)]
struct World {
    now: i64,
    committed: u64,
    queues: Vec<VecDeque<Item>>,
    rows: BTreeMap<Cursor, Item>,
    handled: Vec<Position>,
    checkpoints: Vec<Position>,
}

impl World {
    fn new() -> Self {
        let partitions = usize::from(PARTITIONS);
        let mut world = Self {
            now: 1_764_000_000,
            committed: 0,
            queues: vec![VecDeque::new(); partitions],
            rows: BTreeMap::new(),
            handled: vec![Position::ORIGIN; partitions],
            checkpoints: Vec::new(),
        };
        world.checkpoints = vec![world.frontier(); partitions];
        world.handled.clone_from(&world.checkpoints);
        world
    }

    fn frontier(&self) -> Position {
        Position::from_u64(u64::try_from(self.now).unwrap() << 32 | self.committed)
    }

    fn time(&self) -> DateTime<Utc> {
        DateTime::from_timestamp(self.now, 0).unwrap()
    }

    fn commit(&mut self, partition: u8, behind: i64, original: Option<Item>, (hidden, stored): (bool, bool)) {
        self.committed += 1;
        let item = Item {
            place: PostId::new(self.time() - TimeDelta::seconds(behind)).into(),
            position: self.frontier(),
            position_is_stored: stored,
            author: user(partition),
            original: original.map(|original| (original.place, original.author)),
            hidden,
        };
        self.queues[usize::from(partition)].push_back(item);
    }

    /// Writes the rows of the next events of a partition.
    fn handle(&mut self, partition: u8, count: usize) {
        let partition = usize::from(partition);
        for _ in 0..count {
            let Some(item) = self.queues[partition].pop_front() else {
                self.handled[partition] = self.frontier();
                return;
            };
            self.rows.insert(item.place, item);
            self.handled[partition] = item.position;
        }
    }

    fn checkpoint(&mut self, partition: u8) {
        let partition = usize::from(partition);
        self.checkpoints[partition] = self.handled[partition];
    }

    fn settle(&mut self) {
        for partition in 0..PARTITIONS {
            self.handle(partition, usize::MAX);
            self.checkpoint(partition);
        }
    }

    fn held(&self) -> Handled {
        let of = |partition: Partition| self.checkpoints.get(partition.index()).copied();
        Handled::new(|partition| of(partition).unwrap_or(self.frontier()))
    }

    fn shows(&self, item: &Item) -> bool {
        !item.hidden && item.original.is_none_or(|(place, _)| self.rows.contains_key(&place))
    }

    fn shown(&self) -> BTreeSet<Cursor> {
        self.rows
            .values()
            .filter(|item| self.shows(item))
            .map(|item| item.place)
            .collect()
    }
}

fn appearance(item: &Item) -> Option<Appearance> {
    item.position_is_stored.then(|| Appearance {
        position: item.position,
        audiences: [item.author, item.original.map_or(item.author, |(_, author)| author)],
    })
}

impl Listing for &World {
    type Candidate = Item;
    type Item = Item;

    fn place(item: &Item) -> Cursor {
        item.place
    }

    async fn older(&mut self, below: Cursor, count: usize) -> Result<Part<Item>, ReadError> {
        let found = self
            .rows
            .range(..below)
            .rev()
            .take(count)
            .map(|(_, item)| *item)
            .collect();
        Ok(Part::of(found, count, Self::place))
    }

    async fn newer(&mut self, above: Cursor, count: usize) -> Result<Part<Item>, ReadError> {
        let found = self
            .rows
            .range(above.above()..)
            .take(count)
            .map(|(_, item)| *item)
            .collect();
        Ok(Part::of(found, count, Self::place))
    }

    async fn appearances(&mut self, items: &[Item]) -> Result<Vec<Option<Appearance>>, ReadError> {
        Ok(items.iter().map(appearance).collect())
    }

    async fn admit(&mut self, items: &[Item]) -> Result<Vec<Option<Item>>, ReadError> {
        Ok(items.iter().map(|item| self.shows(item).then_some(*item)).collect())
    }
}

/// A client that polls. It keeps only the last `prev`, as text.
#[derive(Debug)]
struct Poller {
    limit: usize,
    budget: Budget,
    since: Option<String>,
    /// The items that the client has got, and whether each may come again. An item may come again if it was not certain that
    /// every reader shows it, either when it came or at a later poll of another reader.
    got: BTreeMap<Cursor, (Item, bool)>,
    again: usize,
}

impl Poller {
    fn new(limit: usize, budget: Budget) -> Self {
        Self {
            limit,
            budget,
            since: None,
            got: BTreeMap::new(),
            again: 0,
        }
    }

    /// Polls once. Returns whether there may be more at once: the page is full, or a look for late items continues.
    fn poll(&mut self, world: &World) -> bool {
        let since: Option<Since> = self.since.as_ref().map(|text| text.parse().unwrap());
        let resumed = since.as_ref().and_then(|since| since.seen.as_ref()?.resumed.clone());
        // An item is certain if the views held it when the look began, and hold it now, where the look continues.
        let held = resumed.map_or_else(|| world.held(), |resumed| resumed.handled.min(&world.held()));
        let start = since.map_or(Start::Newest, Start::After);
        let arrival = Arrival::Late {
            handled: world.held(),
            now: world.time(),
            overlap: TimeDelta::seconds(OVERLAP),
        };
        let limit = self.limit;
        let mut list = world;
        let page = page_within(self.budget, &mut list, PageRequest { limit, start }, &arrival);
        let page = page.now_or_never().unwrap().unwrap();
        assert!(page.items.len() <= self.limit);
        assert!(page.items.windows(2).all(|two| two[0].place > two[1].place));
        let full = page.items.len() == self.limit;
        let sure = |item: &Item| appearance(item).is_some_and(|appearance| held.shows(&appearance));
        for (item, may_come_again) in self.got.values_mut() {
            *may_come_again |= !sure(item);
        }
        for item in page.items {
            if let Some((_, may_come_again)) = self.got.insert(item.place, (item, !sure(&item))) {
                assert!(may_come_again, "{item:?} comes again without need");
                self.again += 1;
            }
        }
        let prev = page.prev.unwrap();
        let goes_on = full || prev.seen.as_ref().is_some_and(|seen| seen.resumed.is_some());
        self.since = Some(prev.to_string());
        goes_on
    }
}

#[derive(Debug, Clone)]
enum Step {
    Commit {
        partition: u8,
        behind: i64,
        repost: bool,
        hidden: bool,
        stored: bool,
    },
    Handle {
        partition: u8,
        count: usize,
    },
    Checkpoint {
        partition: u8,
    },
    Pass {
        seconds: i64,
    },
    Poll,
    /// Polls a reader that shows the views as they were at the last `CatchUp`, or at the beginning.
    PollBehind,
    CatchUp,
}

fn step() -> impl Strategy<Value = Step> {
    let partition = || 0..PARTITIONS;
    prop_oneof![
        6 => (partition(), 0..=MOST_BEHIND, any::<bool>(), proptest::bool::weighted(0.2), proptest::bool::weighted(0.9))
            .prop_map(|(partition, behind, repost, hidden, stored)| Step::Commit { partition, behind, repost, hidden, stored }),
        4 => (partition(), 1..4_usize).prop_map(|(partition, count)| Step::Handle { partition, count }),
        3 => partition().prop_map(|partition| Step::Checkpoint { partition }),
        1 => (1..6_i64).prop_map(|seconds| Step::Pass { seconds }),
        4 => Just(Step::Poll),
        2 => Just(Step::PollBehind),
        1 => Just(Step::CatchUp),
    ]
}

proptest! {
    /// The client gets every item that appears after the first page, in whatever order all this happens, even if a reader
    /// that is behind makes some of the pages. An item comes again only if it was not certain that every reader shows it.
    #[test]
    fn who_polls_misses_nothing(
        before in proptest::collection::vec(step(), 0..20),
        steps in proptest::collection::vec(step(), 0..120),
        limit in 1_usize..6,
        decided in 1_usize..10,
    ) {
        let mut world = World::new();
        let mut poller = Poller::new(limit, Budget { decided, read: decided * 2, parts: 3 });
        let mut committed: Vec<Item> = Vec::new();
        let mut behind = world.clone();
        // The reader to poll, if the step is a poll.
        let mut take = |world: &mut World, step: Step| -> Option<World> {
            match step {
                Step::Commit { partition, behind, repost, hidden, stored } => {
                    let original = committed.last().copied().filter(|_| repost);
                    world.commit(partition, behind, original, (hidden, stored));
                    committed.extend(world.queues[usize::from(partition)].back());
                }
                Step::Handle { partition, count } => world.handle(partition, count),
                Step::Checkpoint { partition } => world.checkpoint(partition),
                Step::Pass { seconds } => world.now += seconds,
                Step::Poll => return Some(world.clone()),
                Step::PollBehind => return Some(behind.clone()),
                Step::CatchUp => behind = world.clone(),
            }
            None
        };
        for step in before {
            take(&mut world, step);
        }
        let old = world.shown();
        poller.poll(&world);
        for step in steps {
            if let Some(reader) = take(&mut world, step) {
                poller.poll(&reader);
            }
        }
        world.settle();
        for _ in 0..500 {
            poller.poll(&world);
        }
        let missed: Vec<Cursor> = world.shown().into_iter().filter(|it| !old.contains(it) && !poller.got.contains_key(it)).collect();
        prop_assert_eq!(missed, vec![]);
    }
}

/// Ten items a second, twenty on a page, and a partition whose checkpoint stands still.
#[test]
fn a_poller_is_up_to_date_at_a_high_rate_while_a_checkpoint_stands() {
    let mut world = World::new();
    let mut poller = Poller::new(20, Budget::PAGE);
    let mut longest = 0;
    poller.poll(&world);
    for n in 0..3_000 {
        world.commit(u8::from(n % 10 == 0) + 1, 0, None, (false, true));
        for partition in [1, 2] {
            world.handle(partition, 1);
            world.checkpoint(partition);
        }
        if n % 10 == 9 {
            world.now += 1;
        }
        if n % 20 == 19 {
            // Every two seconds.
            poller.poll(&world);
            let newest = world.rows.keys().next_back().unwrap();
            assert!(poller.got.contains_key(newest), "item {n} is not there at once");
            longest = longest.max(poller.since.as_ref().unwrap().len());
        }
    }
    assert_eq!((poller.got.len(), poller.again), (3_000, 0));
    assert!(longest <= 160, "{longest} characters");
    // The items of that partition are late by five minutes, and they still arrive.
    for _ in 0..50 {
        world.commit(0, MOST_BEHIND, None, (false, true));
    }
    world.settle();
    while poller.poll(&world) {}
    assert_eq!((poller.got.len(), poller.again), (3_050, 0));
}

/// Rows are written, but no checkpoint covers them. They come again with each look, but they do not keep the client from new
/// items.
#[test]
fn what_comes_again_does_not_fill_every_page() {
    for uncertain in [19, 20, 40, 50] {
        let mut world = World::new();
        let mut poller = Poller::new(20, Budget::PAGE);
        poller.poll(&world);
        for _ in 0..uncertain {
            world.commit(1, 1, None, (false, true));
        }
        world.handle(1, usize::MAX);
        for _ in 0..200 {
            world.commit(2, 0, None, (false, true));
        }
        world.handle(2, usize::MAX);
        world.checkpoint(2);
        let mut pages = 0;
        while poller.poll(&world) {
            pages += 1;
            assert!(pages < 60, "{uncertain} come again and again");
        }
        assert_eq!(poller.got.len(), uncertain + 200);
    }
}

/// Ten items a second, twice as many places on pages, and a checkpoint that stands still. A page reads ten items, and nothing
/// settles.
#[test]
fn a_poller_gets_on_though_a_look_takes_many_pages() {
    let mut world = World::new();
    let budget = Budget {
        decided: 10,
        read: 10,
        parts: 32,
    };
    let mut poller = Poller::new(5, budget);
    poller.poll(&world);
    for _ in 0..100 {
        for _ in 0..10 {
            world.commit(1, 0, None, (false, true));
        }
        for partition in [1, 2] {
            world.handle(partition, usize::MAX);
            world.checkpoint(partition);
        }
        for _ in 0..4 {
            poller.poll(&world);
        }
        world.now += 1;
    }
    let missing = world.rows.len() - poller.got.len();
    assert!(missing <= 300, "{missing} of 1,000 are not there yet");
    assert_eq!(poller.again, 0);
}

#[test]
fn prev_is_not_above_what_is_settled() {
    let mut world = World::new();
    world.commit(0, 0, None, (false, true));
    world.settle();
    let settled = |world: &World| {
        Cursor::from(PostId::from_uuid(uuid_v7_floor(
            world.time() - TimeDelta::seconds(OVERLAP),
        )))
    };
    let mut poller = Poller::new(3, Budget::PAGE);
    poller.poll(&world);
    let since: Since = poller.since.unwrap().parse().unwrap();
    assert_eq!(
        (since.settled, since.seen.unwrap().up_to),
        (settled(&world), *world.rows.keys().next().unwrap())
    );
    // As time passes, the item settles. Then `prev` is only the settled place.
    world.now += 30;
    world.settle();
    let mut poller = Poller::new(3, Budget::PAGE);
    poller.poll(&world);
    assert_eq!(
        poller.since.unwrap().parse(),
        Ok(Since::settled(*world.rows.keys().next().unwrap()))
    );
    let mut nobody = Poller::new(3, Budget::PAGE);
    let mut empty = World::new();
    empty.now = world.now;
    empty.settle();
    nobody.poll(&empty);
    assert_eq!(nobody.since.unwrap().parse(), Ok(Since::settled(settled(&empty))));
}
