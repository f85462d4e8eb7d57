//! What a command reads before it decides, in one causally consistent session.

use chrono::{DateTime, Utc};
use event_log::event_store::{EventStore, RecordedEvent};
use model::events::{
    Block, Bookmark, Event, Filter, Follow, Like, List, ListMember, ListTag, Mute, NotificationDismissed,
    NotificationsRead, Pins, Post, Report, Repost, StreamId, TagFollow, User, UserRole,
};
use model::ids::{EventId, FilterId, ListId, PostId, ReportId, SessionId, UserId};
use model::tags::TagKey;
use model::values::{IdempotencyKey, Role};
use mongodb::ClientSession;

use super::{Broken, CommandError, Refusal};
use crate::credentials::{self, Credentials};
use crate::domain::post::Text;
use crate::domain::{
    block, bookmark, filter, follow, like, list, list_member, list_tag, mute, notification, pins, post, report, repost,
    role, tag, user, visibility,
};
use crate::sessions::{self, Session};

/// An aggregate in the state of its last event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned<S> {
    pub version: i64,
    pub state: S,
}

/// What a post id from a client stands for.
#[derive(Debug)]
pub(super) enum Named {
    Post(Box<Versioned<Post>>),
    /// A repost that is not retracted. Its original is not loaded yet.
    Repost(Repost),
}

/// A post that somebody may see, and its author.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) post: Versioned<Post>,
    pub(super) author: User,
}

/// Somebody with a role.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moderator {
    role: Option<Role>,
}

impl Moderator {
    /// Fails if the moderator has no power over this user.
    pub(super) async fn check(self, read: &mut Reader<'_>, user: UserId) -> Result<(), CommandError> {
        Ok(role::may_moderate(self.role, read.role_of(user).await?)?)
    }
}

#[derive(Debug)]
pub(super) struct Reader<'a> {
    store: &'a EventStore,
    session: &'a mut ClientSession,
}

impl<'a> Reader<'a> {
    pub(super) fn new(store: &'a EventStore, session: &'a mut ClientSession) -> Self {
        Self { store, session }
    }

    pub(super) async fn user(&mut self, id: UserId) -> Result<Option<Versioned<User>>, CommandError> {
        self.load(StreamId::user(id), user::evolve).await
    }

    pub(super) async fn post(&mut self, id: PostId) -> Result<Option<Versioned<Post>>, CommandError> {
        self.load(StreamId::post(id), post::evolve).await
    }

    pub(super) async fn follow(
        &mut self,
        follower: UserId,
        followee: UserId,
    ) -> Result<Option<Versioned<Follow>>, CommandError> {
        self.load(StreamId::follow(follower, followee), follow::evolve).await
    }

    pub(super) async fn like(&mut self, user: UserId, post: PostId) -> Result<Option<Versioned<Like>>, CommandError> {
        self.load(StreamId::like(user, post), like::evolve).await
    }

    pub(super) async fn repost(
        &mut self,
        user: UserId,
        post: PostId,
    ) -> Result<Option<Versioned<Repost>>, CommandError> {
        self.load(StreamId::repost(user, post), repost::evolve).await
    }

    pub(super) async fn bookmark(
        &mut self,
        user: UserId,
        post: PostId,
    ) -> Result<Option<Versioned<Bookmark>>, CommandError> {
        self.load(StreamId::bookmark(user, post), bookmark::evolve).await
    }

    pub(super) async fn block(
        &mut self,
        blocker: UserId,
        blocked: UserId,
    ) -> Result<Option<Versioned<Block>>, CommandError> {
        self.load(StreamId::block(blocker, blocked), block::evolve).await
    }

    pub(super) async fn mute(&mut self, muter: UserId, muted: UserId) -> Result<Option<Versioned<Mute>>, CommandError> {
        self.load(StreamId::mute(muter, muted), mute::evolve).await
    }

    pub(super) async fn tag_follow(
        &mut self,
        user: UserId,
        tag: &TagKey,
    ) -> Result<Option<Versioned<TagFollow>>, CommandError> {
        self.load(StreamId::tag(user, tag), tag::evolve).await
    }

    pub(super) async fn pins(&mut self, user: UserId) -> Result<Option<Versioned<Pins>>, CommandError> {
        self.load(StreamId::pins(user), pins::evolve).await
    }

