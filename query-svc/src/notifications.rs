//! What a user is told of, the newest first, and the groups that belong together.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures_util::{StreamExt, TryStreamExt};
use model::api;
use model::ids::{EventId, PostId, UserId};
use model::values::{FilterContext, NotificationKind};
use serde::Serialize;
use views::{End, Notification, NotificationGroup, Profile, Range, RelationId};

use crate::cursor::Cursor;
use crate::filters::Filtering;
use crate::handled::Appearance;
use crate::paging::{self, Arrival, Listing, PageRequest, Part, Start};
use crate::read_model::{ReadError, ReadModel};
use crate::shown::{AuthorFilter, Candidate, ShownAuthor, ShownPost};

/// The most users that a group names. So a group costs the same, however many there are.
const USERS_OF_GROUP: usize = 10;
/// How many groups of one page are read at a time, so that one reader does not take all connections.
const AT_ONCE: usize = 4;

/// Which notifications are listed.
#[derive(Debug, Clone)]
pub(crate) enum Which {
    Kinds(Vec<NotificationKind>),
    Group(NotificationKind, Option<PostId>),
}

/// The notifications of a user that the user may see, and wants to.
#[derive(Debug)]
pub(crate) struct Notifications<'a> {
    pub(crate) read_model: &'a ReadModel,
    pub(crate) owner: UserId,
    pub(crate) which: Which,
    /// Only newer ones.
    pub(crate) above: Option<EventId>,
    /// How far the owner has read.
    pub(crate) read_up_to: Option<EventId>,
}

/// [`api::Notification`], from the cache.
#[derive(Debug, Serialize)]
pub(crate) struct ShownNotification {
    pub(crate) id: EventId,
    kind: NotificationKind,
    #[serde(serialize_with = "api::time")]
    at: DateTime<Utc>,
    user: ShownAuthor,
    post: Option<ShownPost>,
    read: bool,
}

impl Notifications<'_> {
    async fn range(&self, range: Range<EventId>) -> Result<Vec<Notification>, ReadError> {
        let views = &self.read_model.views.notifications;
        match &self.which {
            Which::Kinds(kinds) => self.read_model.ask(views.of_owner(self.owner, kinds, range)).await,
            &Which::Group(kind, post) => self.read_model.ask(views.of_group(self.owner, kind, post, range)).await,
        }
    }

    /// The owner's reposts of the posts that were edited.
    async fn reposts(&self, found: &[Notification]) -> Result<HashMap<PostId, PostId>, ReadError> {
        let edited = found.iter().filter(|it| it.kind == NotificationKind::Edit);
        let ids = edited.filter_map(|it| Some(RelationId::repost(self.owner, it.post?)));
        let ids: Vec<RelationId> = ids.collect();
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let reposts = self.read_model.views.relations.live_by_ids(&ids);
        let reposts = self.read_model.ask(reposts).await?.into_iter();
        Ok(reposts.filter_map(|it| Some((it.post(), it.repost?))).collect())
    }

    fn candidate(&self, it: &Notification) -> Option<Candidate> {
        let author = match it.kind {
            NotificationKind::Like | NotificationKind::Repost => self.owner,
            _ => it.user,
        };
        it.post.map(|id| Candidate {
            id,
            author,
            original: None,
            position: None,
        })
    }
}

impl Listing for Notifications<'_> {
    type Candidate = Notification;
    type Item = ShownNotification;

    fn place(it: &Notification) -> Cursor {
        it.place.into()
    }

    async fn older(&mut self, below: Cursor, count: usize) -> Result<Part<Notification>, ReadError> {
        let range = Range {
            before: (below < Cursor::TOP).then(|| below.to_event()),
            after: self.above,
            limit: u32::try_from(count).unwrap_or(u32::MAX),
            end: End::Newest,
        };
        Ok(Part::of(self.range(range).await?, count, Self::place))
    }

    async fn newer(&mut self, above: Cursor, count: usize) -> Result<Part<Notification>, ReadError> {
        let above = (above > Cursor::BOTTOM).then(|| above.to_event());
        let range = Range {
            before: None,
            after: above.max(self.above),
            limit: u32::try_from(count).unwrap_or(u32::MAX),
            end: End::Oldest,
        };
        let mut found = self.range(range).await?;
        found.reverse();
        Ok(Part::of(found, count, Self::place))
    }

    /// A notification is shown once what the other user did has arrived too: the profile, and the post.
    async fn appearances(&mut self, found: &[Notification]) -> Result<Vec<Option<Appearance>>, ReadError> {
        let appearances = found.iter().map(|it| {
            it.position.map(|position| Appearance {
                position,
                audiences: [self.owner, it.user],
            })
        });
        Ok(appearances.collect())
    }

    async fn admit(&mut self, found: &[Notification]) -> Result<Vec<Option<ShownNotification>>, ReadError> {
        let places: Vec<EventId> = found.iter().map(|it| it.place).collect();
        let candidates: Vec<Option<Candidate>> = found.iter().map(|it| self.candidate(it)).collect();
        let posts: Vec<Candidate> = candidates.iter().flatten().copied().collect();
        let model = self.read_model;
        let (dismissed, heard, shown, reposts) = futures_util::try_join!(
            model.ask(model.views.notifications.dismissed(self.owner, &places)),
            model.heard_by(self.owner, found.iter().map(|it| it.user).collect()),
            model.show(
                &posts,
                Some(self.owner),
                AuthorFilter::Anybody,
                Filtering::In(FilterContext::Notifications)
            ),
            self.reposts(found),
        )?;
        let reposters = found.iter().filter(|it| it.kind == NotificationKind::Repost);
        let reposters = reposters.filter_map(|it| heard.get(&it.user));
        let closed = model.closed_to(Some(self.owner), reposters).await?;
        let mut shown = shown.into_iter();
        let admitted = found.iter().zip(candidates).map(|(it, candidate)| {
            // Each candidate has an answer. A notification without a post has none.
            let post = candidate.map(|_| shown.next().flatten());
            let user: &Arc<Profile> = heard.get(&it.user)?;
            let is_closed = it.kind == NotificationKind::Repost && closed.contains(&it.user);
            let is_over =
                it.kind == NotificationKind::Edit && it.post.and_then(|post| reposts.get(&post).copied()) != it.repost;
            if dismissed.contains(&it.place) || is_closed || is_over {
                return None;
            }
            let post = match post {
                Some(post) => Some(post?),
                None => None,
            };
            Some(ShownNotification {
                id: it.place,
                kind: it.kind,
                at: it.place.time(),
                user: ShownAuthor(user.clone()),
                post,
                read: self.read_up_to.is_some_and(|read| it.place <= read),
            })
        });
        Ok(admitted.collect())
    }
}

