//! The bounds, and the mutations.
//!
//! Ignored tests cover more states, and take minutes unless they are optimised:
//! `cargo test --release -p projector --test model -- --ignored`.

use stateright::Model;

use super::properties::{EXACT, NO_HOLE, Scene};
use super::{Bounds, Mutation, Timeline};
use crate::check::{breaks, holds};

const NOTHING: Bounds = Bounds {
    posts: 0,
    deletions: 0,
    follows: [0, 0],
    crowds: 0,
    takeovers: 0,
    delays: 0,
    trims: 0,
    absences: 0,
    visits: 0,
    pages: 0,
};

/// One author, whose events are handled one at a time.
fn timeline(bounds: Bounds, scenes: &[Scene]) -> Timeline {
    Timeline {
        authors: 1,
        batch: 1,
        skew: 0,
        bounds,
        mutation: Mutation::None,
        scenes: scenes.to_vec(),
    }
}

/// Everything is handled once and in order: even a page in between has no hole.
#[test]
fn only_the_newest_posts_are_missing_in_between() {
    let bounds = Bounds {
        posts: 3,
        deletions: 1,
        follows: [3, 0],
        trims: 2,
        ..NOTHING
    };
    let scenes = [
        Scene::SomethingIsShown,
        Scene::EntriesOutliveAFollow,
        Scene::AboveAndBelowTheFloor,
        Scene::OldEntriesRemoved,
    ];
    let model = Timeline {
        skew: 1,
        ..timeline(bounds, &scenes)
    };
    holds("one author, in order", model.checker());
}

#[test]
fn a_former_owner_repeats_batches() {
    let bounds = Bounds {
        posts: 2,
        deletions: 1,
        follows: [3, 0],
        takeovers: 1,
        ..NOTHING
    };
    let scenes = [
        Scene::SomethingIsShown,
        Scene::EntriesOutliveAFollow,
        Scene::AboveAndBelowTheFloor,
        Scene::TwoAtWorkOnOneLane,
    ];
    let model = Timeline {
        batch: 2,
        ..timeline(bounds, &scenes)
    };
    holds("one author, batches, a takeover", model.checker());
}

#[test]
fn events_are_handled_out_of_order() {
    let bounds = Bounds {
        posts: 2,
        follows: [3, 0],
        takeovers: 1,
        delays: 1,
        ..NOTHING
    };
    let scenes = [Scene::SomethingIsShown, Scene::TwoAtWorkOnOneLane, Scene::OutOfOrder];
    holds("one author, a delay, a takeover", timeline(bounds, &scenes).checker());
}

#[test]
fn an_author_becomes_large() {
    let bounds = Bounds {
        posts: 2,
        follows: [2, 0],
        crowds: 2,
        takeovers: 1,
        ..NOTHING
    };
    let scenes = [
        Scene::SomethingIsShown,
        Scene::TwoAtWorkOnOneLane,
        Scene::LargeAuthorMergedIn,
        Scene::LargeAuthorWithoutAFollower,
    ];
    let model = Timeline {
        batch: 2,
        ..timeline(bounds, &scenes)
    };
    holds("one author, a crowd, batches, a takeover", model.checker());
}

#[test]
fn the_owner_is_away_and_comes_back() {
    let bounds = Bounds {
        posts: 3,
        follows: [1, 0],
        absences: 2,
        visits: 2,
        ..NOTHING
    };
    let scenes = [
        Scene::SomethingIsShown,
        Scene::AboveAndBelowTheFloor,
        Scene::BackFromAbsence,
    ];
    let model = Timeline {
        skew: 1,
        ..timeline(bounds, &scenes)
    };
    holds("one author, two absences", model.checker());
    let bounds = Bounds {
        posts: 2,
        follows: [2, 0],
        takeovers: 1,
        absences: 1,
        visits: 1,
        ..NOTHING
    };
    let model = Timeline {
        skew: 1,
        ..timeline(bounds, &[Scene::SomethingIsShown, Scene::TwoAtWorkOnOneLane])
    };
    holds("one author, an absence, a takeover", model.checker());
}

/// While a page is read, floors are raised, entries are removed and owners are marked idle.
#[test]
fn a_page_is_read_step_by_step() {
    let bounds = Bounds {
        posts: 3,
        deletions: 1,
        follows: [3, 0],
        trims: 2,
        pages: 1,
        ..NOTHING
    };
    let scenes = [Scene::ReadStepByStep, Scene::OldEntriesRemoved];
    holds("one author, a page in steps", timeline(bounds, &scenes).checker());
    let bounds = Bounds {
        posts: 2,
        follows: [1, 0],
        crowds: 1,
        takeovers: 1,
        absences: 1,
        pages: 1,
        ..NOTHING
    };
    let model = Timeline {
        batch: 2,
        ..timeline(bounds, &[Scene::TwoAtWorkOnOneLane])
    };
    holds(
        "one author, a crowd, an absence, a takeover, a page in steps",
        model.checker(),
    );
}

/// Two lanes write to one timeline, which is trimmed meanwhile.
#[test]
fn two_authors_share_a_timeline() {
    let bounds = Bounds {
        posts: 3,
        follows: [1, 1],
        takeovers: 1,
        trims: 2,
        ..NOTHING
    };
    let scenes = [
        Scene::SomethingIsShown,
        Scene::AboveAndBelowTheFloor,
        Scene::TwoAtWorkOnOneLane,
        Scene::OldEntriesRemoved,
    ];
    let model = Timeline {
        authors: 2,
        ..timeline(bounds, &scenes)
    };
    holds("two authors, trimmed, a takeover", model.checker());
}