    pub(super) async fn list(&mut self, id: ListId) -> Result<Option<Versioned<List>>, CommandError> {
        self.load(StreamId::list(id), list::evolve).await
    }

    /// A list that is not deleted. Somebody else's is reported as missing.
    pub(super) async fn own_list(&mut self, id: ListId, owner: UserId) -> Result<Versioned<List>, CommandError> {
        match self.list(id).await? {
            Some(list) if list.state.owner == owner && !list.state.deleted => Ok(list),
            _ => Err(Refusal::NoSuchList.into()),
        }
    }

    pub(super) async fn list_member(
        &mut self,
        list: ListId,
        user: UserId,
    ) -> Result<Option<Versioned<ListMember>>, CommandError> {
        self.load(StreamId::list_member(list, user), list_member::evolve).await
    }

    pub(super) async fn list_tag(
        &mut self,
        list: ListId,
        tag: &TagKey,
    ) -> Result<Option<Versioned<ListTag>>, CommandError> {
        self.load(StreamId::list_tag(list, tag), list_tag::evolve).await
    }

    pub(super) async fn filter(
        &mut self,
        owner: UserId,
        id: FilterId,
    ) -> Result<Option<Versioned<Filter>>, CommandError> {
        self.load(StreamId::filter(owner, id), filter::evolve).await
    }

    pub(super) async fn role(&mut self, user: UserId) -> Result<Option<Versioned<UserRole>>, CommandError> {
        self.load(StreamId::role(user), role::evolve).await
    }

    pub(super) async fn report(&mut self, id: ReportId) -> Result<Option<Versioned<Report>>, CommandError> {
        self.load(StreamId::report(id), report::evolve).await
    }

    /// The marker, and the time when it rose.
    pub(super) async fn notifications_read(
        &mut self,
        user: UserId,
    ) -> Result<Option<(Versioned<NotificationsRead>, DateTime<Utc>)>, CommandError> {
        let stream = StreamId::notifications_read(user);
        let Some(recorded) = self.store.load(self.session, &stream).await? else {
            return Ok(None);
        };
        let risen = recorded.id.time();
        let marker = state(&recorded, notification::evolve_read)?;
        Ok(Some((marker, risen)))
    }

    pub(super) async fn notification_dismissed(
        &mut self,
        user: UserId,
        notification: EventId,
    ) -> Result<Option<Versioned<NotificationDismissed>>, CommandError> {
        let stream = StreamId::notification(user, notification);
        self.load(stream, notification::evolve_dismissed).await
    }

    pub(super) async fn credentials(&mut self, user: UserId) -> Result<Option<Credentials>, CommandError> {
        Ok(credentials::load(self.store, self.session, user).await?)
    }

    /// The text, with the users whom it mentions now. One read, if it has mentions.
    pub(super) async fn resolved(&mut self, text: &Text) -> Result<Text, CommandError> {
        let handles = text.handles();
        if handles.is_empty() {
            return Ok(text.clone());
        }
        let users = credentials::users_of(self.store, self.session, handles).await?;
        Ok(text.clone().resolved(&users))
    }

    pub(super) async fn session(&mut self, id: SessionId) -> Result<Option<Session>, CommandError> {
        Ok(sessions::load(self.store, self.session, id).await?)
    }

    pub(super) async fn by_idempotency_key(
        &mut self,
        actor: UserId,
        key: &IdempotencyKey,
    ) -> Result<Option<RecordedEvent>, CommandError> {
        Ok(self.store.find_by_idempotency_key(self.session, actor, key).await?)
    }

    pub(super) async fn is_following(&mut self, follower: UserId, followee: UserId) -> Result<bool, CommandError> {
        Ok(self
            .follow(follower, followee)
            .await?
            .is_some_and(|follow| follow.state.active))
    }

