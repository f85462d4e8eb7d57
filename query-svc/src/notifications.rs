//! What a user is told of, the newest first, and the groups that belong together.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, try_join_all};
use model::api;
use model::ids::{EventId, PostId, UserId};
use model::values::{FilterContext, NotificationKind};
use serde::Serialize;
use views::{End, Notification, NotificationGroup, Profile, Range, RelationId};

use crate::cursor::Cursor;
use crate::filters::Filtering;
use crate::handled::Appearance;
use crate::paging::{self, Arrival, LONGER, Listing, PageRequest, Part, Start, shortened};
use crate::read_model::{ReadError, ReadModel};
use crate::shown::{AuthorFilter, Candidate, ShownAuthor, ShownPost};

/// The most users that a group names. So a group costs the same, however many there are.
const USERS_OF_GROUP: usize = 10;
/// How many groups of one page are read at a time, so that one reader does not take all connections.
const AT_ONCE: usize = 4;
/// The most notifications of one group that are decided on, until ten users are found.
const OF_GROUP: usize = 125;
/// A group with more likes or reposts than this is read in spans of time, from the newest on. The first span is long enough for the users that a
/// group names, if likes come evenly; each further one is longer. MongoDB needs no spans, because it stops at the limit. The stand-in for it
/// reads all that a filter matches.
const MANY: i64 = 1_000;
/// The most notifications that the groups of one page decide on together. The longest page of groups that hide nothing takes 1,111.
const OF_PAGE: usize = 1_500;

/// Which notifications are listed.
#[derive(Debug, Clone)]
pub(crate) enum Which {
    Kinds(Vec<NotificationKind>),
    Group {
        kind: NotificationKind,
        post: Option<PostId>,
        /// How far back the next question looks. None if it looks through all.
        span: Option<TimeDelta>,
    },
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
    /// How many notifications were decided on.
    pub(crate) decided: usize,
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
    #[serde(skip)]
    appearance: Option<Appearance>,
}

impl ShownNotification {
    /// The event by which it appeared, if that is known.
    pub(crate) fn appearance(&self) -> Option<Appearance> {
        self.appearance
    }
}

impl Notifications<'_> {
    fn appearance_of(&self, it: &Notification) -> Option<Appearance> {
        it.position.map(|position| Appearance {
            position,
            audiences: [self.owner, it.user],
        })
    }

    async fn range(&self, range: Range<EventId>) -> Result<Vec<Notification>, ReadError> {
        let views = &self.read_model.views.notifications;
        match &self.which {
            Which::Kinds(kinds) => self.read_model.ask(views.of_owner(self.owner, kinds, range)).await,
            &Which::Group { kind, post, .. } => {
                self.read_model.ask(views.of_group(self.owner, kind, post, range)).await
            }
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
        let whole = (Cursor::BOTTOM, below, None);
        let (above, below, rest) = match self.which {
            Which::Group { span: Some(span), .. } => {
                shortened(Cursor::BOTTOM, below, span, End::Newest, self.read_model.clock.now())
            }
            _ => whole,
        };
        let above = (above > Cursor::BOTTOM).then(|| above.to_event());
        let range = Range {
            before: (below < Cursor::TOP).then(|| below.to_event()),
            after: above.max(self.above),
            limit: u32::try_from(count).unwrap_or(u32::MAX),
            end: End::Newest,
        };
        let part = Part::of(self.range(range).await?, count, Self::place);
        if part.more.is_some() {
            return Ok(part);
        }
        if let Which::Group { span: Some(span), .. } = &mut self.which {
            *span = span.checked_mul(LONGER).unwrap_or(*span);
        }
        Ok(Part { more: rest, ..part })
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
        Ok(found.iter().map(|it| self.appearance_of(it)).collect())
    }

    async fn admit(&mut self, found: &[Notification]) -> Result<Vec<Option<ShownNotification>>, ReadError> {
        self.decided += found.len();
        let places: Vec<EventId> = found.iter().map(|it| it.place).collect();
        let candidates: Vec<Option<Candidate>> = found.iter().map(|it| self.candidate(it)).collect();
        let posts: Vec<Candidate> = candidates.iter().flatten().copied().collect();
        let model = self.read_model;
        // Before what is in memory, as for posts: what the stream shows later may be missing from it.
        let streamed = model.documents.as_ref().map(|_| model.positions.handled());
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
        let reposters = || found.iter().filter(|it| it.kind == NotificationKind::Repost);
        let closed = model.closed_to(Some(self.owner), reposters().filter_map(|it| heard.get(&it.user)));
        // Who reposts may have closed the account before, and memory may be older than the row.
        let is_covered = |it: &&Notification| {
            let streamed = streamed.as_ref();
            streamed.is_some_and(|streamed| streamed.covers_deed(it.user, it.position, it.place.time()))
        };
        let ahead = reposters().filter(|it| heard.contains_key(&it.user) && !is_covered(it));
        let denied = model.denied_now(self.owner, ahead.map(|it| it.user).collect());
        let (closed, denied) = futures_util::try_join!(closed, denied)?;
        let mut shown = shown.into_iter();
        let admitted = found.iter().zip(candidates).map(|(it, candidate)| {
            // Each candidate has an answer. A notification without a post has none.
            let post = candidate.map(|_| shown.next().flatten());
            let user: &Arc<Profile> = heard.get(&it.user)?;
            let is_closed =
                it.kind == NotificationKind::Repost && (closed.contains(&it.user) || denied.contains(&it.user));
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
                appearance: self.appearance_of(it),
            })
        });
        Ok(admitted.collect())
    }
}