#[test]
#[ignore = "takes minutes"]
fn wider_bounds_hold_too() {
    let scenes = [Scene::SomethingIsShown, Scene::TwoAtWorkOnOneLane, Scene::OutOfOrder];
    let bounds = Bounds {
        posts: 2,
        deletions: 1,
        follows: [3, 0],
        takeovers: 1,
        delays: 1,
        ..NOTHING
    };
    let batches = Timeline {
        batch: 2,
        ..timeline(bounds, &scenes)
    };
    holds("one author, batches, a delay, a takeover", batches.checker());
    let bounds = Bounds {
        posts: 2,
        follows: [1, 0],
        crowds: 2,
        takeovers: 1,
        delays: 1,
        ..NOTHING
    };
    let crowd = Timeline {
        batch: 2,
        ..timeline(bounds, &scenes)
    };
    holds("one author, a crowd, batches, a delay, a takeover", crowd.checker());
    let bounds = Bounds {
        posts: 3,
        follows: [2, 0],
        takeovers: 1,
        absences: 1,
        visits: 1,
        ..NOTHING
    };
    let absence = Timeline {
        skew: 1,
        ..timeline(bounds, &[Scene::TwoAtWorkOnOneLane, Scene::BackFromAbsence])
    };
    holds("one author, an absence, a takeover", absence.checker());
    let bounds = Bounds {
        posts: 3,
        follows: [1, 1],
        crowds: 1,
        absences: 1,
        visits: 1,
        ..NOTHING
    };
    let two = Timeline {
        authors: 2,
        skew: 1,
        ..timeline(bounds, &[Scene::LargeAuthorMergedIn, Scene::BackFromAbsence])
    };
    holds("two authors, a crowd, an absence", two.checker());
    let bounds = Bounds {
        crowds: 0,
        trims: 2,
        ..bounds
    };
    let trimmed = Timeline {
        authors: 2,
        skew: 1,
        ..timeline(bounds, &[Scene::OldEntriesRemoved, Scene::BackFromAbsence])
    };
    holds("two authors, trimmed, an absence", trimmed.checker());
}

fn mutated(mutation: Mutation, bounds: Bounds) -> Timeline {
    Timeline {
        mutation,
        ..timeline(bounds, &[])
    }
}

#[test]
fn a_floor_that_is_raised_after_the_copies_is_found_out() {
    let bounds = Bounds {
        posts: 2,
        follows: [1, 0],
        ..NOTHING
    };
    breaks(
        "floor after the copies",
        mutated(Mutation::FloorAfterCopies, bounds),
        NO_HOLE,
    );
}

#[test]
fn a_refused_guard_that_skips_fan_out_is_found_out() {
    let bounds = Bounds {
        posts: 1,
        follows: [1, 0],
        takeovers: 1,
        ..NOTHING
    };
    let model = mutated(Mutation::RefusedGuardSkipsFanOut, bounds);
    breaks("a refused guard skips fan-out", model, EXACT);
}

#[test]
fn crossing_that_lists_followers_before_its_flag_is_found_out() {
    let bounds = Bounds {
        posts: 1,
        follows: [1, 0],
        crowds: 2,
        takeovers: 1,
        ..NOTHING
    };
    let model = Timeline {
        batch: 2,
        ..mutated(Mutation::FollowersListedBeforeTheFlag, bounds)
    };
    breaks("followers are listed before the flag", model, EXACT);
}

#[test]
fn crossing_that_ends_before_followers_are_told_is_found_out() {
    let bounds = Bounds {
        posts: 1,
        follows: [1, 0],
        crowds: 1,
        takeovers: 1,
        ..NOTHING
    };
    let model = mutated(Mutation::LargeBeforeFollowersAreTold, bounds);
    breaks("large before followers are told", model, EXACT);
}

#[test]
fn an_unfollow_that_deletes_entries_is_found_out() {
    let bounds = Bounds {
        posts: 1,
        follows: [3, 0],
        takeovers: 1,
        ..NOTHING
    };
    let model = mutated(Mutation::UnfollowDeletesEntries, bounds);
    breaks("an unfollow deletes entries", model, EXACT);
}

const ONE_ABSENCE: Bounds = Bounds {
    posts: 1,
    follows: [1, 0],
    absences: 1,
    visits: 1,
    ..NOTHING
};

#[test]
fn an_owner_who_is_woken_with_the_floor_at_now_is_found_out() {
    let model = mutated(Mutation::WokenAtNow, ONE_ABSENCE);
    breaks("woken with the floor at now", model, EXACT);
}

#[test]
fn an_owner_who_is_woken_too_late_is_found_out() {
    let bounds = Bounds {
        posts: 2,
        ..ONE_ABSENCE
    };
    let model = Timeline {
        skew: 1,
        ..mutated(Mutation::WokenTooLate, bounds)
    };
    breaks("woken too late for the floor", model, EXACT);
}

#[test]
fn a_timeline_that_is_trimmed_before_its_floor_is_raised_is_found_out() {
    let bounds = Bounds {
        posts: 3,
        follows: [1, 0],
        trims: 1,
        ..NOTHING
    };
    let model = mutated(Mutation::TrimmedBeforeTheFloorIsRaised, bounds);
    breaks("trimmed before the floor is raised", model, EXACT);
}

#[test]
fn a_page_that_reads_the_header_before_the_entries_is_found_out() {
    let bounds = Bounds {
        posts: 2,
        follows: [1, 0],
        pages: 1,
        ..NOTHING
    };
    let model = mutated(Mutation::HeaderBeforeEntries, bounds);
    breaks("the header before the entries", model, NO_HOLE);
}
