//! The bounds, and the mutations.
//!
//! Ignored tests cover more states, and take minutes unless they are optimised:
//! `cargo test --release -p projector --test model -- --ignored`.

use stateright::Model;

use super::properties::{NOTHING_IS_LOST, ONLY_ITS_OWNER, REST_MEANS_DONE, Scene};
use super::{Bounds, Leases, Mutation};
use crate::check::{breaks, holds};

const NO_MISHAPS: Bounds = Bounds {
    kills: 0,
    stops: 0,
    pauses: 0,
    lost_answers: 0,
    colds: 0,
    breaks: 0,
    rollovers: 0,
};

fn leases<const PROCESSES: usize, const PARTITIONS: usize>(
    entries: usize,
    bounds: Bounds,
    scenes: &[Scene],
) -> Leases<PROCESSES, PARTITIONS> {
    Leases {
        entries,
        outdated: 0,
        from_origin: false,
        bounds,
        mutation: Mutation::None,
        scenes: scenes.to_vec(),
    }
}

/// The second process takes a share from the first, and streams break.
#[test]
fn shares_are_taken_and_streams_break() {
    let scenes = [
        Scene::AllIsDone,
        Scene::Takeover,
        Scene::StaleOwnerAtWork,
        Scene::Repetition,
        Scene::LateCheckpoint,
        Scene::KeptForATakeover,
    ];
    let bounds = Bounds {
        breaks: 1,
        ..NO_MISHAPS
    };
    let model = leases::<2, 2>(2, bounds, &scenes);
    holds(
        "two processes, two partitions, a broken stream",
        model.checker().symmetry(),
    );
}

/// A lease is gained by a process whose stream is far ahead of the checkpoint.
#[test]
fn leases_of_the_dead_are_taken_over() {
    let scenes = [Scene::AllIsDone, Scene::Takeover, Scene::Repetition];
    let bounds = Bounds { kills: 1, ..NO_MISHAPS };
    let model = leases::<2, 2>(1, bounds, &scenes);
    holds("two processes, two partitions, a kill", model.checker().symmetry());
}

#[test]
fn leases_of_the_slow_are_taken_over() {
    let scenes = [
        Scene::AllIsDone,
        Scene::Takeover,
        Scene::StaleOwnerAtWork,
        Scene::StreamBelowWhatWasHandedOver,
    ];
    let bounds = Bounds {
        pauses: 1,
        ..NO_MISHAPS
    };
    let model = leases::<2, 2>(1, bounds, &scenes);
    holds("two processes, two partitions, a pause", model.checker().symmetry());
}

#[test]
fn leases_are_given_back() {
    let bounds = Bounds { stops: 1, ..NO_MISHAPS };
    let scenes = [
        Scene::AllIsDone,
        Scene::Takeover,
        Scene::TakenOverInTime,
        Scene::KeptForATakeover,
    ];
    let model = leases::<2, 2>(1, bounds, &scenes);
    holds(
        "two processes, two partitions, an orderly end",
        model.checker().symmetry(),
    );
}

/// The keeper takes a lease that is no longer prepared.
#[test]
fn unprepared_leases_are_taken_over_too() {
    let bounds = Bounds { colds: 1, ..NO_MISHAPS };
    let scenes = [Scene::AllIsDone, Scene::Takeover, Scene::StaleOwnerAtWork];
    let model = leases::<2, 2>(1, bounds, &scenes);
    holds(
        "two processes, two partitions, a cold takeover",
        model.checker().symmetry(),
    );
}

