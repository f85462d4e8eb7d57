//! The owner of a list adds a user to it, or removes one.

use model::events::{Event, ListMember};
use model::ids::{ListId, UserId};

#[derive(Debug, Clone, Copy)]
pub enum Command {
    Add { list: ListId, owner: UserId, user: UserId },
    Remove,
}

pub fn evolve(event: Event) -> Option<ListMember> {
    match event {
        Event::ListMemberAdded(member) | Event::ListMemberRemoved(member) => Some(member),
        _ => None,
    }
}

/// Nothing is refused here: neither oneself, whose posts may belong to a list as well as those of others, nor whom one does not follow. A
/// block between the two is looked up before.
pub fn decide(state: Option<&ListMember>, command: Command) -> Option<Event> {
    match (state.filter(|member| member.active), command) {
        (None, Command::Add { list, owner, user }) => Some(Event::ListMemberAdded(ListMember {
            list,
            owner,
            user,
            active: true,
        })),
        (Some(member), Command::Remove) => Some(Event::ListMemberRemoved(ListMember {
            active: false,
            ..*member
        })),
        (Some(_), Command::Add { .. }) | (None, Command::Remove) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::example::user_id;

    const LIST: ListId = ListId::from_bytes([7; 16]);

    fn member(active: bool) -> ListMember {
        ListMember {
            list: LIST,
            owner: user_id(1),
            user: user_id(2),
            active,
        }
    }

    const ADD: Command = Command::Add {
        list: LIST,
        owner: user_id(1),
        user: user_id(2),
    };

    #[test]
    fn given_none_or_a_former_one_when_adding_then_added() {
        let added = Some(Event::ListMemberAdded(member(true)));
        assert_eq!(decide(None, ADD), added);
        assert_eq!(decide(Some(&member(false)), ADD), added);
    }

    #[test]
    fn given_a_member_when_removing_then_removed() {
        let removed = Some(Event::ListMemberRemoved(member(false)));
        assert_eq!(decide(Some(&member(true)), Command::Remove), removed);
    }

    #[test]
    fn given_what_is_asked_for_then_nothing_happens() {
        assert_eq!(decide(Some(&member(true)), ADD), None);
        assert_eq!(decide(Some(&member(false)), Command::Remove), None);
        assert_eq!(decide(None, Command::Remove), None);
    }
}
