//! A user mutes another, for a time or until the mute is taken back.

use chrono::{DateTime, Utc};
use model::events::{Event, Mute};
use model::ids::UserId;

#[derive(Debug, Clone, Copy)]
pub enum Command {
    Mute {
        muter: UserId,
        muted: UserId,
        until: Option<DateTime<Utc>>,
        notifications: bool,
    },
    Unmute,
}

pub fn evolve(event: Event) -> Option<Mute> {
    match event {
        Event::UserMuted(mute) | Event::UserUnmuted(mute) => Some(mute),
        _ => None,
    }
}

/// Nothing is refused here. Whether `until` is in the future is decided before.
pub fn decide(state: Option<&Mute>, command: Command) -> Option<Event> {
    match (state, command) {
        (
            _,
            Command::Mute {
                muter,
                muted,
                until,
                notifications,
            },
        ) => {
            let mute = Mute {
                muter,
                muted,
                active: true,
                until,
                notifications,
            };
            (state != Some(&mute)).then_some(Event::UserMuted(mute))
        }
        (Some(mute), Command::Unmute) if mute.active => Some(Event::UserUnmuted(Mute {
            active: false,
            until: None,
            ..*mute
        })),
        (_, Command::Unmute) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::example::{time, user_id};

    fn mute(active: bool, until: Option<i64>) -> Mute {
        Mute {
            muter: user_id(1),
            muted: user_id(2),
            active,
            until: until.map(time),
            notifications: false,
        }
    }

    fn to_mute(until: Option<i64>, notifications: bool) -> Command {
        Command::Mute {
            muter: user_id(1),
            muted: user_id(2),
            until: until.map(time),
            notifications,
        }
    }

    #[test]
    fn given_none_or_a_former_one_when_muting_then_muted() {
        let muted = Some(Event::UserMuted(mute(true, Some(5))));
        assert_eq!(decide(None, to_mute(Some(5), false)), muted);
        assert_eq!(decide(Some(&mute(false, None)), to_mute(Some(5), false)), muted);
    }

    #[test]
    fn given_a_mute_when_muting_otherwise_then_it_is_replaced() {
        let endless = Some(Event::UserMuted(mute(true, None)));
        assert_eq!(decide(Some(&mute(true, Some(5))), to_mute(None, false)), endless);
        let silent = decide(Some(&mute(true, None)), to_mute(None, true)).and_then(evolve);
        assert!(silent.unwrap().notifications);
    }

    #[test]
    fn given_a_mute_when_unmuting_then_unmuted() {
        let unmuted = Some(Event::UserUnmuted(mute(false, None)));
        assert_eq!(decide(Some(&mute(true, Some(5))), Command::Unmute), unmuted);
    }

    #[test]
    fn given_what_is_asked_for_then_nothing_happens() {
        assert_eq!(decide(Some(&mute(true, Some(5))), to_mute(Some(5), false)), None);
        assert_eq!(decide(Some(&mute(false, None)), Command::Unmute), None);
        assert_eq!(decide(None, Command::Unmute), None);
    }
}
