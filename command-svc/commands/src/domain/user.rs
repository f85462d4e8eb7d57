//! A user: registered, changed, deleted for good.

use chrono::{DateTime, Utc};
use model::events::{Event, Moderation, User};
use model::ids::UserId;
use model::values::{Bio, DisplayName, Handle, ProfileField};

#[derive(Debug, Clone)]
pub enum Command {
    Register {
        id: UserId,
        handle: Handle,
        display_name: Option<DisplayName>,
        at: DateTime<Utc>,
    },
    Change {
        display_name: Option<DisplayName>,
        bio: Option<Bio>,
        protected: Option<bool>,
        /// All of them.
        fields: Option<Vec<ProfileField>>,
        /// Whether the password or the e-mail address changes. Neither enters an event.
        credentials: bool,
    },
    Delete,
    /// A moderator suspends the account.
    Suspend {
        by: UserId,
    },
    Restore {
        by: UserId,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the user is registered already")]
    AlreadyRegistered,
    #[error("there is no such user, or the user is deleted")]
    Gone,
}

pub fn evolve(event: Event) -> Option<User> {
    match event {
        Event::UserRegistered(user)
        | Event::UserProfileChanged(user)
        | Event::UserCredentialsChanged(user)
        | Event::UserProtected(user)
        | Event::UserUnprotected(user)
        | Event::UserSuspended(user)
        | Event::UserRestored(user)
        | Event::UserDeleted(user) => Some(user),
        _ => None,
    }
}

pub fn decide(state: Option<&User>, command: Command) -> Result<Option<Event>, Refusal> {
    match (state, command) {
        (
            None,
            Command::Register {
                id,
                handle,
                display_name,
                at,
            },
        ) => {
            let display_name = display_name.unwrap_or_else(|| DisplayName::from(&handle));
            Ok(Some(Event::UserRegistered(User {
                id,
                handle,
                display_name: Some(display_name.into_string()),
                bio: Some(String::new()),
                fields: Vec::new(),
                created_at: at,
                suspended: None,
                deleted: false,
                protected: false,
            })))
        }
        (Some(_), Command::Register { .. }) => Err(Refusal::AlreadyRegistered),
        (None, _) => Err(Refusal::Gone),
        (Some(user), _) if user.deleted => Err(Refusal::Gone),
        (
            Some(user),
            Command::Change {
                display_name,
                bio,
                protected,
                fields,
                credentials,
            },
        ) => {
            let changed = User {
                display_name: display_name
                    .map(DisplayName::into_string)
                    .or_else(|| user.display_name.clone()),
                bio: bio.map(Bio::into_string).or_else(|| user.bio.clone()),
                protected: protected.unwrap_or(user.protected),
                fields: fields.unwrap_or_else(|| user.fields.clone()),
                ..user.clone()
            };
            // One command is one event. The event has the whole state, so nothing that changes in the same command is lost. Its type is
            // that of the change which a process waits for.
            Ok(match (user.protected, changed.protected) {
                (false, true) => Some(Event::UserProtected(changed)),
                (true, false) => Some(Event::UserUnprotected(changed)),
                _ if credentials => Some(Event::UserCredentialsChanged(changed)),
                _ if changed == *user => None,
                _ => Some(Event::UserProfileChanged(changed)),
            })
        }
        (Some(user), Command::Delete) => Ok(Some(Event::UserDeleted(User {
            display_name: None,
            bio: None,
            fields: Vec::new(),
            deleted: true,
            ..user.clone()
        }))),
        (Some(user), Command::Suspend { by }) => {
            Ok((!user.is_suspended()).then(|| Event::UserSuspended(moderated(user, by, true))))
        }
        (Some(user), Command::Restore { by }) => Ok(user
            .is_suspended()
            .then(|| Event::UserRestored(moderated(user, by, false)))),
    }
}

fn moderated(user: &User, by: UserId, active: bool) -> User {
    User {
        suspended: Some(Moderation { by, active }),
        ..user.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::example::{time, user, user_id};

    fn register(display_name: Option<&str>) -> Command {
        Command::Register {
            id: user_id(1),
            handle: Handle::parse("user1").unwrap(),
            display_name: display_name.map(|name| DisplayName::parse(name).unwrap()),
            at: time(0),
        }
    }

    fn change(display_name: Option<&str>, bio: Option<&str>, credentials: bool) -> Command {
        Command::Change {
            display_name: display_name.map(|name| DisplayName::parse(name).unwrap()),
            bio: bio.map(|bio| Bio::parse(bio).unwrap()),
            protected: None,
            fields: None,
            credentials,
        }
    }

    fn protect(protected: bool, display_name: Option<&str>, credentials: bool) -> Command {
        Command::Change {
            display_name: display_name.map(|name| DisplayName::parse(name).unwrap()),
            bio: None,
            protected: Some(protected),
            fields: None,
            credentials,
        }
    }

    fn pronouns() -> ProfileField {
        ProfileField {
            name: "Pronouns".to_owned(),
            value: "she/her".to_owned(),
        }
    }

    fn with_fields() -> User {
        User {
            fields: vec![pronouns()],
            ..user(1)
        }
    }

    fn deleted() -> User {
        User {
            display_name: None,
            bio: None,
            deleted: true,
            ..user(1)
        }
    }

    #[test]
    fn given_nobody_when_registering_then_registered() {
        let event = decide(None, register(Some("A Name"))).unwrap();
        assert_eq!(
            event,
            Some(Event::UserRegistered(User {
                bio: Some(String::new()),
                ..user(1)
            }))
        );
    }

    #[test]
    fn given_no_display_name_when_registering_then_shown_by_handle() {
        let registered = decide(None, register(None)).unwrap().and_then(evolve).unwrap();
        assert_eq!(registered.display_name.as_deref(), Some("user1"));
    }

    #[test]
    fn given_a_user_when_registering_again_then_refused() {
        assert_eq!(decide(Some(&user(1)), register(None)), Err(Refusal::AlreadyRegistered));
    }

    #[test]
    fn given_a_user_when_the_bio_changes_then_all_else_stays() {
        let event = decide(Some(&user(1)), change(None, Some("Another life."), false)).unwrap();
        assert_eq!(
            event,
            Some(Event::UserProfileChanged(User {
                bio: Some("Another life.".to_owned()),
                ..user(1)
            }))
        );
    }

    #[test]
    fn given_a_user_when_fields_are_given_then_they_replace_all_and_else_they_stay() {
        let to = |fields: Vec<ProfileField>| Command::Change {
            protected: None,
            display_name: None,
            bio: None,
            fields: Some(fields),
            credentials: false,
        };
        let event = decide(Some(&user(1)), to(vec![pronouns()]));
        assert_eq!(event, Ok(Some(Event::UserProfileChanged(with_fields()))));
        assert_eq!(decide(Some(&with_fields()), to(vec![pronouns()])), Ok(None));
        let event = decide(Some(&with_fields()), to(Vec::new()));
        assert_eq!(event, Ok(Some(Event::UserProfileChanged(user(1)))));
        let event = decide(Some(&with_fields()), change(Some("Other"), None, false)).unwrap();
        assert_eq!(event.and_then(evolve).unwrap().fields, [pronouns()]);
    }

    #[test]
    fn given_a_user_when_nothing_changes_then_nothing_happens() {
        assert_eq!(
            decide(Some(&user(1)), change(Some("A Name"), Some("A life."), false)),
            Ok(None)
        );
        assert_eq!(decide(Some(&user(1)), change(None, None, false)), Ok(None));
    }

    #[test]
    fn given_a_user_when_credentials_and_name_change_then_one_event_holds_both() {
        let event = decide(Some(&user(1)), change(Some("Other"), None, true)).unwrap();
        let changed = User {
            display_name: Some("Other".to_owned()),
            ..user(1)
        };
        assert_eq!(event, Some(Event::UserCredentialsChanged(changed)));
    }

    #[test]
    fn given_a_user_when_protected_or_not_any_more_then_that_names_the_event() {
        let guarded = User {
            protected: true,
            ..user(1)
        };
        for (display_name, credentials) in [(None, false), (Some("Other"), false), (Some("Other"), true)] {
            let renamed = |user: &User| User {
                display_name: display_name.map(str::to_owned).or_else(|| user.display_name.clone()),
                ..user.clone()
            };
            assert_eq!(
                decide(Some(&user(1)), protect(true, display_name, credentials)),
                Ok(Some(Event::UserProtected(renamed(&guarded))))
            );
            assert_eq!(
                decide(Some(&guarded), protect(false, display_name, credentials)),
                Ok(Some(Event::UserUnprotected(renamed(&user(1)))))
            );
        }
        assert_eq!(decide(Some(&guarded), protect(true, None, false)), Ok(None));
        let renamed = decide(Some(&guarded), change(Some("Other"), None, false)).unwrap();
        assert!(renamed.and_then(evolve).unwrap().protected);
    }

    #[test]
    fn given_a_user_when_deleted_then_a_tombstone_keeps_the_handle_and_no_words() {
        assert_eq!(
            decide(Some(&with_fields()), Command::Delete),
            Ok(Some(Event::UserDeleted(deleted())))
        );
    }

    #[test]
    fn given_a_deleted_user_when_anything_then_gone() {
        assert_eq!(decide(Some(&deleted()), Command::Delete), Err(Refusal::Gone));
        assert_eq!(
            decide(Some(&deleted()), change(Some("Back"), None, true)),
            Err(Refusal::Gone)
        );
        assert_eq!(decide(None, Command::Delete), Err(Refusal::Gone));
        assert_eq!(
            decide(Some(&deleted()), register(None)),
            Err(Refusal::AlreadyRegistered)
        );
    }

    fn suspended(by: u8, active: bool) -> User {
        User {
            suspended: Some(Moderation {
                by: user_id(by),
                active,
            }),
            ..user(1)
        }
    }

    #[test]
    fn given_a_user_when_suspended_and_restored_then_each_names_the_moderator_and_happens_once() {
        let suspend = |by| Command::Suspend { by: user_id(by) };
        let restore = |by| Command::Restore { by: user_id(by) };
        for before in [user(1), suspended(8, false)] {
            let event = decide(Some(&before), suspend(9));
            assert_eq!(event, Ok(Some(Event::UserSuspended(suspended(9, true)))));
            assert_eq!(decide(Some(&before), restore(9)), Ok(None));
        }
        assert_eq!(decide(Some(&suspended(8, true)), suspend(9)), Ok(None));
        let event = decide(Some(&suspended(8, true)), restore(9));
        assert_eq!(event, Ok(Some(Event::UserRestored(suspended(9, false)))));
    }

    #[test]
    fn given_a_suspended_user_when_anything_changes_then_suspended_still() {
        for command in [
            change(Some("Other"), None, false),
            protect(true, None, true),
            Command::Delete,
        ] {
            let event = decide(Some(&suspended(8, true)), command).unwrap();
            assert!(event.and_then(evolve).unwrap().is_suspended());
        }
    }
}
