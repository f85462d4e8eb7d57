//! Finds what a deleted user left in the views, and retracts it.

use std::future::Future;

use commands::{Cause, CommandError, Retractions};
use event_log::event_store::{EventStore, RecordedEvent};
use event_log::position::Position;
use futures_util::{StreamExt, TryStreamExt, stream};
use model::events::{DecodeError, Follow, State};
use model::ids::{EventId, ListId, PostId, ReportId, UserId};
use model::tags::TagKey;
use mongodb::error::Error;
use views::{Range, RelationKind, Views};

use super::Item;

/// How many rows one query reads.
const PAGE: u32 = 1_000;

#[derive(Debug, thiserror::Error)]
pub(super) enum PassError {
    #[error("the event {0} that deleted the user is not in the event store")]
    NoTombstone(EventId),
    #[error("the event {0} is no request to follow")]
    NoRequest(EventId),
    #[error(transparent)]
    Unreadable(#[from] DecodeError),
    #[error(transparent)]
    Command(#[from] CommandError),
    #[error(transparent)]
    Database(#[from] Error),
}

/// One pass over everything of a user, in one generation of the views.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    pub(super) store: &'a EventStore,
    pub(super) retractions: &'a Retractions,
    pub(super) views: &'a Views,
    /// How many commands are sent at the same time.
    pub(super) concurrency: usize,
}

/// What a pass found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Rows that are live in the views.
    pub(super) rows: u64,
    /// The rows among them that were live in the events too, until now.
    pub(super) retracted: u64,
}

impl Pass<'_> {
    pub(super) async fn run(&self, item: &Item) -> Result<Found, PassError> {
        let tombstone = self.store.read_by_id(item.tombstone, item.user.partition()).await?;
        let tombstone = tombstone.and_then(Result::ok);
        let cause = Cause::of(&tombstone.ok_or(PassError::NoTombstone(item.tombstone))?);
        let (user, cause) = (item.user, &cause);
        let mut found = Found::default();
        // Follows come first: a follower's home timeline is the only place that would still search for the user's posts.
        self.relations(RelationKind::Follow, user, &mut found, |target| async move {
            self.retractions.unfollow(user, UserId::from_uuid(target), cause).await
        })
        .await?;
        self.by_others(RelationKind::Follow, user, &mut found, |follower| {
            self.retractions.unfollow(follower, user, cause)
        })
        .await?;
        self.requests(user, &mut found, |request| {
            self.retractions.unfollow(request.follower, request.followee, cause)
        })
        .await?;
        self.relations(RelationKind::Block, user, &mut found, |target| async move {
            self.retractions.unblock(user, UserId::from_uuid(target), cause).await
        })
        .await?;
        self.by_others(RelationKind::Block, user, &mut found, |blocker| {
            self.retractions.unblock(blocker, user, cause)
        })
        .await?;
        self.relations(RelationKind::Mute, user, &mut found, |target| async move {
            self.retractions.unmute(user, UserId::from_uuid(target), cause).await
        })
        .await?;
        self.by_others(RelationKind::Mute, user, &mut found, |muter| {
            self.retractions.unmute(muter, user, cause)
        })
        .await?;
        self.relations(RelationKind::Like, user, &mut found, |target| async move {
            self.retractions.unlike(user, PostId::from_uuid(target), cause).await
        })
        .await?;
        self.relations(RelationKind::Repost, user, &mut found, |target| async move {
            self.retractions.unrepost(user, PostId::from_uuid(target), cause).await
        })
        .await?;
        self.bookmarks(user, &mut found, |post| self.retractions.unbookmark(user, post, cause))
            .await?;
        self.followed_tags(user, &mut found, |tag| self.retractions.unfollow_tag(user, tag, cause))
            .await?;
        self.lists(user, &mut found, cause).await?;
        // Without a profile, nobody sees the user there. But a place in a list is taken.
        self.lists_of_others(user, &mut found, |list| self.retractions.unlist(list, user, cause))
            .await?;
        let filters = self.views.filters.of_owners(&[user]).await?;
        let filters = filters
            .iter()
            .map(|it| self.retractions.delete_filter(user, it.filter, cause));
        self.all(filters.collect(), &mut found).await?;
        self.reports(user, &mut found, |report| self.retractions.redact_report(report, cause))
            .await?;
        self.posts(user, &mut found, |post| self.retractions.delete_post(post, cause))
            .await?;
        if found.retracted > 0 {
            tracing::info!(%user, phase = ?item.phase, retracted = found.retracted, "swept");
        }
        Ok(found)
    }

