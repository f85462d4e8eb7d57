//! Commands on notifications: mark as read, dismiss.

use chrono::{DateTime, Utc};
use model::ids::{EventId, UserId};

use super::execute::{Command, Plan};
use super::read::Reader;
use super::{CommandError, Refusal};
use crate::domain::notification;

#[derive(Debug)]
pub(super) struct MarkRead {
    pub(super) user: UserId,
    pub(super) up_to: EventId,
    pub(super) now: DateTime<Utc>,
    /// No event has a later id yet.
    pub(super) latest: DateTime<Utc>,
}

impl Command for MarkRead {
    /// Up to where the user has read.
    type Answer = EventId;

    async fn plan(&self, mut read: Reader<'_>) -> Result<Plan<EventId>, CommandError> {
        if self.up_to.time() > self.latest {
            return Err(Refusal::ReadAhead.into());
        }
        read.live_actor(self.user).await?;
        let last = read.notifications_read(self.user).await?;
        let (marker, version) = match &last {
            Some((marker, risen)) => (Some((&marker.state, *risen)), marker.version),
            None => (None, 0),
        };
        let event = notification::read(marker, self.user, self.up_to, self.now)?;
        Ok(match event {
            Some(event) => Plan::append(event, version, self.up_to),
            None => Plan::Nothing {
                partition: self.user.partition(),
                answer: marker.map_or(self.up_to, |(marker, _)| marker.up_to),
            },
        })
    }
}

#[derive(Debug)]
pub(super) struct Dismiss {
    pub(super) user: UserId,
    pub(super) notification: EventId,
    /// As in [`MarkRead`].
    pub(super) latest: DateTime<Utc>,
}

impl Command for Dismiss {
    type Answer = ();

    async fn plan(&self, mut read: Reader<'_>) -> Result<Plan<()>, CommandError> {
        if self.notification.time() > self.latest {
            return Err(Refusal::NoSuchNotification.into());
        }
        read.live_actor(self.user).await?;
        let dismissed = read.notification_dismissed(self.user, self.notification).await?;
        let state = dismissed.as_ref().map(|dismissed| &dismissed.state);
        Ok(match notification::dismiss(state, self.user, self.notification) {
            Some(event) => Plan::append(event, 0, ()),
            None => Plan::Nothing {
                partition: self.user.partition(),
                answer: (),
            },
        })
    }
}