/// The groups of a user's notifications that have something to show.
#[derive(Debug)]
pub(crate) struct Groups<'a> {
    pub(crate) read_model: &'a ReadModel,
    pub(crate) owner: UserId,
    pub(crate) read_up_to: Option<EventId>,
}

/// [`api::NotificationGroup`], from the cache.
#[derive(Debug, Serialize)]
pub(crate) struct ShownGroup {
    pub(crate) id: EventId,
    kind: NotificationKind,
    #[serde(serialize_with = "api::time")]
    at: DateTime<Utc>,
    users: Vec<ShownAuthor>,
    more: bool,
    post: Option<ShownPost>,
    read: bool,
}

impl Groups<'_> {
    async fn shown(&self, group: NotificationGroup) -> Result<Option<ShownGroup>, ReadError> {
        let mut list = Notifications {
            read_model: self.read_model,
            owner: self.owner,
            which: Which::Group(group.kind, group.post),
            above: None,
            read_up_to: self.read_up_to,
        };
        let newest = PageRequest {
            limit: USERS_OF_GROUP,
            start: Start::Newest,
        };
        let page = paging::page(&mut list, newest, &Arrival::InOrder).await?;
        let mut users = Vec::with_capacity(page.items.len());
        let mut first = None;
        for it in page.items {
            first.get_or_insert((it.id, it.at, it.post, it.read));
            users.push(it.user);
        }
        Ok(first.map(|(id, at, post, read)| ShownGroup {
            id,
            kind: group.kind,
            at,
            users,
            more: page.next.is_some(),
            post,
            read,
        }))
    }
}

impl Listing for Groups<'_> {
    type Candidate = NotificationGroup;
    type Item = ShownGroup;

    fn place(group: &NotificationGroup) -> Cursor {
        group.newest.into()
    }

    async fn older(&mut self, below: Cursor, count: usize) -> Result<Part<NotificationGroup>, ReadError> {
        let range = Range {
            before: (below < Cursor::TOP).then(|| below.to_event()),
            after: None,
            limit: u32::try_from(count).unwrap_or(u32::MAX),
            end: End::Newest,
        };
        let groups = self.read_model.views.notifications.groups(self.owner, range);
        Ok(Part::of(self.read_model.ask(groups).await?, count, Self::place))
    }

    async fn newer(&mut self, above: Cursor, count: usize) -> Result<Part<NotificationGroup>, ReadError> {
        let range = Range {
            before: None,
            after: (above > Cursor::BOTTOM).then(|| above.to_event()),
            limit: u32::try_from(count).unwrap_or(u32::MAX),
            end: End::Oldest,
        };
        let groups = self.read_model.views.notifications.groups(self.owner, range);
        let mut found = self.read_model.ask(groups).await?;
        found.reverse();
        Ok(Part::of(found, count, Self::place))
    }

    /// A group is written by many events, so no position says what of it was shown. Who polls is shown it again until its place is settled.
    async fn appearances(&mut self, groups: &[NotificationGroup]) -> Result<Vec<Option<Appearance>>, ReadError> {
        Ok(vec![None; groups.len()])
    }

    async fn admit(&mut self, groups: &[NotificationGroup]) -> Result<Vec<Option<ShownGroup>>, ReadError> {
        // Collect first. A lazy map that is held across an await is `Send` for one lifetime only, and pages are read in a task.
        let groups: Vec<_> = groups.iter().map(|&group| self.shown(group)).collect();
        futures_util::stream::iter(groups).buffered(AT_ONCE).try_collect().await
    }
}