    async fn relations<F>(
        &self,
        kind: RelationKind,
        user: UserId,
        found: &mut Found,
        retract: impl Fn(uuid::Uuid) -> F,
    ) -> Result<(), PassError>
    where
        F: Future<Output = Result<Option<Position>, CommandError>>,
    {
        let mut range = Range::newest(PAGE);
        loop {
            let page = self.views.relations.of_viewer(user, kind, range).await?;
            let Some(last) = page.last() else { return Ok(()) };
            range = Range::before(last.order, PAGE);
            let commands = page.iter().map(|relation| retract(relation.id.target())).collect();
            self.all(commands, found).await?;
        }
    }

    /// What others have to do with the user.
    async fn by_others<F>(
        &self,
        kind: RelationKind,
        user: UserId,
        found: &mut Found,
        retract: impl Fn(UserId) -> F,
    ) -> Result<(), PassError>
    where
        F: Future<Output = Result<Option<Position>, CommandError>>,
    {
        let mut range = Range::newest(PAGE);
        loop {
            let page = self.views.relations.of_user(user, kind, range).await?;
            let Some(last) = page.last() else { return Ok(()) };
            range = Range::before(last.order, PAGE);
            let commands = page.iter().map(|relation| retract(relation.viewer())).collect();
            self.all(commands, found).await?;
        }
    }

    /// Withdraws the requests by and to the user. They are read from the event store, so none of them is a row.
    async fn requests<F>(
        &self,
        user: UserId,
        found: &mut Found,
        withdraw: impl Fn(Follow) -> F,
    ) -> Result<(), PassError>
    where
        F: Future<Output = Result<Option<Position>, CommandError>>,
    {
        let mut withdrawn = Found::default();
        let mut after = None;
        loop {
            let page = self.store.requests_by(user, after.as_ref(), PAGE).await?;
            let Some((_, last)) = page.last else { break };
            after = Some(last);
            let commands = requested(&page.waiting)?.into_iter().map(&withdraw).collect();
            self.all(commands, &mut withdrawn).await?;
        }
        let mut after = None;
        loop {
            let page = self.store.requests_to(user, after, PAGE).await?;
            let Some((last, _)) = page.last else { break };
            after = Some(last);
            let commands = requested(&page.waiting)?.into_iter().map(&withdraw).collect();
            self.all(commands, &mut withdrawn).await?;
        }
        found.retracted += withdrawn.retracted;
        Ok(())
    }

    async fn bookmarks<F>(
        &self,
        user: UserId,
        found: &mut Found,
        retract: impl Fn(PostId) -> F,
    ) -> Result<(), PassError>
    where
        F: Future<Output = Result<Option<Position>, CommandError>>,
    {
        let mut range = Range::newest(PAGE);
        loop {
            let page = self.views.bookmarks.of_user(user, range).await?;
            let Some(last) = page.last() else { return Ok(()) };
            range = Range::before(last.order, PAGE);
            let commands = page.iter().map(|bookmark| retract(bookmark.post)).collect();
            self.all(commands, found).await?;
        }
    }

    async fn followed_tags<F>(
        &self,
        user: UserId,
        found: &mut Found,
        retract: impl Fn(TagKey) -> F,
    ) -> Result<(), PassError>
    where
        F: Future<Output = Result<Option<Position>, CommandError>>,
    {
        let mut range = Range::newest(PAGE);
        loop {
            let page = self.views.followed_tags.of_user(user, range).await?;
            let Some(last) = page.last() else { return Ok(()) };
            range = Range::before(last.order, PAGE);
            let commands = page.iter().map(|follow| retract(follow.key.clone())).collect();
            self.all(commands, found).await?;
        }
    }

