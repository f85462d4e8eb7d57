//! One user follows another, asks to, or stops. The other accepts or rejects a request, or removes the follower.
//!
//! It is a state: none, requested, or following.

use model::events::{Event, Follow};
use model::ids::UserId;

#[derive(Debug, Clone, Copy)]
pub enum Command {
    /// A protected followee is asked.
    Follow {
        follower: UserId,
        followee: UserId,
        protected: bool,
    },
    /// The follower ends the follow, or withdraws the request.
    Unfollow { follower: UserId, followee: UserId },
    /// The followee accepts the request.
    Accept,
    /// The followee rejects the request.
    Reject,
    /// The followee, or a block, ends the follow or the request.
    Remove,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("users can't follow themselves")]
    Oneself,
    #[error("there is no request to follow")]
    NotRequested,
}

pub fn evolve(event: Event) -> Option<Follow> {
    match event {
        Event::Followed(follow)
        | Event::Unfollowed(follow)
        | Event::FollowRequested(follow)
        | Event::FollowAccepted(follow)
        | Event::FollowRejected(follow)
        | Event::FollowCancelled(follow)
        | Event::FollowRemoved(follow) => Some(follow),
        _ => None,
    }
}

/// Whether a user may follow another at all, such as in spite of a block, is decided before.
pub fn decide(state: Option<&Follow>, command: Command) -> Result<Option<Event>, Refusal> {
    if let Command::Follow { follower, followee, .. } | Command::Unfollow { follower, followee } = command
        && follower == followee
    {
        return Err(Refusal::Oneself);
    }
    let live = state.filter(|follow| follow.active || follow.requested);
    let ended = |follow: &Follow| Follow {
        active: false,
        requested: false,
        ..*follow
    };
    Ok(match (live, command) {
        (Some(follow), Command::Follow { protected, .. }) if follow.active || protected => None,
        (
            _,
            Command::Follow {
                follower,
                followee,
                protected,
            },
        ) => {
            let follow = Follow {
                follower,
                followee,
                active: !protected,
                requested: protected,
            };
            Some(match protected {
                true => Event::FollowRequested(follow),
                false => Event::Followed(follow),
            })
        }
        (Some(follow), Command::Unfollow { .. }) if follow.requested => Some(Event::FollowCancelled(ended(follow))),
        (Some(follow), Command::Unfollow { .. }) => Some(Event::Unfollowed(ended(follow))),
        (Some(follow), Command::Accept) if follow.requested => Some(Event::FollowAccepted(Follow {
            active: true,
            requested: false,
            ..*follow
        })),
        (Some(follow), Command::Reject) if follow.requested => Some(Event::FollowRejected(ended(follow))),
        (Some(follow), Command::Remove) => Some(Event::FollowRemoved(ended(follow))),
        (Some(_), Command::Accept) | (None, Command::Unfollow { .. } | Command::Remove) => None,
        (_, Command::Accept | Command::Reject) => return Err(Refusal::NotRequested),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::example::user_id;

    const fn follow(active: bool, requested: bool) -> Follow {
        Follow {
            follower: user_id(1),
            followee: user_id(2),
            active,
            requested,
        }
    }

    const NONE: Follow = follow(false, false);
    const REQUESTED: Follow = follow(false, true);
    const FOLLOWING: Follow = follow(true, false);

    const fn following(protected: bool) -> Command {
        Command::Follow {
            follower: user_id(1),
            followee: user_id(2),
            protected,
        }
    }

    const UNFOLLOW: Command = Command::Unfollow {
        follower: user_id(1),
        followee: user_id(2),
    };

    #[test]
    fn given_no_follow_when_following_then_followed() {
        for state in [None, Some(&NONE)] {
            assert_eq!(decide(state, following(false)), Ok(Some(Event::Followed(FOLLOWING))));
        }
    }

    #[test]
    fn given_a_protected_account_when_following_then_requested() {
        for state in [None, Some(&NONE)] {
            let requested = Event::FollowRequested(REQUESTED);
            assert_eq!(decide(state, following(true)), Ok(Some(requested)));
        }
    }

    #[test]
    fn given_a_request_when_the_account_is_not_protected_any_more_then_followed() {
        let followed = Event::Followed(FOLLOWING);
        assert_eq!(decide(Some(&REQUESTED), following(false)), Ok(Some(followed)));
    }

    #[test]
    fn given_a_follow_when_unfollowing_then_unfollowed() {
        assert_eq!(decide(Some(&FOLLOWING), UNFOLLOW), Ok(Some(Event::Unfollowed(NONE))));
    }

    #[test]
    fn given_a_request_then_it_is_accepted_rejected_or_cancelled() {
        for (command, event) in [
            (Command::Accept, Event::FollowAccepted(FOLLOWING)),
            (Command::Reject, Event::FollowRejected(NONE)),
            (UNFOLLOW, Event::FollowCancelled(NONE)),
        ] {
            assert_eq!(decide(Some(&REQUESTED), command), Ok(Some(event)));
        }
    }

    #[test]
    fn given_a_follow_or_a_request_when_removing_then_removed() {
        for state in [FOLLOWING, REQUESTED] {
            let removed = Event::FollowRemoved(NONE);
            assert_eq!(decide(Some(&state), Command::Remove), Ok(Some(removed)));
        }
    }

    #[test]
    fn given_what_is_asked_for_then_nothing_happens() {
        for (state, command) in [
            (Some(&FOLLOWING), following(false)),
            // A follow outlives the protection.
            (Some(&FOLLOWING), following(true)),
            (Some(&REQUESTED), following(true)),
            (Some(&FOLLOWING), Command::Accept),
            (Some(&NONE), UNFOLLOW),
            (None, UNFOLLOW),
            (Some(&NONE), Command::Remove),
            (None, Command::Remove),
        ] {
            assert_eq!(decide(state, command), Ok(None), "{command:?} given {state:?}");
        }
    }

    #[test]
    fn given_no_request_when_answering_it_then_refused() {
        for (state, command) in [
            (None, Command::Accept),
            (Some(&NONE), Command::Accept),
            (None, Command::Reject),
            (Some(&NONE), Command::Reject),
            (Some(&FOLLOWING), Command::Reject),
        ] {
            assert_eq!(
                decide(state, command),
                Err(Refusal::NotRequested),
                "{command:?} given {state:?}"
            );
        }
    }

    #[test]
    fn given_anything_when_following_oneself_then_refused() {
        let (follower, followee) = (user_id(1), user_id(1));
        for command in [
            Command::Follow {
                follower,
                followee,
                protected: true,
            },
            Command::Unfollow { follower, followee },
        ] {
            assert_eq!(decide(None, command), Err(Refusal::Oneself));
        }
    }
}
