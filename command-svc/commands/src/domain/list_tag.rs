//! The owner of a list adds a tag to it, or removes one.

use model::events::{Event, ListTag};
use model::ids::{ListId, UserId};
use model::tags::Tag;

#[derive(Debug, Clone, Copy)]
pub enum Command<'a> {
    Add { list: ListId, owner: UserId, tag: &'a Tag },
    Remove,
}

pub fn evolve(event: Event) -> Option<ListTag> {
    match event {
        Event::ListTagAdded(tag) | Event::ListTagRemoved(tag) => Some(tag),
        _ => None,
    }
}

/// Nothing is refused here. A tag need not be in any post.
pub fn decide(state: Option<&ListTag>, command: Command<'_>) -> Option<Event> {
    match (state.filter(|tag| tag.active), command) {
        (None, Command::Add { list, owner, tag }) => Some(Event::ListTagAdded(ListTag {
            list,
            owner,
            tag: tag.as_str().to_owned(),
            active: true,
        })),
        (Some(tag), Command::Remove) => Some(Event::ListTagRemoved(ListTag {
            active: false,
            ..tag.clone()
        })),
        (Some(_), Command::Add { .. }) | (None, Command::Remove) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::example::user_id;

    const LIST: ListId = ListId::from_bytes([7; 16]);

    fn tag(name: &str, active: bool) -> ListTag {
        ListTag {
            list: LIST,
            owner: user_id(1),
            tag: name.to_owned(),
            active,
        }
    }

    fn adding(state: Option<&ListTag>, name: &str) -> Option<Event> {
        let add = Command::Add {
            list: LIST,
            owner: user_id(1),
            tag: &Tag::parse(name).unwrap(),
        };
        decide(state, add)
    }

    #[test]
    fn given_none_or_a_former_one_when_adding_then_added_as_written() {
        let added = Some(Event::ListTagAdded(tag("Rust", true)));
        assert_eq!(adding(None, "Rust"), added);
        assert_eq!(adding(Some(&tag("rust", false)), "Rust"), added);
    }

    #[test]
    fn given_a_tag_when_removing_then_removed() {
        let removed = Some(Event::ListTagRemoved(tag("Rust", false)));
        assert_eq!(decide(Some(&tag("Rust", true)), Command::Remove), removed);
    }

    #[test]
    fn given_what_is_asked_for_then_nothing_happens() {
        assert_eq!(adding(Some(&tag("Rust", true)), "RUST"), None);
        assert_eq!(decide(Some(&tag("Rust", false)), Command::Remove), None);
        assert_eq!(decide(None, Command::Remove), None);
    }
}
