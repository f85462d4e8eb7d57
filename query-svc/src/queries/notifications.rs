//! What a user asks about notifications.

use model::api;
use model::ids::{EventId, UserId, uuid_v7_floor};
use model::values::NotificationKind;
use serde::Serialize;

use super::Queries;
use crate::cursor::Cursor;
use crate::notifications::{Groups, Notifications, ShownGroup, ShownNotification, Which};
use crate::paging::{self, Arrival, Page, PageRequest, Start};
use crate::read_model::{InUse, ReadError, ReadModel};
use crate::since::Since;

/// The most notifications that are counted as unread.
const MOST_UNREAD: usize = 100;

/// As [`api::NotificationPage`], but the items are serialized straight from the cache.
#[derive(Debug, Serialize)]
pub(crate) struct NotificationPage<T> {
    pub(crate) items: Vec<T>,
    pub(crate) next: Option<Cursor>,
    pub(crate) prev: Option<Since>,
    up_to: Option<EventId>,
    /// As [`Page::ended`].
    #[serde(skip)]
    pub(crate) ended: bool,
    /// As [`Page::hides`].
    #[serde(skip)]
    pub(crate) hides: bool,
}

impl Queries {
    pub(crate) async fn notifications(
        &self,
        read_model: &InUse,
        owner: UserId,
        kinds: Vec<NotificationKind>,
        page: PageRequest,
    ) -> Result<NotificationPage<ShownNotification>, ReadError> {
        read_model.check_has_notifications()?;
        let mut list = Notifications {
            read_model,
            owner,
            which: Which::Kinds(kinds),
            above: None,
            read_up_to: read_up_to(read_model, owner).await?,
            decided: 0,
        };
        let page = self.page(read_model, &mut list, page).await?;
        Ok(self.with_up_to(read_model, page, |it| it.id))
    }

    pub(crate) async fn notification_groups(
        &self,
        read_model: &InUse,
        owner: UserId,
        page: PageRequest,
    ) -> Result<NotificationPage<ShownGroup>, ReadError> {
        read_model.check_has_notifications()?;
        let mut groups = Groups::of(read_model, owner, read_up_to(read_model, owner).await?);
        let page = self.page(read_model, &mut groups, page).await?;
        Ok(self.with_up_to(read_model, page, |it| it.id))
    }

    pub(crate) async fn unread_notifications(
        &self,
        read_model: &InUse,
        owner: UserId,
    ) -> Result<api::UnreadNotifications, ReadError> {
        read_model.check_has_notifications()?;
        let mut list = Notifications {
            read_model,
            owner,
            which: Which::Kinds(NotificationKind::ALL.to_vec()),
            above: read_up_to(read_model, owner).await?,
            read_up_to: None,
            decided: 0,
        };
        let all = PageRequest {
            limit: MOST_UNREAD,
            start: Start::Newest,
        };
        let page = paging::page(&mut list, all, &Arrival::InOrder).await?;
        Ok(api::UnreadNotifications {
            count: page.items.len() as u64,
            more: page.next.is_some(),
        })
    }

    /// What the views lack only because a partition lags must not be marked as read with the newest item. An id is made before its event is
    /// committed, so an event that took long to commit may still come in below, by as long as that took, and counts as read.
    fn with_up_to<T>(&self, read_model: &InUse, page: Page<T>, id: fn(&T) -> EventId) -> NotificationPage<T> {
        let handled = read_model.handled.slowest().time().min(self.clock.now());
        let newest = page.items.iter().map(id).max();
        NotificationPage {
            up_to: newest.map(|newest| newest.min(EventId::from_uuid(uuid_v7_floor(handled)))),
            items: page.items,
            next: page.next,
            prev: page.prev,
            ended: page.ended,
            hides: page.hides,
        }
    }
}

async fn read_up_to(read_model: &ReadModel, owner: UserId) -> Result<Option<EventId>, ReadError> {
    read_model.ask(read_model.views.notifications.read_up_to(owner)).await
}
