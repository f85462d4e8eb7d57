//! Readers of streams who are cut at random lose nothing.
//!
//! Users post, repost, follow and unfollow. Rows are written in any order that the projector may choose, by scans too, and checkpoints of some
//! partitions come before those of others. Meanwhile readers leave in the middle of an event, or stop to read for a while; the bus breaks,
//! and the process starts again. At the end of a round, each reader has received every post that it should have.
//!
//! `CUTS=100000` says how many cuts there are, and `CUTS_SEED` repeats a run.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use bson::{Document, doc};
use model::ids::{PostId, UserId};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use service::auth::SCOPE_USER;

use crate::event_reader::EventReader;
use crate::service::Service;

/// How many cuts an ordinary run has, and how many steps a round.
const CUTS: u32 = 1_000;
const STEPS: usize = 40;
const HOME: &str = "/v1/streams/home";

/// A client of one home stream.
struct Reader {
    owner: UserId,
    token: String,
    stream: Option<EventReader>,
    last: Option<String>,
    /// What was received, and what came before `resumed` in this connection.
    received: HashSet<PostId>,
    resumed: bool,
    doubles: u32,
}

impl Reader {
    async fn connect(&mut self, service: &Service) {
        let opened = service.stream_with(HOME, &self.token, self.last.as_deref()).await;
        self.stream = Some(opened.unwrap());
        self.resumed = false;
    }

    /// Reads one event of an open connection.
    async fn read(&mut self) {
        let stream = self.stream.as_mut().expect("the connection is open");
        let (what, data) = stream.next().await.expect("the stream goes on");
        self.last = self.stream.as_ref().and_then(|stream| stream.last.clone());
        match what.as_str() {
            "post" => {
                let id: PostId = data["id"].as_str().unwrap().parse().unwrap();
                if !self.received.insert(id) {
                    assert!(!self.resumed, "{id} comes twice after `resumed`");
                    self.doubles += 1;
                }
            }
            "resumed" => self.resumed = true,
            "counts" => {}
            other => panic!("nothing else is told: {other}"),
        }
    }
}

struct World {
    service: Service,
    random: StdRng,
    users: Vec<UserId>,
    readers: Vec<Reader>,
    follows: BTreeSet<(UserId, UserId)>,
    /// Who posted what since the last follow or unfollow of each pair.
    posted: BTreeMap<(UserId, UserId), Vec<PostId>>,
    originals: Vec<PostId>,
    cuts: BTreeMap<&'static str, u32>,
}

impl World {
    fn one(&mut self) -> UserId {
        *self.users.choose(&mut self.random).unwrap()
    }

    fn count(&mut self, cut: &'static str) {
        *self.cuts.entry(cut).or_default() += 1;
    }

    fn note(&mut self, author: UserId, post: PostId) {
        for &(owner, _) in self.follows.iter().filter(|(_, followee)| *followee == author) {
            self.posted.entry((owner, author)).or_default().push(post);
        }
    }

