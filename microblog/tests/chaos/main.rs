//! All processes are killed, again and again, while people write and read. Nothing acknowledged is lost or duplicated, nothing refused
//! takes effect, and no read shows less than the reader knows.
//!
//! The database, two command-svc, two query-svc and two projectors are processes of their own. At random moments one of them is killed
//! (SIGKILL), or stopped for longer than a lease lasts (SIGSTOP). People repeat each command, with the same idempotency key, until a
//! replica answers. Two more block, follow and protect themselves from each other. Others read live streams. At the end, the event store must
//! contain exactly what was acknowledged, `microblog verify` must find no difference, and no stream has lost a post.
//!
//! `make chaos` causes three hundred faults (`CHAOS_FAULTS`). The test prints the seed of the random faults and commands. `CHAOS_SEED`
//! makes the same choices again, but their timing depends on the machine.

mod client;
mod faults;
mod ledger;
mod person;
mod readers;
mod rivals;
mod world;

use std::env;
use std::str::FromStr;

use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::faults::Fault;
use crate::person::Crowd;
use crate::readers::Readers;
use crate::rivals::Rivals;
use crate::world::World;

/// How many faults `make test` causes.
const FAULTS: usize = 12;
const PEOPLE: usize = 6;

#[test]
fn nothing_is_lost_when_everything_is_killed() {
    let seed: u64 = variable("CHAOS_SEED").unwrap_or_else(rand::random);
    let faults = variable("CHAOS_FAULTS").unwrap_or(FAULTS);
    say(format_args!("CHAOS_SEED={seed} CHAOS_FAULTS={faults}"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a runtime").block_on(chaos(seed, faults));
}

async fn chaos(seed: u64, faults: usize) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut world = World::start().await;
    let crowd = Crowd::found(&world, PEOPLE, &mut random).await;
    let rivals = Rivals::start(crowd.client(), &mut random).await;
    let users = crowd.users();
    let readers = Readers::start(&world, crowd.client(), &users, &mut random).await;
    let busy = crowd.start();
    for number in 1..=faults {
        let fault = Fault::any(&mut random);
        say(format_args!("{number} of {faults}: {fault}"));
        fault.happen(&mut world, &busy, &mut random).await;
    }
    let rival_ids = rivals.ids;
    rivals.stop().await;
    readers.calm_down();
    let mut ledgers = busy.stop().await;
    let told: usize = ledgers.iter().map(|ledger| ledger.acknowledged).sum();
    let refused: usize = ledgers.iter().map(|ledger| ledger.refused).sum();
    let repeated: usize = ledgers.iter().map(|ledger| ledger.repeated).sum();
    say(format_args!(
        "{told} commands were acknowledged, {refused} refused; {repeated} requests had no answer and were repeated"
    ));
    world.verify().await;
    let mut finished = readers.finish().await;
    say(format_args!("{finished}"));
    ledgers.append(&mut finished.ledgers);
    let events = ledger::compare(&world, &ledgers, rival_ids).await;
    finished.check(&events, &users);
    say(format_args!("no stream has lost a post"));
}

/// A number from the environment.
fn variable<T: FromStr>(name: &str) -> Option<T> {
    let text = env::var(name).ok()?;
    let Ok(value) = text.parse() else {
        panic!("{name} is {text:?}: not a number");
    };
    Some(value)
}

#[expect(
    clippy::print_stdout,
    reason = "prints the seed and the progress, which help to explain a failure"
)]
fn say(text: std::fmt::Arguments<'_>) {
    println!("{text}");
}