/// The groups of a user's notifications that have something to show.
#[derive(Debug)]
pub(crate) struct Groups<'a> {
    read_model: &'a ReadModel,
    owner: UserId,
    read_up_to: Option<EventId>,
    /// How many notifications were decided on.
    decided: usize,
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

impl From<ShownNotification> for ShownGroup {
    fn from(it: ShownNotification) -> Self {
        Self {
            id: it.id,
            kind: it.kind,
            at: it.at,
            users: vec![it.user],
            more: false,
            post: it.post,
            read: it.read,
        }
    }
}

impl<'a> Groups<'a> {
    pub(crate) fn of(read_model: &'a ReadModel, owner: UserId, read_up_to: Option<EventId>) -> Self {
        Self {
            read_model,
            owner,
            read_up_to,
            decided: 0,
        }
    }

    fn list(&self, which: Which) -> Notifications<'a> {
        Notifications {
            read_model: self.read_model,
            owner: self.owner,
            which,
            above: None,
            read_up_to: self.read_up_to,
            decided: 0,
        }
    }

    /// What groups of one show. The future is on the heap, because that of a page would not fit on the stack with it.
    fn alone<'s>(&'s self, found: &'s [Notification]) -> BoxFuture<'s, Result<Vec<Option<ShownGroup>>, ReadError>> {
        async move {
            if found.is_empty() {
                return Ok(Vec::new());
            }
            let shown = self.list(Which::Kinds(Vec::new())).admit(found).await?;
            Ok(shown.into_iter().map(|it| it.map(ShownGroup::from)).collect())
        }
        .boxed()
    }

    /// What a group shows, and how many notifications that took.
    fn shown(&self, group: NotificationGroup) -> BoxFuture<'_, Result<(Option<ShownGroup>, usize), ReadError>> {
        self.look_through(group).boxed()
    }

    /// How far back the first question about a group looks. See [`MANY`].
    async fn first_span(&self, group: NotificationGroup) -> Result<Option<TimeDelta>, ReadError> {
        let Some(id) = group.post else { return Ok(None) };
        let found = self.read_model.posts(vec![id]).await?;
        let post = found.get(&id).and_then(Option::as_ref);
        let span = post.and_then(|post| {
            let told = match group.kind {
                NotificationKind::Like => post.counts.likes,
                NotificationKind::Repost => post.counts.reposts,
                _ => 0,
            };
            let since = group.newest.time() - id.time();
            let asked = i64::try_from(2 * USERS_OF_GROUP).unwrap_or(i64::MAX);
            (told > MANY)
                .then(|| TimeDelta::milliseconds((since.num_milliseconds() / told).max(1).saturating_mul(asked)))
        });
        Ok(span)
    }

    async fn look_through(&self, group: NotificationGroup) -> Result<(Option<ShownGroup>, usize), ReadError> {
        let NotificationGroup { kind, post, newest, .. } = group;
        let span = self.first_span(group).await?;
        let mut list = self.list(Which::Group { kind, post, span });
        let newest = PageRequest {
            limit: USERS_OF_GROUP,
            start: span.map_or(Start::Newest, |_| Start::Before(Cursor::from(newest).above())),
        };
        let page = paging::page_of_at_most(OF_GROUP, &mut list, newest, &Arrival::InOrder).await?;
        let more = page.next.is_some();
        let mut items = page.items.into_iter();
        let shown = items.next().map(|newest| {
            let mut group = ShownGroup { more, ..newest.into() };
            group.users.extend(items.map(|it| it.user));
            group
        });
        Ok((shown, list.decided))
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

    /// Groups of one are decided together, as any notifications. The others have a budget in common, and the page ends with it.
    async fn admit(&mut self, groups: &[NotificationGroup]) -> Result<Vec<Option<ShownGroup>>, ReadError> {
        let alone: Vec<Notification> = groups.iter().filter_map(|group| group.only).collect();
        let mut alone = self.alone(&alone).await?.into_iter();
        let several: Vec<NotificationGroup> = groups.iter().filter(|group| group.only.is_none()).copied().collect();
        let mut several_shown = Vec::with_capacity(several.len());
        let mut rest = several.as_slice();
        while !rest.is_empty() {
            let fit = OF_PAGE.saturating_sub(self.decided) / OF_GROUP;
            let (some, after) = rest.split_at(rest.len().min(AT_ONCE).min(fit));
            if some.is_empty() {
                break;
            }
            // Each group may take as many as it may at most, so this number of them does not go beyond the budget.
            let some: Vec<_> = some.iter().map(|&group| self.shown(group)).collect();
            for (shown, decided) in try_join_all(some).await? {
                self.decided += decided;
                several_shown.push(shown);
            }
            rest = after;
        }
        let mut several_shown = several_shown.into_iter();
        let admitted = groups.iter().map_while(|group| match group.only {
            Some(_) => alone.next(),
            None => several_shown.next(),
        });
        Ok(admitted.collect())
    }
}
