//! The bounds, and the mutations.

use stateright::Model;

use super::properties::{NOTHING_AGAIN, NOTHING_DENIED, NOTHING_IS_LOST, Scene};
use super::{Bounds, Live, Mutation};
use crate::check::{breaks, holds};

const POSTS: Bounds = Bounds {
    posts: [2, 0],
    reposts: 0,
    follows: 0,
    denials: [0, 0],
    breaks: 1,
    disconnects: 1,
};

const DENIAL: Bounds = Bounds {
    posts: [1, 0],
    denials: [1, 0],
    ..POSTS
};

const REPOST: Bounds = Bounds {
    posts: [0, 1],
    reposts: 1,
    ..POSTS
};

const REPOST_DENIED: Bounds = Bounds {
    denials: [0, 1],
    breaks: 0,
    disconnects: 0,
    ..REPOST
};

const FOLLOW: Bounds = Bounds {
    posts: [0, 1],
    follows: 1,
    ..POSTS
};

fn live(authors: usize, bounds: Bounds, scenes: &[Scene]) -> Live {
    Live {
        processes: 1,
        authors,
        alone: true,
        capacity: 2,
        clocks_differ: false,
        has_cursor: true,
        bounds,
        mutation: Mutation::None,
        scenes: scenes.to_vec(),
    }
}

#[test]
fn posts_come_while_everything_breaks() {
    let scenes = [Scene::AllHaveCome, Scene::CutWhileReplaying, Scene::Overlap];
    let model = live(1, POSTS, &scenes);
    let clocks = Live {
        clocks_differ: true,
        ..model.clone()
    };
    holds("posts, clocks differ", clocks.checker());
    let others = Live {
        alone: false,
        ..model.clone()
    };
    holds("posts, others have streams", others.checker());
    let present = Live {
        has_cursor: false,
        ..model
    };
    holds("posts, from the present", present.checker());
}

#[test]
fn a_queue_overflows() {
    let bounds = Bounds {
        posts: [3, 0],
        breaks: 0,
        ..POSTS
    };
    let scenes = [Scene::AllHaveCome, Scene::CutWhileReplaying, Scene::Overlap];
    holds("more posts than a queue holds", live(1, bounds, &scenes).checker());
}

#[test]
fn the_client_comes_back_to_another_process() {
    let bounds = Bounds { breaks: 0, ..POSTS };
    let scenes = [Scene::AllHaveCome, Scene::Overlap, Scene::BehindTheCursor];
    let model = Live {
        processes: 2,
        ..live(1, bounds, &scenes)
    };
    holds("posts, two processes", model.checker());
}

#[test]
fn an_author_denies() {
    let scenes = [Scene::Denied, Scene::Overlap];
    holds("a post and a denial", live(1, DENIAL, &scenes).checker());
    let scenes = [Scene::RepostHasCome, Scene::Denied];
    holds("a repost and a denial", live(2, REPOST_DENIED, &scenes).checker());
}

#[test]
fn a_repost_comes_before_its_original() {
    let scenes = [
        Scene::RepostHasCome,
        Scene::CutWhileReplaying,
        Scene::Overlap,
        Scene::SecondLook,
    ];
    holds("a repost", live(2, REPOST, &scenes).checker());
}

#[test]
fn the_reader_follows_and_unfollows() {
    let scenes = [Scene::AllHaveCome, Scene::CutWhileReplaying];
    holds("a follow", live(2, FOLLOW, &scenes).checker());
    let bounds = Bounds {
        follows: 2,
        breaks: 0,
        ..FOLLOW
    };
    holds("a follow and an unfollow", live(2, bounds, &scenes).checker());
}

