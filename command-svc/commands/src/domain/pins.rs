//! The posts that a user shows first.

use model::events::{Event, Pins};
use model::ids::{PostId, UserId};

#[derive(Debug, Clone, Copy)]
pub enum Command<'a> {
    /// `gone`: the pinned posts that are deleted. They make room.
    Pin {
        user: UserId,
        post: PostId,
        gone: &'a [PostId],
    },
    Unpin(PostId),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a user can pin at most {} posts", Pins::MAX)]
pub struct TooMany;

pub fn evolve(event: Event) -> Option<Pins> {
    match event {
        Event::PostPinned(pins) | Event::PostUnpinned(pins) => Some(pins),
        _ => None,
    }
}

pub fn decide(state: Option<&Pins>, command: Command<'_>) -> Result<Option<Event>, TooMany> {
    let pinned: &[PostId] = state.map_or(&[], |pins| &pins.posts);
    match command {
        Command::Pin { post, .. } if pinned.contains(&post) => Ok(None),
        Command::Pin { user, post, gone } => {
            let kept = pinned.iter().copied().filter(|post| !gone.contains(post));
            let posts: Vec<PostId> = [post].into_iter().chain(kept).collect();
            if posts.len() > Pins::MAX {
                return Err(TooMany);
            }
            Ok(Some(Event::PostPinned(Pins { user, posts })))
        }
        Command::Unpin(post) => Ok(state.filter(|_| pinned.contains(&post)).map(|pins| {
            let posts = pinned.iter().copied().filter(|&pinned| pinned != post).collect();
            Event::PostUnpinned(Pins { posts, ..*pins })
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::example::{post_id, user_id};

    fn pins(posts: &[u8]) -> Pins {
        Pins {
            user: user_id(1),
            posts: posts.iter().copied().map(post_id).collect(),
        }
    }

    fn pin(post: u8, gone: &[PostId]) -> Command<'_> {
        Command::Pin {
            user: user_id(1),
            post: post_id(post),
            gone,
        }
    }

    #[test]
    fn given_pins_when_one_more_is_pinned_then_it_comes_first() {
        assert_eq!(decide(None, pin(9, &[])), Ok(Some(Event::PostPinned(pins(&[9])))));
        let pinned = decide(Some(&pins(&[1, 2])), pin(9, &[]));
        assert_eq!(pinned, Ok(Some(Event::PostPinned(pins(&[9, 1, 2])))));
        assert_eq!(decide(Some(&pins(&[1, 9])), pin(9, &[])), Ok(None));
    }

    #[test]
    fn given_the_most_pins_when_one_more_is_pinned_then_refused_unless_one_is_gone() {
        let full = pins(&[1, 2, 3, 4, 5]);
        assert_eq!(decide(Some(&full), pin(9, &[])), Err(TooMany));
        let pinned = decide(Some(&full), pin(9, &[post_id(3)]));
        assert_eq!(pinned, Ok(Some(Event::PostPinned(pins(&[9, 1, 2, 4, 5])))));
    }

    #[test]
    fn given_pins_when_one_is_unpinned_then_the_others_stay() {
        let unpinned = decide(Some(&pins(&[1, 2, 3])), Command::Unpin(post_id(2)));
        assert_eq!(unpinned, Ok(Some(Event::PostUnpinned(pins(&[1, 3])))));
        assert_eq!(decide(Some(&pins(&[1])), Command::Unpin(post_id(2))), Ok(None));
        assert_eq!(decide(None, Command::Unpin(post_id(2))), Ok(None));
    }
}
