//! Everything is killed, again and again, while people write and read: nothing acknowledged is lost or there twice, nothing refused is
//! there at all, and nobody reads less than they know of.
//!
//! The database, two command-svc, two query-svc and two projectors are processes of their own. At random moments one of
//! them is killed (SIGKILL), or stopped for longer than a lease lasts (SIGSTOP). People repeat each command, with the same
//! idempotency key, until somebody answers. At the end the event store has to hold exactly what was acknowledged, and
//! `microblog verify` must find no difference.
//!
//! `make chaos` does this three hundred times (`CHAOS_FAULTS`). The choice of faults and of commands is printed as a seed, and
//! `CHAOS_SEED` makes the same choice again; when they happen is up to the machine.

mod client;
mod faults;
mod ledger;
mod person;
mod world;

use std::env;
use std::str::FromStr;

use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::faults::Fault;
use crate::person::Crowd;
use crate::world::World;

/// How many are suffered in `make test`.
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
    let busy = crowd.start();
    for number in 1..=faults {
        let fault = Fault::any(&mut random);
        say(format_args!("{number} of {faults}: {fault}"));
        fault.happen(&mut world, &busy, &mut random).await;
    }
    let ledgers = busy.stop().await;
    let told: usize = ledgers.iter().map(|ledger| ledger.acknowledged).sum();
    let refused: usize = ledgers.iter().map(|ledger| ledger.refused).sum();
    let repeated: usize = ledgers.iter().map(|ledger| ledger.repeated).sum();
    say(format_args!(
        "{told} commands were acknowledged, {refused} refused; {repeated} requests had no answer and were repeated"
    ));
    ledger::compare(&world, &ledgers).await;
    world.verify().await;
}

/// What the environment says.
fn variable<T: FromStr>(name: &str) -> Option<T> {
    let text = env::var(name).ok()?;
    let Ok(value) = text.parse() else {
        panic!("{name} is {text:?}: not a number");
    };
    Some(value)
}

#[expect(
    clippy::print_stdout,
    reason = "the seed, and what is going on, for whoever has to find out why it failed"
)]
fn say(text: std::fmt::Arguments<'_>) {
    println!("{text}");
}