/// One of the two does not know some of the events.
#[test]
fn an_unknown_event_waits_for_a_process_that_knows_it() {
    let scenes = [Scene::AllIsDone, Scene::Takeover, Scene::WaitsForWhoKnows];
    let upgrade = |entries, from_origin, bounds| Leases {
        outdated: 1,
        from_origin,
        ..leases::<2, 1>(entries, bounds, &scenes)
    };
    let killed = Bounds { kills: 1, ..NO_MISHAPS };
    let model = upgrade(2, false, killed);
    holds(
        "two processes of two versions, a partition, a kill",
        model.checker().symmetry(),
    );
    let paused = Bounds {
        pauses: 1,
        ..NO_MISHAPS
    };
    let model = upgrade(2, false, paused);
    holds(
        "two processes of two versions, a partition, a pause",
        model.checker().symmetry(),
    );
    let model = upgrade(1, true, killed);
    holds(
        "two processes of two versions, a scan, a kill",
        model.checker().symmetry(),
    );
    let two = Leases {
        outdated: 1,
        ..leases::<2, 2>(1, NO_MISHAPS, &scenes)
    };
    holds(
        "two processes of two versions, two partitions",
        two.checker().symmetry(),
    );
}

#[test]
fn one_lease_survives_several_mishaps() {
    let scenes = [
        Scene::AllIsDone,
        Scene::Takeover,
        Scene::StaleOwnerAtWork,
        Scene::Repetition,
        Scene::LateCheckpoint,
    ];
    let bounds = Bounds {
        kills: 1,
        pauses: 1,
        lost_answers: 1,
        ..NO_MISHAPS
    };
    let model = leases::<2, 1>(2, bounds, &scenes);
    holds(
        "two processes, a partition, a kill, a pause, a lost answer",
        model.checker().symmetry(),
    );
}

#[test]
fn three_share_one_lease() {
    let scenes = [
        Scene::AllIsDone,
        Scene::Takeover,
        Scene::StaleOwnerAtWork,
        Scene::LateCheckpoint,
    ];
    let bounds = Bounds {
        kills: 1,
        pauses: 1,
        ..NO_MISHAPS
    };
    let model = leases::<3, 1>(1, bounds, &scenes);
    holds(
        "three processes, a partition, a kill, a pause",
        model.checker().symmetry(),
    );
}

/// The event store is scanned, and scanned again before the first scan has ended.
#[test]
fn scans_find_what_no_stream_shows() {
    let scenes = [Scene::AllIsDone, Scene::Takeover, Scene::TwoScansOfOnePartition];
    let bounds = Bounds {
        kills: 1,
        rollovers: 1,
        ..NO_MISHAPS
    };
    let model = Leases {
        from_origin: true,
        ..leases::<2, 1>(2, bounds, &scenes)
    };
    holds(
        "two processes, a partition, from the origin, a kill, a rollover",
        model.checker().symmetry(),
    );
    let bounds = Bounds { rollovers: 2, ..bounds };
    let model = leases::<2, 1>(1, bounds, &scenes);
    holds(
        "two processes, a partition, a kill, two rollovers",
        model.checker().symmetry(),
    );
}

#[test]
#[ignore = "takes minutes"]
fn wider_bounds_hold_too() {
    let scenes = [
        Scene::AllIsDone,
        Scene::Takeover,
        Scene::StaleOwnerAtWork,
        Scene::Repetition,
        Scene::LateCheckpoint,
    ];
    let kill = Bounds { kills: 1, ..NO_MISHAPS };
    let model = leases::<2, 2>(2, kill, &scenes);
    holds(
        "two processes, two partitions, two entries, a kill",
        model.checker().symmetry(),
    );
    let bounds = Bounds { pauses: 1, ..kill };
    let model = leases::<2, 2>(1, bounds, &scenes);
    holds(
        "two processes, two partitions, a kill, a pause",
        model.checker().symmetry(),
    );
    let model = leases::<3, 1>(2, bounds, &scenes);
    holds(
        "three processes, a partition, two entries, a kill, a pause",
        model.checker().symmetry(),
    );
    let model = leases::<3, 2>(1, kill, &[Scene::AllIsDone, Scene::Takeover]);
    holds("three processes, two partitions, a kill", model.checker().symmetry());
    let bounds = Bounds {
        kills: 1,
        stops: 1,
        pauses: 1,
        lost_answers: 1,
        colds: 1,
        breaks: 1,
        rollovers: 0,
    };
    let model = leases::<2, 1>(2, bounds, &scenes);
    holds(
        "two processes, a partition, everything but rollovers",
        model.checker().symmetry(),
    );
    let bounds = Bounds { rollovers: 1, ..kill };
    let model = leases::<2, 2>(1, bounds, &[Scene::AllIsDone, Scene::TwoScansOfOnePartition]);
    holds(
        "two processes, two partitions, a kill, a rollover",
        model.checker().symmetry(),
    );
}

