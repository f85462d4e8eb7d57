//! Runs the checker.

use std::fmt::Debug;
use std::hash::Hash;
use std::num::NonZero;
use std::time::Instant;

use stateright::{Checker, CheckerBuilder, Expectation, HasDiscoveries, Model};

/// Visits every reachable state. The properties must hold in each, and every scene must occur.
#[expect(clippy::print_stdout, reason = "prints the number of states")]
pub(crate) fn holds<M>(what: &str, checker: CheckerBuilder<M>)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq,
{
    let began = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let checker = checker
        .threads(threads)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_dfs()
        .join();
    println!(
        "{what}: {} states, {} steps between them, {:.1?}",
        checker.unique_state_count(),
        checker.state_count(),
        began.elapsed()
    );
    checker.assert_properties();
    assert!(checker.is_done(), "some states were not visited");
}

/// Finds a shortest path to a state that breaks the property.
#[expect(clippy::print_stdout, reason = "prints how the property breaks")]
pub(crate) fn breaks<M>(what: &str, model: M, property: &'static str)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq,
{
    let expectation = model.property(property).expectation;
    assert!(
        expectation == Expectation::Always,
        "there is nothing to break about '{property}'"
    );
    let checker = model
        .checker()
        .finish_when(HasDiscoveries::AnyOf([property].into()))
        .spawn_bfs()
        .join();
    let states = checker.unique_state_count();
    let steps = checker.assert_any_discovery(property).into_actions();
    println!(
        "{what}: '{property}' is broken after {} steps, {states} states were seen",
        steps.len()
    );
    for step in steps {
        println!("    {step:?}");
    }
}