    /// Whether one of the two blocks the other.
    pub(super) async fn is_blocked(&mut self, one: UserId, other: UserId) -> Result<bool, CommandError> {
        for (blocker, blocked) in [(one, other), (other, one)] {
            if self
                .block(blocker, blocked)
                .await?
                .is_some_and(|block| block.state.active)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Fails if the user can't follow one more account, or ask to. It does not count follows that the same user makes at the same moment.
    pub(super) async fn follows_fewer_than(&mut self, follower: UserId, max: u32) -> Result<(), CommandError> {
        let fewer = self.store.follows_fewer_than(self.session, follower, max).await?;
        Ok(fewer.then_some(()).ok_or(Refusal::TooManyFollows(max))?)
    }

    /// Fails if the user can't follow one more tag. It does not count follows that the same user makes at the same moment.
    pub(super) async fn follows_fewer_tags_than(&mut self, user: UserId, max: u32) -> Result<(), CommandError> {
        let fewer = self.store.follows_fewer_tags_than(self.session, user, max).await?;
        Ok(fewer.then_some(()).ok_or(Refusal::TooManyTags(max))?)
    }

    /// Fails if the user can't have one more list. This and the next two do not count what the same user makes at the same moment.
    pub(super) async fn lists_fewer_than(&mut self, owner: UserId, max: u32) -> Result<(), CommandError> {
        let fewer = self.store.lists_fewer_than(self.session, owner, max).await?;
        Ok(fewer.then_some(()).ok_or(Refusal::TooManyLists(max))?)
    }

    pub(super) async fn members_fewer_than(&mut self, list: ListId, max: u32) -> Result<(), CommandError> {
        let fewer = self.store.members_fewer_than(self.session, list, max).await?;
        Ok(fewer.then_some(()).ok_or(Refusal::TooManyMembers(max))?)
    }

    pub(super) async fn list_tags_fewer_than(&mut self, list: ListId, max: u32) -> Result<(), CommandError> {
        let fewer = self.store.list_tags_fewer_than(self.session, list, max).await?;
        Ok(fewer.then_some(()).ok_or(Refusal::TooManyListTags(max))?)
    }

    /// Fails if the user can't have one more filter. It does not count filters that the same user makes at the same moment.
    pub(super) async fn has_fewer_filters_than(&mut self, owner: UserId, max: u32) -> Result<(), CommandError> {
        let fewer = self.store.has_fewer_filters_than(self.session, owner, max).await?;
        Ok(fewer.then_some(()).ok_or(Refusal::TooManyFilters(max))?)
    }

    /// A user who is not deleted.
    pub(super) async fn live_user(&mut self, id: UserId) -> Result<User, CommandError> {
        match self.user(id).await? {
            Some(user) if !user.state.deleted => Ok(user.state),
            _ => Err(Refusal::NoSuchUser.into()),
        }
    }

    /// The user of the token, who may see and end the account even while it is suspended.
    pub(super) async fn account_of(&mut self, id: UserId) -> Result<Versioned<User>, CommandError> {
        let user = self.user(id).await?.filter(|user| !user.state.deleted);
        Ok(user.ok_or(Refusal::ActorGone)?)
    }

    /// The user of the token, who is not suspended, and may be deleted. It is enough for a command that only ends something: the sweep after
    /// a deletion does the same. Every other command that writes calls [`Self::live_actor`].
    pub(super) async fn unsuspended_actor(&mut self, id: UserId) -> Result<Option<Versioned<User>>, CommandError> {
        let user = self.user(id).await?;
        match user.as_ref().is_some_and(|user| user.state.is_suspended()) {
            true => Err(Refusal::Suspended.into()),
            false => Ok(user),
        }
    }

    /// The user of the token, who is not suspended. The user may be deleted, because a token outlives its user by up to a quarter of an hour.
    ///
    /// Every command that changes a count that others see checks this first: a like, a repost, a reply, a follow. A count changes with its
    /// row, and nothing hides it until the deletion sweep takes the row back.
    pub(super) async fn live_actor(&mut self, id: UserId) -> Result<Versioned<User>, CommandError> {
        let user = self.unsuspended_actor(id).await?;
        Ok(user.filter(|user| !user.state.deleted).ok_or(Refusal::ActorGone)?)
    }

    /// The user of the token, who must have a role.
    pub(super) async fn moderator(&mut self, id: UserId) -> Result<Moderator, CommandError> {
        self.live_actor(id).await?;
        let role = self.role(id).await?.and_then(|role| role.state.role);
        role::may_moderate(role, None)?;
        Ok(Moderator { role })
    }

    /// A role counts as long as its user is not deleted. Otherwise no moderator could resolve a report about a moderator who is gone.
    async fn role_of(&mut self, user: UserId) -> Result<Option<Role>, CommandError> {
        let Some(role) = self.role(user).await?.and_then(|role| role.state.role) else {
            return Ok(None);
        };
        let deleted = self.user(user).await?.is_none_or(|user| user.state.deleted);
        Ok((!deleted).then_some(role))
    }

    /// The post or the repost with this id. It does not check who may see it.
    pub(super) async fn named(&mut self, id: PostId) -> Result<Named, CommandError> {
        if let Some(post) = self.post(id).await? {
            return Ok(Named::Post(Box::new(post)));
        }
        // The stream of a repost is named by user and post. Only its event has the id of the repost.
        let made = self
            .store
            .find_repost(self.session, id)
            .await?
            .ok_or(Refusal::NoSuchPost)?;
        let made = repost::evolve(made.event()?).ok_or_else(|| Broken::Stream(made.stream.to_string()))?;
        match self.repost(made.user, made.post).await? {
            // A repost that was retracted and made again has another id.
            Some(now) if now.state.active && now.state.id == id => Ok(Named::Repost(now.state)),
            _ => Err(Refusal::NoSuchPost.into()),
        }
    }

    /// The post that an id means, for a user who wants to like, answer or repost it. The id of a repost means its original.
    pub(super) async fn seen_by(&mut self, viewer: UserId, id: PostId) -> Result<Seen, CommandError> {
        match self.named(id).await? {
            Named::Post(post) => self.check_seen_by(viewer, *post).await,
            Named::Repost(repost) => {
                self.check_repost_seen_by(viewer, &repost).await?;
                let original = self.post(repost.post).await?.ok_or(Refusal::NoSuchPost)?;
                self.check_seen_by(viewer, original).await
            }
        }
    }

    /// Fails if the viewer may not see what the reposter does. Whether the viewer may see the original is another question.
    pub(super) async fn check_repost_seen_by(&mut self, viewer: UserId, repost: &Repost) -> Result<(), CommandError> {
        let reposter = self.user(repost.user).await?.ok_or(Refusal::NoSuchPost)?.state;
        let relation = visibility::Relation {
            follows: visibility::repost_depends_on_follow(viewer, &reposter)
                && self.is_following(viewer, reposter.id).await?,
            blocked: viewer != reposter.id && self.is_blocked(viewer, reposter.id).await?,
        };
        if visibility::may_see_repost(viewer, &reposter, relation) {
            Ok(())
        } else {
            Err(Refusal::NoSuchPost.into())
        }
    }

    /// Returns the post if the viewer may see it. A post that the viewer may not see is reported as missing.
    pub(super) async fn check_seen_by(&mut self, viewer: UserId, post: Versioned<Post>) -> Result<Seen, CommandError> {
        if post.state.deleted {
            return Err(Refusal::NoSuchPost.into());
        }
        let author = self.user(post.state.author).await?.ok_or(Refusal::NoSuchPost)?.state;
        let relation = visibility::Relation {
            follows: visibility::depends_on_follow(viewer, &post.state, &author)
                && self.is_following(viewer, author.id).await?,
            blocked: viewer != author.id && self.is_blocked(viewer, author.id).await?,
        };
        if visibility::may_see(viewer, &post.state, &author, relation) {
            Ok(Seen { post, author })
        } else {
            Err(Refusal::NoSuchPost.into())
        }
    }

    async fn load<S>(
        &mut self,
        stream: StreamId,
        evolve: fn(Event) -> Option<S>,
    ) -> Result<Option<Versioned<S>>, CommandError> {
        let recorded = self.store.load(self.session, &stream).await?;
        recorded.map(|recorded| state(&recorded, evolve)).transpose()
    }
}

fn state<S>(recorded: &RecordedEvent, evolve: fn(Event) -> Option<S>) -> Result<Versioned<S>, CommandError> {
    let state = evolve(recorded.event()?).ok_or_else(|| Broken::Stream(recorded.stream.to_string()))?;
    Ok(Versioned {
        version: recorded.version,
        state,
    })
}

/// The state to decide on, and the version to expect.
pub(super) fn state_of<S>(loaded: Option<&Versioned<S>>) -> (Option<&S>, i64) {
    loaded.map_or((None, 0), |loaded| (Some(&loaded.state), loaded.version))
}
