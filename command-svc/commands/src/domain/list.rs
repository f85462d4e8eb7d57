//! A user makes a list of users and tags, changes it, or deletes it.

use model::events::{Event, List};
use model::ids::{ListId, UserId};
use model::values::ListTitle;

/// What the owner asks for. `None` leaves it as it is.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    pub title: Option<ListTitle>,
    pub exclusive: Option<bool>,
}

#[derive(Debug, Clone)]
pub enum Command<'a> {
    Change(&'a Changes),
    Delete,
}

pub fn evolve(event: Event) -> Option<List> {
    match event {
        Event::ListCreated(list) | Event::ListChanged(list) | Event::ListDeleted(list) => Some(list),
        _ => None,
    }
}

pub fn create(id: ListId, owner: UserId, title: &ListTitle, exclusive: bool) -> List {
    List {
        id,
        owner,
        title: Some(title.as_str().to_owned()),
        exclusive,
        deleted: false,
    }
}

/// Nothing is refused here. Whether the list belongs to the user is decided before. A deleted list stays as it is.
pub fn decide(list: &List, command: Command<'_>) -> Option<Event> {
    if list.deleted {
        return None;
    }
    match command {
        Command::Change(Changes { title, exclusive }) => {
            let changed = List {
                title: title
                    .as_ref()
                    .map_or_else(|| list.title.clone(), |title| Some(title.as_str().to_owned())),
                exclusive: exclusive.unwrap_or(list.exclusive),
                ..list.clone()
            };
            (changed != *list).then_some(Event::ListChanged(changed))
        }
        Command::Delete => Some(Event::ListDeleted(List {
            title: None,
            deleted: true,
            ..list.clone()
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::example::user_id;

    fn title(raw: &str) -> ListTitle {
        ListTitle::parse(raw).unwrap()
    }

    fn list(raw: &str, exclusive: bool) -> List {
        create(ListId::from_bytes([7; 16]), user_id(1), &title(raw), exclusive)
    }

    fn deleted() -> List {
        List {
            title: None,
            deleted: true,
            ..list("Friends", true)
        }
    }

    fn changing(state: &List, title: Option<ListTitle>, exclusive: Option<bool>) -> Option<Event> {
        decide(state, Command::Change(&Changes { title, exclusive }))
    }

    #[test]
    fn given_a_list_when_changing_then_changed_as_asked_for() {
        let friends = list("Friends", false);
        for (new_title, exclusive, expected) in [
            (Some(title("Family")), None, list("Family", false)),
            (None, Some(true), list("Friends", true)),
            (Some(title("Family")), Some(true), list("Family", true)),
        ] {
            assert_eq!(
                changing(&friends, new_title, exclusive),
                Some(Event::ListChanged(expected))
            );
        }
    }

    #[test]
    fn given_what_is_asked_for_then_nothing_happens() {
        let friends = list("Friends", true);
        assert_eq!(changing(&friends, None, None), None);
        assert_eq!(changing(&friends, Some(title("Friends")), Some(true)), None);
    }

    #[test]
    fn given_a_list_when_deleting_then_deleted_without_its_title() {
        let event = decide(&list("Friends", true), Command::Delete);
        assert_eq!(event, Some(Event::ListDeleted(deleted())));
    }

    #[test]
    fn given_a_deleted_list_then_nothing_happens_to_it_any_more() {
        assert_eq!(decide(&deleted(), Command::Delete), None);
        assert_eq!(changing(&deleted(), Some(title("Friends")), Some(false)), None);
    }
}
