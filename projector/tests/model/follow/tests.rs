//! The bounds, and the mutations.

use stateright::Model;

use super::properties::{ACCEPTS_NOTHING_LATER, ENDS_NOTHING_LATER, ENDS_WHAT_IT_NAMES, SETTLED, Scene};
use super::{Bounds, Mutation, Protocol};
use crate::check::{breaks, holds};

const NOTHING: Bounds = Bounds {
    follows: 0,
    accepts: 0,
    ends: 0,
    blocks: 0,
    unblocks: 0,
    protects: 0,
    unprotects: 0,
    deletions: 0,
    kills: 0,
};

const BLOCKS: Bounds = Bounds {
    follows: 2,
    blocks: 1,
    unblocks: 1,
    ends: 1,
    kills: 1,
    ..NOTHING
};

const PROTECTION: Bounds = Bounds {
    follows: 2,
    accepts: 1,
    protects: 1,
    unprotects: 2,
    ..NOTHING
};

const DELETION: Bounds = Bounds {
    follows: 2,
    accepts: 1,
    deletions: 1,
    kills: 1,
    ..NOTHING
};

const EVERYTHING: Bounds = Bounds {
    follows: 1,
    accepts: 1,
    blocks: 1,
    unprotects: 1,
    deletions: 1,
    ..NOTHING
};

fn protocol(bounds: Bounds, scenes: &[Scene]) -> Protocol {
    Protocol {
        workers: 1,
        bounds,
        mutation: Mutation::None,
        scenes: scenes.to_vec(),
    }
}

#[test]
fn blocks_come_and_go() {
    let scenes = [
        Scene::FollowingAtRest,
        Scene::FollowedInSpiteOfABlock,
        Scene::FollowedAfterABlock,
    ];
    holds("follows and blocks", protocol(BLOCKS, &scenes).checker());
}

#[test]
fn an_account_is_protected_and_opened() {
    let scenes = [
        Scene::FollowingAtRest,
        Scene::AskedAnOpenAccount,
        Scene::RequestedAtRest,
    ];
    holds("requests and protections", protocol(PROTECTION, &scenes).checker());
}

#[test]
fn users_are_deleted() {
    let scenes = [Scene::FollowingAtRest, Scene::DeletedWhileAsking];
    holds("requests and deletions", protocol(DELETION, &scenes).checker());
}

#[test]
fn both_sides_do_anything_at_once() {
    let scenes = [
        Scene::FollowingAtRest,
        Scene::FollowedInSpiteOfABlock,
        Scene::AskedAnOpenAccount,
        Scene::RequestedAtRest,
        Scene::DeletedWhileAsking,
    ];
    holds("everything once", protocol(EVERYTHING, &scenes).checker());
}

#[test]
fn a_former_process_works_on() {
    for bounds in [BLOCKS, PROTECTION] {
        let bounds = Bounds {
            follows: 1,
            ends: 0,
            ..bounds
        };
        let model = Protocol {
            workers: 2,
            ..protocol(bounds, &[Scene::TwoAtWorkOnOneItem])
        };
        holds("two processes", model.checker());
    }
}

#[test]
#[ignore = "takes minutes unless it is optimised"]
fn everything_happens_more_often() {
    for (what, bounds) in [
        (
            "follows and blocks",
            Bounds {
                follows: 3,
                blocks: 2,
                unblocks: 2,
                kills: 1,
                ..BLOCKS
            },
        ),
        (
            "requests and protections",
            Bounds {
                follows: 3,
                ends: 1,
                protects: 2,
                kills: 1,
                ..PROTECTION
            },
        ),
        (
            "requests and deletions",
            Bounds {
                blocks: 1,
                unprotects: 1,
                deletions: 2,
                ..DELETION
            },
        ),
        (
            "everything",
            Bounds {
                unblocks: 1,
                protects: 1,
                ..EVERYTHING
            },
        ),
    ] {
        holds(what, protocol(bounds, &[Scene::FollowingAtRest]).checker());
    }
}

#[test]
fn each_mutation_is_found() {
    for (mutation, bounds, property) in [
        (Mutation::OneLook, BLOCKS, SETTLED),
        (Mutation::OneLook, PROTECTION, SETTLED),
        (Mutation::OneLook, DELETION, SETTLED),
        (Mutation::SecondLookTooEarly, BLOCKS, SETTLED),
        (Mutation::SecondLookTooEarly, PROTECTION, SETTLED),
        (Mutation::SecondLookTooEarly, DELETION, SETTLED),
        (Mutation::EndsAfterUnblock, BLOCKS, ENDS_NOTHING_LATER),
        (Mutation::NamesNothing, BLOCKS, ENDS_WHAT_IT_NAMES),
        (Mutation::BlockBeforeFollow, BLOCKS, ENDS_NOTHING_LATER),
        (Mutation::AcceptsWithoutLooking, PROTECTION, ACCEPTS_NOTHING_LATER),
        (Mutation::AccountBeforeFollow, PROTECTION, ACCEPTS_NOTHING_LATER),
        (Mutation::SweepLeavesRequests, DELETION, SETTLED),
    ] {
        let model = Protocol {
            mutation,
            ..protocol(bounds, &[])
        };
        breaks(&format!("{mutation:?}"), model, property);
    }
}