    async fn step(&mut self) {
        match self.random.random_range(0..100) {
            0..35 => {
                let author = self.one();
                let post = self.service.store.post(author, "text");
                self.originals.push(post);
                self.note(author, post);
            }
            35..42 => {
                let user = self.one();
                if let Some(&original) = self.originals.choose(&mut self.random) {
                    let repost = self.service.store.repost(user, original);
                    self.originals.retain(|&it| it != original);
                    self.note(user, repost);
                }
            }
            42..46 => {
                let (owner, followee) = (self.one(), self.one());
                if owner != followee {
                    self.posted.remove(&(owner, followee));
                    match self.follows.remove(&(owner, followee)) {
                        true => self.service.store.unfollow(owner, followee),
                        false => {
                            self.follows.insert((owner, followee));
                            self.service.store.follow(owner, followee)
                        }
                    };
                }
            }
            46..60 => {
                let scan = self.random.random_bool(0.2);
                self.service.project_in_any_order(&mut self.random, scan).await;
                if scan {
                    // A scan ends with a checkpoint that is above all that it has found.
                    self.service.checkpoint().await;
                    self.count("scan");
                }
            }
            60..72 => self.service.checkpoint_some(&mut self.random).await,
            72..85 => {
                // Most leave while they are sent what they have missed, wherever they are in it.
                for _ in 0..self.random.random_range(1..20) {
                    let reader = self.random.random_range(0..self.readers.len());
                    let reads = self.random.random_range(0..3);
                    let reader = &mut self.readers[reader];
                    reader.connect(&self.service).await;
                    for _ in 0..reads {
                        if !reader.resumed {
                            reader.read().await;
                        }
                    }
                    self.count("reset connection");
                }
            }
            85..95 => {
                // It is not read before the end of the round, or before another cut.
                let reader = self.random.random_range(0..self.readers.len());
                self.readers[reader].stream = None;
                self.count("stopped reader");
            }
            95..99 => {
                // The bus can't go on when a collection goes.
                let filters = self.service.database.collection::<Document>("filters_g1");
                let owned = bson::Binary {
                    subtype: bson::spec::BinarySubtype::Generic,
                    bytes: vec![0; 32],
                };
                filters.insert_one(doc! { "_id": owned }).await.unwrap();
                filters.drop().await.unwrap();
                self.count("broken bus");
            }
            _ => {
                for reader in &mut self.readers {
                    reader.stream = None;
                }
                self.service.start_again().await;
                self.count("another process");
            }
        }
    }

    /// Everything arrives, and each reader reads until nothing is missing.
    async fn end_of_round(&mut self) {
        self.service.settle().await;
        for reader in &mut self.readers {
            if reader.stream.is_none() {
                reader.connect(&self.service).await;
            }
            // `next` fails if nothing comes for long.
            let owner = reader.owner;
            let posted = self.posted.iter().filter(|((it, _), _)| *it == owner);
            let expected: HashSet<PostId> = posted.flat_map(|(_, posts)| posts).copied().collect();
            while !reader.resumed || !expected.is_subset(&reader.received) {
                reader.read().await;
            }
        }
    }
}

#[expect(clippy::print_stdout, reason = "the seed and the numbers are what one runs it for")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_who_are_cut_at_random_lose_nothing() {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .map(|text| text.parse::<u32>().expect("a number"))
    };
    let wanted = number("CUTS").unwrap_or(CUTS);
    let seed = number("CUTS_SEED").unwrap_or_else(|| rand::rng().random());
    println!("CUTS_SEED={seed}");
    let mut service = Service::start().await;
    let users: Vec<UserId> = (0..5).map(|n| service.store.register(&format!("user{n}"))).collect();
    service.settle().await;
    let mut readers = Vec::new();
    for &owner in &users[..3] {
        let session = service.begin_session(owner).await;
        readers.push(Reader {
            owner,
            token: service.token_of(owner, SCOPE_USER, session),
            stream: None,
            last: None,
            received: HashSet::new(),
            resumed: false,
            doubles: 0,
        });
    }
    for reader in &mut readers {
        reader.connect(&service).await;
        while !reader.resumed {
            reader.read().await;
        }
    }
    let mut world = World {
        service,
        random: StdRng::seed_from_u64(seed.into()),
        users,
        readers,
        follows: BTreeSet::new(),
        posted: BTreeMap::new(),
        originals: Vec::new(),
        cuts: BTreeMap::new(),
    };
    while world.cuts.values().sum::<u32>() < wanted {
        for _ in 0..STEPS {
            world.step().await;
        }
        world.end_of_round().await;
    }
    let received: usize = world.readers.iter().map(|reader| reader.received.len()).sum();
    let doubles: u32 = world.readers.iter().map(|reader| reader.doubles).sum();
    println!(
        "cuts: {:?}; {received} posts received, {doubles} again before `resumed`, 0 lost",
        world.cuts
    );
    assert!(world.cuts.len() == 5, "a kind of cut never happened: {:?}", world.cuts);
    world.service.stop().await;
}