#[test]
#[ignore = "takes minutes unless it is optimised"]
fn everything_happens_more_often() {
    let posts = Bounds { posts: [3, 0], ..POSTS };
    for (what, authors, bounds) in [
        ("posts", 1, posts),
        (
            "posts, breaks twice",
            1,
            Bounds {
                breaks: 2,
                disconnects: 2,
                ..POSTS
            },
        ),
        (
            "a post and a repost",
            2,
            Bounds {
                posts: [1, 1],
                ..REPOST
            },
        ),
        ("two reposts", 2, Bounds { reposts: 2, ..REPOST }),
        ("a repost and a follow", 2, Bounds { follows: 1, ..REPOST }),
        (
            "a repost and a denial",
            2,
            Bounds {
                denials: [0, 1],
                ..REPOST
            },
        ),
        ("three follows", 2, Bounds { follows: 3, ..FOLLOW }),
        (
            "posts of a followee",
            2,
            Bounds {
                posts: [0, 2],
                ..FOLLOW
            },
        ),
        (
            "posts of both",
            2,
            Bounds {
                posts: [1, 1],
                disconnects: 0,
                ..FOLLOW
            },
        ),
    ] {
        let scenes = [Scene::CutWhileReplaying, Scene::Overlap];
        let clocks = Live {
            clocks_differ: authors == 1,
            ..live(authors, bounds, &scenes)
        };
        holds(what, clocks.checker());
    }
    for (what, authors, bounds) in [
        ("two processes, posts", 1, POSTS),
        ("two processes, a repost", 2, REPOST),
        ("two processes, a follow", 2, FOLLOW),
    ] {
        let model = Live {
            processes: 2,
            ..live(authors, bounds, &[Scene::BehindTheCursor, Scene::Overlap])
        };
        holds(what, model.checker());
    }
}

#[test]
fn each_mutation_is_found() {
    let three = Bounds {
        posts: [3, 0],
        breaks: 0,
        disconnects: 0,
        ..POSTS
    };
    let denied = Bounds {
        breaks: 1,
        ..REPOST_DENIED
    };
    for (mutation, authors, bounds, property) in [
        (Mutation::FromEntries, 1, POSTS, NOTHING_IS_LOST),
        (Mutation::QueueAfterReplay, 1, POSTS, NOTHING_IS_LOST),
        (Mutation::DropsTheOldest, 1, three, NOTHING_IS_LOST),
        (Mutation::CursorWhenSent, 1, POSTS, NOTHING_IS_LOST),
        (Mutation::CursorOfTheBatch, 1, POSTS, NOTHING_IS_LOST),
        (Mutation::HighestIdOnly, 1, POSTS, NOTHING_IS_LOST),
        (Mutation::BreakCutsNothing, 1, POSTS, NOTHING_IS_LOST),
        (Mutation::HandledAfterReading, 1, POSTS, NOTHING_IS_LOST),
        (Mutation::NothingLeftOut, 1, POSTS, NOTHING_AGAIN),
        (Mutation::OverlapForgotten, 1, POSTS, NOTHING_AGAIN),
        (Mutation::DecidedFromMemory, 1, DENIAL, NOTHING_DENIED),
        (Mutation::FolloweesBeforeRegistering, 2, FOLLOW, NOTHING_IS_LOST),
        (Mutation::RegistersWhileClosed, 2, FOLLOW, NOTHING_IS_LOST),
        (Mutation::FollowCutsNothing, 2, FOLLOW, NOTHING_IS_LOST),
        (Mutation::ResumedThoughCut, 2, FOLLOW, NOTHING_IS_LOST),
        (Mutation::HubHearsLater, 2, FOLLOW, NOTHING_IS_LOST),
        (Mutation::NothingKnownAbove, 2, FOLLOW, NOTHING_AGAIN),
        (Mutation::ReleasedAtTheRow, 2, REPOST, NOTHING_IS_LOST),
        (Mutation::ReleasedAtTheRow, 2, denied, NOTHING_DENIED),
        (Mutation::OnePartition, 2, REPOST, NOTHING_IS_LOST),
        (Mutation::OnePartition, 2, denied, NOTHING_DENIED),
        (Mutation::CheckpointsBeforeOpening, 2, REPOST, NOTHING_IS_LOST),
        (Mutation::NoSecondLook, 2, REPOST, NOTHING_IS_LOST),
        (Mutation::CursorBeforeTheSecondLook, 2, REPOST, NOTHING_IS_LOST),
    ] {
        let model = Live {
            mutation,
            clocks_differ: matches!(mutation, Mutation::HighestIdOnly | Mutation::HandledAfterReading),
            ..live(authors, bounds, &[])
        };
        breaks(&format!("{mutation:?}"), model, property);
    }
}
