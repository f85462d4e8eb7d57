//! A user bookmarks a post, or removes the bookmark.

use model::events::{Bookmark, Event};
use model::ids::{PostId, UserId};

#[derive(Debug, Clone, Copy)]
pub enum Command {
    Bookmark { user: UserId, post: PostId },
    Unbookmark,
}

pub fn evolve(event: Event) -> Option<Bookmark> {
    match event {
        Event::PostBookmarked(bookmark) | Event::PostUnbookmarked(bookmark) => Some(bookmark),
        _ => None,
    }
}

/// Nothing is refused here. Whether the user may see the post is decided before.
pub fn decide(state: Option<&Bookmark>, command: Command) -> Option<Event> {
    match (state.filter(|bookmark| bookmark.active), command) {
        (None, Command::Bookmark { user, post }) => Some(Event::PostBookmarked(Bookmark {
            user,
            post,
            active: true,
        })),
        (Some(bookmark), Command::Unbookmark) => Some(Event::PostUnbookmarked(Bookmark {
            active: false,
            ..*bookmark
        })),
        (Some(_), Command::Bookmark { .. }) | (None, Command::Unbookmark) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::example::{post_id, user_id};

    fn bookmark(active: bool) -> Bookmark {
        Bookmark {
            user: user_id(1),
            post: post_id(9),
            active,
        }
    }

    const fn keep(user: UserId, post: PostId) -> Command {
        Command::Bookmark { user, post }
    }

    #[test]
    fn given_none_or_a_former_one_when_bookmarking_then_bookmarked() {
        let command = keep(user_id(1), post_id(9));
        let bookmarked = Some(Event::PostBookmarked(bookmark(true)));
        assert_eq!(decide(None, command), bookmarked);
        assert_eq!(decide(Some(&bookmark(false)), command), bookmarked);
    }

    #[test]
    fn given_a_bookmark_when_unbookmarking_then_unbookmarked() {
        let unbookmarked = Some(Event::PostUnbookmarked(bookmark(false)));
        assert_eq!(decide(Some(&bookmark(true)), Command::Unbookmark), unbookmarked);
    }

    #[test]
    fn given_what_is_asked_for_then_nothing_happens() {
        assert_eq!(decide(Some(&bookmark(true)), keep(user_id(1), post_id(9))), None);
        assert_eq!(decide(Some(&bookmark(false)), Command::Unbookmark), None);
        assert_eq!(decide(None, Command::Unbookmark), None);
    }
}
