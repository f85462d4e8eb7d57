//! Which rights a user has, and what they allow.

use model::events::{Event, UserRole};
use model::ids::UserId;
use model::values::Role;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the user is not a moderator")]
    NotAModerator,
    #[error("only an admin can do this to a moderator or an admin")]
    NotAnAdmin,
}

pub fn evolve(event: Event) -> Option<UserRole> {
    match event {
        Event::RoleChanged(role) => Some(role),
        _ => None,
    }
}

/// Whoever runs the service gives and takes roles.
pub fn decide(state: Option<&UserRole>, user: UserId, role: Option<Role>) -> Option<Event> {
    let now = state.and_then(|state| state.role);
    (now != role).then_some(Event::RoleChanged(UserRole { user, role, by: None }))
}

/// Whether somebody may moderate what a user has written, and the account of that user.
pub fn may_moderate(actor: Option<Role>, target: Option<Role>) -> Result<(), Refusal> {
    match (actor, target) {
        (None, _) => Err(Refusal::NotAModerator),
        (Some(Role::Moderator), Some(_)) => Err(Refusal::NotAnAdmin),
        (Some(Role::Moderator), None) | (Some(Role::Admin), _) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::example::user_id;

    fn state(role: Option<Role>) -> UserRole {
        UserRole {
            user: user_id(1),
            role,
            by: None,
        }
    }

    #[test]
    fn given_any_role_when_another_is_given_or_it_is_taken_then_changed() {
        let roles = [None, Some(Role::Moderator), Some(Role::Admin)];
        for (now, then) in roles.iter().flat_map(|now| roles.map(|then| (*now, then))) {
            let event = decide(Some(&state(now)), user_id(1), then);
            let changed = (now != then).then_some(Event::RoleChanged(state(then)));
            assert_eq!(event, changed, "{now:?} to {then:?}");
        }
        assert_eq!(decide(None, user_id(1), None), None);
        let given = decide(None, user_id(1), Some(Role::Admin));
        assert_eq!(given, Some(Event::RoleChanged(state(Some(Role::Admin)))));
    }

    #[test]
    fn a_moderator_moderates_users_and_an_admin_everybody() {
        let (moderator, admin) = (Some(Role::Moderator), Some(Role::Admin));
        for target in [None, moderator, admin] {
            assert_eq!(may_moderate(None, target), Err(Refusal::NotAModerator));
            assert_eq!(may_moderate(admin, target), Ok(()));
        }
        assert_eq!(may_moderate(moderator, None), Ok(()));
        for target in [moderator, admin] {
            assert_eq!(may_moderate(moderator, target), Err(Refusal::NotAnAdmin));
        }
    }
}
