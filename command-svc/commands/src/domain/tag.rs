//! A user follows a tag, or stops following it.

use model::events::{Event, TagFollow};
use model::ids::UserId;
use model::tags::Tag;

#[derive(Debug, Clone, Copy)]
pub enum Command<'a> {
    Follow { user: UserId, tag: &'a Tag },
    Unfollow,
}

pub fn evolve(event: Event) -> Option<TagFollow> {
    match event {
        Event::TagFollowed(follow) | Event::TagUnfollowed(follow) => Some(follow),
        _ => None,
    }
}

/// Nothing is refused here. A tag need not be in any post.
pub fn decide(state: Option<&TagFollow>, command: Command<'_>) -> Option<Event> {
    match (state.filter(|follow| follow.active), command) {
        (None, Command::Follow { user, tag }) => Some(Event::TagFollowed(TagFollow {
            user,
            tag: tag.as_str().to_owned(),
            active: true,
        })),
        (Some(follow), Command::Unfollow) => Some(Event::TagUnfollowed(TagFollow {
            active: false,
            ..follow.clone()
        })),
        (Some(_), Command::Follow { .. }) | (None, Command::Unfollow) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::example::user_id;

    fn follow(tag: &str, active: bool) -> TagFollow {
        TagFollow {
            user: user_id(1),
            tag: tag.to_owned(),
            active,
        }
    }

    fn following(state: Option<&TagFollow>, tag: &str) -> Option<Event> {
        let tag = Tag::parse(tag).unwrap();
        decide(
            state,
            Command::Follow {
                user: user_id(1),
                tag: &tag,
            },
        )
    }

    #[test]
    fn given_none_or_a_former_one_when_following_then_followed_as_written() {
        let followed = Some(Event::TagFollowed(follow("Rust", true)));
        assert_eq!(following(None, "Rust"), followed);
        assert_eq!(following(Some(&follow("rust", false)), "Rust"), followed);
    }

    #[test]
    fn given_a_follow_when_unfollowing_then_unfollowed() {
        let unfollowed = Some(Event::TagUnfollowed(follow("Rust", false)));
        assert_eq!(decide(Some(&follow("Rust", true)), Command::Unfollow), unfollowed);
    }

    #[test]
    fn given_what_is_asked_for_then_nothing_happens() {
        assert_eq!(following(Some(&follow("Rust", true)), "RUST"), None);
        assert_eq!(decide(Some(&follow("Rust", false)), Command::Unfollow), None);
        assert_eq!(decide(None, Command::Unfollow), None);
    }
}