fn mutated<const PROCESSES: usize, const PARTITIONS: usize>(
    mutation: Mutation,
    bounds: Bounds,
) -> Leases<PROCESSES, PARTITIONS> {
    Leases {
        mutation,
        ..leases(1, bounds, &[])
    }
}

const A_KILL: Bounds = Bounds { kills: 1, ..NO_MISHAPS };

#[test]
fn a_takeover_without_reopening_is_found_out() {
    let model = mutated::<2, 2>(Mutation::TakeoverWithoutReopening, A_KILL);
    breaks("takeover without reopening", model, REST_MEANS_DONE);
}

#[test]
fn a_stream_that_counts_too_early_is_found_out() {
    let model = mutated::<2, 2>(Mutation::CoveredBeforeTheStreamIs, A_KILL);
    breaks("covered before the stream is", model, NOTHING_IS_LOST);
}

/// The stream showed an event while another process had the partition. That process died, and after the lease was regained the stream
/// shows the next event.
#[test]
fn a_stream_that_hands_over_what_it_does_not_cover_is_found_out() {
    let model = Leases {
        entries: 2,
        ..mutated::<2, 2>(Mutation::HandedOverBeforeTheStreamCovers, A_KILL)
    };
    breaks("handed over before the stream covers it", model, NOTHING_IS_LOST);
}

/// An unprepared takeover while a stream is being opened that does not show the partition.
#[test]
fn a_stream_that_covers_what_it_does_not_show_is_found_out() {
    let model = mutated::<2, 2>(Mutation::OpeningCoversAll, A_KILL);
    breaks("an opening covers all", model, NOTHING_IS_LOST);
}

#[test]
fn a_takeover_that_forgets_what_was_shown_is_found_out() {
    let model = mutated::<2, 2>(Mutation::KeptIsForgotten, NO_MISHAPS);
    breaks("what was kept is forgotten", model, NOTHING_IS_LOST);
}

#[test]
fn a_takeover_that_passes_what_was_shown_is_found_out() {
    let model = mutated::<2, 2>(Mutation::KeptIsPutBehindTheFrontier, NO_MISHAPS);
    breaks("what was kept is put behind the frontier", model, NOTHING_IS_LOST);
}

#[test]
fn a_stream_that_begins_too_high_is_found_out() {
    let model = mutated::<2, 2>(Mutation::OpenedAtTheHighest, A_KILL);
    breaks("opened at the highest checkpoint", model, NOTHING_IS_LOST);
}

#[test]
fn a_checkpoint_that_does_not_wait_is_found_out() {
    let model = mutated::<1, 1>(Mutation::CheckpointAboveTheUnfinished, NO_MISHAPS);
    breaks("checkpoint above the unfinished", model, NOTHING_IS_LOST);
}

#[test]
fn an_unfenced_checkpoint_is_found_out() {
    let model = mutated::<2, 2>(Mutation::UnfencedSave, NO_MISHAPS);
    breaks("unfenced checkpoint", model, ONLY_ITS_OWNER);
}

#[test]
fn a_scan_that_ends_for_another_is_found_out() {
    let bounds = Bounds {
        rollovers: 1,
        ..NO_MISHAPS
    };
    let model = Leases {
        from_origin: true,
        ..mutated::<1, 1>(Mutation::OneScanEndsAll, bounds)
    };
    breaks("one scan ends all", model, NOTHING_IS_LOST);
}

#[test]
fn a_process_that_skips_an_unknown_event_is_found_out() {
    let model = Leases {
        outdated: 1,
        ..mutated::<2, 1>(Mutation::UnknownIsPassedOver, NO_MISHAPS)
    };
    breaks("the unknown is passed over", model, NOTHING_IS_LOST);
}
