//! What holds in every state, and what must happen in some.

use stateright::Property;

use super::handler::Runner;
use super::reader::PageRead;
use super::upkeep::Trim;
use super::{Audience, Lane, State, TICK, Timeline};

pub(super) const EXACT: &str = "a page shows exactly what it should as soon as everything is handled";
pub(super) const NO_HOLE: &str = "a page that shows a post shows what its author wrote before";

/// It holds even in the middle of a repetition, a trim or a visit.
pub(super) fn exact() -> Property<Timeline> {
    Property::always(EXACT, |_, state: &State| {
        let at_once = !state.all_is_handled() || state.shown() == state.expected();
        at_once && !matches!(state.reading, PageRead::Done { exact: false, .. })
    })
}

/// While events are under way, only the newest posts are missing. This holds only if each event is handled once, and one at a time: a
/// runner that repeats an event, or handles a follow and a post in one batch, may write the newest first.
pub(super) fn no_hole() -> Property<Timeline> {
    Property::always(NO_HOLE, |_, state: &State| {
        let step_by_step = !matches!(state.reading, PageRead::Done { has_no_hole: false, .. });
        step_by_step && state.has_no_hole(state.shown())
    })
}

fn seen(name: &'static str, condition: fn(&Timeline, &State) -> bool) -> Property<Timeline> {
    Property::sometimes(name, condition)
}

/// Something that must happen in some state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scene {
    SomethingIsShown,
    EntriesOutliveAFollow,
    AboveAndBelowTheFloor,
    TwoAtWorkOnOneLane,
    OutOfOrder,
    LargeAuthorMergedIn,
    LargeAuthorWithoutAFollower,
    BackFromAbsence,
    OldEntriesRemoved,
    ReadStepByStep,
}

impl Scene {
    pub(super) fn property(self) -> Property<Timeline> {
        match self {
            Scene::SomethingIsShown => seen("something is shown", |_, state| {
                state.all_is_handled() && state.shown() != 0
            }),
            Scene::EntriesOutliveAFollow => seen("entries outlive a follow", |_, state| {
                state.all_is_handled() && state.home.entries != 0 && state.expected() == 0
            }),
            Scene::AboveAndBelowTheFloor => seen("a page goes on below the floor", |_, state| {
                let (shown, covered) = (state.shown(), state.covered());
                state.home.floor > 0 && state.all_is_handled() && shown & covered != 0 && shown & !covered != 0
            }),
            Scene::TwoAtWorkOnOneLane => seen("two work on one lane", |_, state| {
                let at_work = |runner: &Runner| runner.work.is_some();
                let both = |lane: &Lane| at_work(&lane.current) && lane.stale.as_ref().is_some_and(at_work);
                state.lanes.iter().any(both)
            }),
            Scene::OutOfOrder => seen("an event is handled before an earlier one", |_, state| {
                let before = |lane: &Lane| lane.aside != 0 && lane.handled > lane.aside;
                state.lanes.iter().any(before)
            }),
            Scene::LargeAuthorMergedIn => seen("a large author is merged in", |_, state| {
                let merged = state.shown() & state.covered() & !state.home.entries;
                state.lanes[0].audience == Audience::Large && state.all_is_handled() && merged != 0
            }),
            Scene::LargeAuthorWithoutAFollower => seen("a large author loses all followers", |_, state| {
                let lane = &state.lanes[0];
                lane.audience == Audience::Large && state.all_is_handled() && lane.followers() == 0
            }),
            Scene::BackFromAbsence => seen("an owner is back and gets entries", |_, state| {
                // No post has such an id: it is the floor of a waking.
                let woken = state.home.floor > 0 && state.home.floor.is_multiple_of(TICK) && !state.home.idle;
                woken && state.shown() & state.covered() & state.home.entries != 0
            }),
            Scene::OldEntriesRemoved => seen("old entries are removed", |_, state| {
                matches!(state.trim, Trim::Unmark { .. })
            }),
            Scene::ReadStepByStep => seen("a page read step by step goes on below the floor", |_, state| {
                matches!(
                    state.reading,
                    PageRead::Done {
                        above_and_below: true,
                        ..
                    }
                )
            }),
        }
    }
}
