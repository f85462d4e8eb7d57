//! How far a user has read the notifications, and which of them the user has dismissed. Which notifications there are, only the read side
//! knows.

use chrono::{DateTime, TimeDelta, Utc};
use model::events::{Event, NotificationDismissed, NotificationsRead};
use model::ids::{EventId, UserId};

/// The marker of a user rises at most once in this time. Otherwise a client that marks each notification as it scrolls by would write as
/// many events.
pub const AT_MOST_EVERY: TimeDelta = TimeDelta::seconds(1);

/// The marker has risen a moment ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the marker has just risen")]
pub struct JustRisen;

pub fn evolve_read(event: Event) -> Option<NotificationsRead> {
    match event {
        Event::NotificationsRead(read) => Some(read),
        _ => None,
    }
}

pub fn evolve_dismissed(event: Event) -> Option<NotificationDismissed> {
    match event {
        Event::NotificationDismissed(dismissed) => Some(dismissed),
        _ => None,
    }
}

/// The marker only rises. `last` is the marker, and the time when it rose.
pub fn read(
    last: Option<(&NotificationsRead, DateTime<Utc>)>,
    user: UserId,
    up_to: EventId,
    now: DateTime<Utc>,
) -> Result<Option<Event>, JustRisen> {
    match last {
        Some((read, _)) if up_to <= read.up_to => Ok(None),
        Some((_, risen)) if now - risen < AT_MOST_EVERY => Err(JustRisen),
        _ => Ok(Some(Event::NotificationsRead(NotificationsRead { user, up_to }))),
    }
}

/// A dismissal is for good.
pub fn dismiss(state: Option<&NotificationDismissed>, user: UserId, notification: EventId) -> Option<Event> {
    match state {
        Some(_) => None,
        None => Some(Event::NotificationDismissed(NotificationDismissed {
            user,
            notification,
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::example::{time, user_id};

    const fn id(n: u8) -> EventId {
        EventId::from_bytes([n; 16])
    }

    fn marker(n: u8) -> NotificationsRead {
        NotificationsRead {
            user: user_id(1),
            up_to: id(n),
        }
    }

    fn read_to(last: Option<u8>, up_to: u8, after: TimeDelta) -> Result<Option<Event>, JustRisen> {
        let last = last.map(marker);
        let last = last.as_ref().map(|read| (read, time(0)));
        read(last, user_id(1), id(up_to), time(0) + after)
    }

    #[test]
    fn given_none_or_a_lower_marker_when_read_then_it_rises() {
        let risen = Ok(Some(Event::NotificationsRead(marker(5))));
        assert_eq!(read_to(None, 5, TimeDelta::zero()), risen);
        assert_eq!(read_to(Some(4), 5, AT_MOST_EVERY), risen);
    }

    #[test]
    fn given_a_marker_that_has_just_risen_when_it_would_rise_again_then_refused() {
        let nearly = AT_MOST_EVERY - TimeDelta::milliseconds(1);
        assert_eq!(read_to(Some(4), 5, nearly), Err(JustRisen));
        // The clock of the process that wrote it may be ahead.
        assert_eq!(read_to(Some(4), 5, TimeDelta::seconds(-1)), Err(JustRisen));
    }

    #[test]
    fn given_a_marker_at_or_above_when_read_then_nothing_happens() {
        for after in [TimeDelta::zero(), AT_MOST_EVERY] {
            assert_eq!(read_to(Some(5), 5, after), Ok(None));
            assert_eq!(read_to(Some(6), 5, after), Ok(None));
        }
    }

    #[test]
    fn given_none_when_dismissed_then_dismissed_once() {
        let dismissed = NotificationDismissed {
            user: user_id(1),
            notification: id(7),
        };
        let event = dismiss(None, user_id(1), id(7));
        assert_eq!(event, Some(Event::NotificationDismissed(dismissed)));
        assert_eq!(dismiss(Some(&dismissed), user_id(1), id(7)), None);
    }
}
