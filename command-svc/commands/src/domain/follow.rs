//! One user follows another, or stops following.

use model::events::{Event, Follow};
use model::ids::UserId;

#[derive(Debug, Clone, Copy)]
pub enum Command {
    Follow { follower: UserId, followee: UserId },
    Unfollow { follower: UserId, followee: UserId },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("users can't follow themselves")]
pub struct Oneself;

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

pub fn decide(state: Option<&Follow>, command: Command) -> Result<Option<Event>, Oneself> {
    let active = state.is_some_and(|follow| follow.active);
    let (Command::Follow { follower, followee } | Command::Unfollow { follower, followee }) = command;
    if follower == followee {
        return Err(Oneself);
    }
    Ok(match command {
        Command::Follow { .. } if !active => Some(Event::Followed(Follow {
            follower,
            followee,
            active: true,
            requested: false,
        })),
        Command::Unfollow { .. } if active => Some(Event::Unfollowed(Follow {
            follower,
            followee,
            active: false,
            requested: false,
        })),
        Command::Follow { .. } | Command::Unfollow { .. } => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::example::user_id;

    fn follows(active: bool) -> Follow {
        Follow {
            follower: user_id(1),
            followee: user_id(2),
            active,
            requested: false,
        }
    }

    fn follow() -> Command {
        Command::Follow {
            follower: user_id(1),
            followee: user_id(2),
        }
    }

    fn unfollow() -> Command {
        Command::Unfollow {
            follower: user_id(1),
            followee: user_id(2),
        }
    }

    #[test]
    fn given_no_follow_when_following_then_followed() {
        assert_eq!(decide(None, follow()), Ok(Some(Event::Followed(follows(true)))));
        assert_eq!(
            decide(Some(&follows(false)), follow()),
            Ok(Some(Event::Followed(follows(true))))
        );
    }

    #[test]
    fn given_a_follow_when_unfollowing_then_unfollowed() {
        assert_eq!(
            decide(Some(&follows(true)), unfollow()),
            Ok(Some(Event::Unfollowed(follows(false))))
        );
    }

    #[test]
    fn given_what_is_asked_for_then_nothing_happens() {
        assert_eq!(decide(Some(&follows(true)), follow()), Ok(None));
        assert_eq!(decide(Some(&follows(false)), unfollow()), Ok(None));
        assert_eq!(decide(None, unfollow()), Ok(None));
    }

    #[test]
    fn given_anything_when_following_oneself_then_refused() {
        let (follower, followee) = (user_id(1), user_id(1));
        assert_eq!(decide(None, Command::Follow { follower, followee }), Err(Oneself));
        assert_eq!(decide(None, Command::Unfollow { follower, followee }), Err(Oneself));
    }
}