    /// Who and what is in a list goes first: nobody finds it without the list.
    async fn lists(&self, user: UserId, found: &mut Found, cause: &Cause) -> Result<(), PassError> {
        let mut range = Range::newest(PAGE);
        loop {
            let page = self.views.lists.of_owner(user, range).await?;
            let Some(last) = page.last() else { return Ok(()) };
            range = Range::before(last.id, PAGE);
            for list in page.iter().map(|list| list.id) {
                let members = self.views.list_members.all_of_list(list).await?.into_iter();
                let members = members.map(|member| self.retractions.unlist(list, member, cause));
                self.all(members.collect(), found).await?;
                let tags = self.views.list_tags.all_of_list(list).await?.into_iter();
                let tags = tags.map(|tag| self.retractions.unlist_tag(list, tag, cause));
                self.all(tags.collect(), found).await?;
            }
            let commands = page.iter().map(|list| self.retractions.delete_list(list.id, cause));
            self.all(commands.collect(), found).await?;
        }
    }

    async fn lists_of_others<F>(
        &self,
        user: UserId,
        found: &mut Found,
        retract: impl Fn(ListId) -> F,
    ) -> Result<(), PassError>
    where
        F: Future<Output = Result<Option<Position>, CommandError>>,
    {
        let mut range = Range::newest(PAGE);
        loop {
            let page = self.views.list_members.of_user(user, range).await?;
            let Some(last) = page.last() else { return Ok(()) };
            range = Range::before(last.order, PAGE);
            let commands = page.iter().map(|member| retract(member.list)).collect();
            self.all(commands, found).await?;
        }
    }

    /// Removes what the user has told the moderators.
    async fn reports<F>(&self, user: UserId, found: &mut Found, redact: impl Fn(ReportId) -> F) -> Result<(), PassError>
    where
        F: Future<Output = Result<Option<Position>, CommandError>>,
    {
        let mut range = Range::newest(PAGE);
        loop {
            let page = self.views.reports.with_words_of(user, range).await?;
            let Some(last) = page.last() else { return Ok(()) };
            range = Range::before(last.id, PAGE);
            let commands = page.iter().map(|report| redact(report.id)).collect();
            self.all(commands, found).await?;
        }
    }

    /// Retracts posts and replies. The list also contains reposts, which were retracted through their originals.
    async fn posts<F>(&self, user: UserId, found: &mut Found, retract: impl Fn(PostId) -> F) -> Result<(), PassError>
    where
        F: Future<Output = Result<Option<Position>, CommandError>>,
    {
        let mut range = Range::newest(PAGE);
        loop {
            let page = self.views.posts.heads_of_authors(&[user], range).await?;
            let Some(last) = page.last() else { return Ok(()) };
            range = Range::before(last.id, PAGE);
            let posts = page.iter().filter(|post| post.repost_of.is_none());
            let commands = posts.map(|post| retract(post.id)).collect();
            self.all(commands, found).await?;
        }
    }

    async fn all<F>(&self, commands: Vec<F>, found: &mut Found) -> Result<(), PassError>
    where
        F: Future<Output = Result<Option<Position>, CommandError>>,
    {
        let mut answers = stream::iter(commands).buffer_unordered(self.concurrency);
        while let Some(position) = answers.try_next().await? {
            found.rows += 1;
            found.retracted += u64::from(position.is_some());
        }
        Ok(())
    }
}

/// The requests that these events have made.
fn requested(events: &[RecordedEvent]) -> Result<Vec<Follow>, PassError> {
    let request = |recorded: &RecordedEvent| match recorded.event()?.state() {
        State::Follow(follow) => Ok(*follow),
        _ => Err(PassError::NoRequest(recorded.id)),
    };
    events.iter().map(request).collect()
}
