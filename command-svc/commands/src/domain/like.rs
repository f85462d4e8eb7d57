//! A user likes a post, or takes the like back.

use model::events::{Event, Like};
use model::ids::{PostId, UserId};

#[derive(Debug, Clone, Copy)]
pub enum Command {
    Like {
        user: UserId,
        post: PostId,
        post_author: UserId,
    },
    Unlike,
}

pub fn evolve(event: Event) -> Option<Like> {
    match event {
        Event::PostLiked(like) | Event::PostUnliked(like) => Some(like),
        _ => None,
    }
}

/// Nothing is refused here. Whether the user may see the post is decided before.
pub fn decide(state: Option<&Like>, command: Command) -> Option<Event> {
    let active = state.filter(|like| like.active);
    match (active, command) {
        (
            None,
            Command::Like {
                user,
                post,
                post_author,
            },
        ) => Some(Event::PostLiked(Like {
            user,
            post,
            post_author,
            active: true,
        })),
        (Some(like), Command::Unlike) => Some(Event::PostUnliked(Like { active: false, ..*like })),
        (Some(_), Command::Like { .. }) | (None, Command::Unlike) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::example::{post_id, user_id};

    fn liked(active: bool) -> Like {
        Like {
            user: user_id(1),
            post: post_id(9),
            post_author: user_id(2),
            active,
        }
    }

    fn like() -> Command {
        Command::Like {
            user: user_id(1),
            post: post_id(9),
            post_author: user_id(2),
        }
    }

    #[test]
    fn given_no_like_when_liking_then_liked() {
        assert_eq!(decide(None, like()), Some(Event::PostLiked(liked(true))));
        assert_eq!(decide(Some(&liked(false)), like()), Some(Event::PostLiked(liked(true))));
    }

    #[test]
    fn given_a_like_when_unliking_then_unliked() {
        assert_eq!(
            decide(Some(&liked(true)), Command::Unlike),
            Some(Event::PostUnliked(liked(false)))
        );
    }

    #[test]
    fn given_what_is_asked_for_then_nothing_happens() {
        assert_eq!(decide(Some(&liked(true)), like()), None);
        assert_eq!(decide(Some(&liked(false)), Command::Unlike), None);
        assert_eq!(decide(None, Command::Unlike), None);
    }
}
