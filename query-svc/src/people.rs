//! Lists of users: who follows a user, whom a user follows, who likes a post, and who reposted it. And what only its owner
//! sees: requests to follow, blocks, mutes, and the members of a list.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use event_log::position::Position;
use model::ids::{EventId, ListId, PostId, UserId};

use crate::cursor::Cursor;
use crate::handled::Appearance;
use crate::paging::{Listing, Part};
use crate::read_model::{ReadError, ReadModel};
use crate::shown::{ShownUser, is_closed};
use views::{End, ListMember, PostReference, Range, Relation, RelationKind};

/// Which users are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    FollowersOf(UserId),
    FollowedBy(UserId),
    LikersOf(PostReference),
    RepostersOf(PostId),
    /// Who has asked to follow the viewer.
    RequestsTo(UserId),
    /// Whom the viewer has asked to follow.
    RequestsOf(UserId),
    BlockedBy(UserId),
    MutedBy(UserId),
    /// The members of a list of this user.
    InList(ListId, UserId),
}

/// Users in the order in which they followed, liked or reposted, the latest first.
#[derive(Debug)]
pub(crate) struct People<'a> {
    pub(crate) read_model: &'a ReadModel,
    pub(crate) which: Which,
    pub(crate) viewer: Option<UserId>,
}

/// A user in a list.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Listed {
    order: EventId,
    user: UserId,
    /// For a mute: when it is over.
    until: Option<DateTime<Utc>>,
    position: Option<Position>,
}

impl From<ListMember> for Listed {
    fn from(member: ListMember) -> Self {
        Self {
            order: member.order,
            user: member.user,
            until: None,
            position: member.position,
        }
    }
}

impl People<'_> {
    /// Reads from either end of the range. The result is newest first.
    async fn read(&self, range: Range<EventId>) -> Result<Vec<Listed>, ReadError> {
        let relations = &self.read_model.views.relations;
        let found = match self.which {
            Which::FollowersOf(user) => self.read_model.ask(relations.followers(user, range)).await?,
            Which::FollowedBy(user) => {
                self.read_model
                    .ask(relations.of_viewer(user, RelationKind::Follow, range))
                    .await?
            }
            Which::LikersOf(post) => {
                self.read_model
                    .ask(relations.of_post(post.post, RelationKind::Like, range))
                    .await?
            }
            Which::RepostersOf(post) => {
                self.read_model
                    .ask(relations.of_post(post, RelationKind::Repost, range))
                    .await?
            }
            Which::RequestsTo(user) => self.read_model.ask(relations.requests_to(user, range)).await?,
            Which::RequestsOf(user) => self.read_model.ask(relations.requests_of(user, range)).await?,
            Which::BlockedBy(user) => {
                self.read_model
                    .ask(relations.of_viewer(user, RelationKind::Block, range))
                    .await?
            }
            Which::MutedBy(user) => {
                self.read_model
                    .ask(relations.of_viewer(user, RelationKind::Mute, range))
                    .await?
            }
            Which::InList(list, _) => {
                let members = self.read_model.views.list_members.of_list(list, range);
                return Ok(self
                    .read_model
                    .ask(members)
                    .await?
                    .into_iter()
                    .map(Listed::from)
                    .collect());
            }
        };
        let listed = |relation: &Relation| Listed {
            order: relation.order,
            user: match self.which {
                Which::FollowersOf(_) | Which::LikersOf(_) | Which::RepostersOf(_) | Which::RequestsTo(_) => {
                    relation.viewer()
                }
                Which::FollowedBy(_)
                | Which::RequestsOf(_)
                | Which::BlockedBy(_)
                | Which::MutedBy(_)
                | Which::InList(..) => relation.target_user(),
            },
            until: relation.until,
            position: relation.position,
        };
        Ok(found.iter().map(listed).collect())
    }

    /// A list that its owner made. It shows also those whom a block or a suspension hides elsewhere.
    fn is_own(&self) -> bool {
        matches!(
            self.which,
            Which::RequestsTo(_) | Which::RequestsOf(_) | Which::BlockedBy(_) | Which::MutedBy(_)
        )
    }

    /// The user whose audience the event of the relation concerns.
    fn audience(&self, listed: &Listed) -> UserId {
        match self.which {
            Which::FollowersOf(user)
            | Which::RequestsTo(user)
            | Which::BlockedBy(user)
            | Which::MutedBy(user)
            | Which::InList(_, user) => user,
            Which::LikersOf(post) => post.author,
            Which::FollowedBy(_) | Which::RequestsOf(_) | Which::RepostersOf(_) => listed.user,
        }
    }
}

impl Listing for People<'_> {
    type Candidate = Listed;
    type Item = ShownUser;

    fn place(listed: &Listed) -> Cursor {
        listed.order.into()
    }

    async fn older(&mut self, below: Cursor, count: usize) -> Result<Part<Listed>, ReadError> {
        let found = self
            .read(Range {
                before: (below < Cursor::TOP).then(|| below.to_event()),
                after: None,
                limit: u32::try_from(count).unwrap_or(u32::MAX),
                end: End::Newest,
            })
            .await?;
        Ok(Part::of(found, count, Self::place))
    }

    async fn newer(&mut self, above: Cursor, count: usize) -> Result<Part<Listed>, ReadError> {
        let mut found = self
            .read(Range {
                before: None,
                after: (above > Cursor::BOTTOM).then(|| above.to_event()),
                limit: u32::try_from(count).unwrap_or(u32::MAX),
                end: End::Oldest,
            })
            .await?;
        found.reverse();
        Ok(Part::of(found, count, Self::place))
    }

    /// A user is shown once the profile has arrived too. The event of the profile was committed before that of the relation.
    async fn appearances(&mut self, listed: &[Listed]) -> Result<Vec<Option<Appearance>>, ReadError> {
        let appearance = |it: &Listed| {
            it.position.map(|position| Appearance {
                position,
                audiences: [self.audience(it), it.user],
            })
        };
        Ok(listed.iter().map(appearance).collect())
    }

    async fn admit(&mut self, listed: &[Listed]) -> Result<Vec<Option<ShownUser>>, ReadError> {
        let users = || listed.iter().map(|it| it.user);
        let (profiles, blocked) = futures_util::try_join!(
            self.read_model.profiles(users().collect()),
            self.read_model.blocks_with(self.viewer, users()),
        )?;
        let now = self.read_model.clock.now();
        let closed = match self.which {
            Which::RepostersOf(_) => {
                self.read_model
                    .closed_to(self.viewer, profiles.values().flatten())
                    .await?
            }
            _ => HashSet::new(),
        };
        let admitted = listed.iter().map(|it| {
            let profile = profiles[&it.user].clone()?;
            let is_over = it.until.is_some_and(|end| end <= now);
            let denied = blocked.either_way(it.user) || is_closed(self.viewer, &profile);
            let hidden = closed.contains(&it.user) || !self.is_own() && denied;
            (!is_over && !hidden).then(|| ShownUser::to(self.viewer, profile, &blocked))
        });
        Ok(admitted.collect())
    }
}
