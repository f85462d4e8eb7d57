//! Lists of users: who follows, whom one follows, who likes a post, who reposted it.

use shared::ids::{EventId, PostId, UserId};

use crate::cursor::Cursor;
use crate::paging::Listing;
use crate::reading::{ReadError, Reading};
use crate::shown::ShownUser;
use crate::views::{End, Range, RelationKind};

/// Which users are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    FollowersOf(UserId),
    FollowedBy(UserId),
    LikersOf(PostId),
    RepostersOf(PostId),
}

/// Users in the order in which they followed, liked or reposted, the latest first.
#[derive(Debug)]
pub(crate) struct People<'a> {
    pub(crate) reading: &'a Reading,
    pub(crate) which: Which,
}

impl People<'_> {
    async fn read(&self, range: Range<EventId>) -> Result<Vec<(EventId, UserId)>, ReadError> {
        let relations = &self.reading.views.relations;
        let found = match self.which {
            Which::FollowersOf(user) => self.reading.ask(relations.followers(user, range)).await?,
            Which::FollowedBy(user) => {
                self.reading
                    .ask(relations.of_viewer(user, RelationKind::Follow, range))
                    .await?
            }
            Which::LikersOf(post) => {
                self.reading
                    .ask(relations.of_post(post, RelationKind::Like, range))
                    .await?
            }
            Which::RepostersOf(post) => {
                self.reading
                    .ask(relations.of_post(post, RelationKind::Repost, range))
                    .await?
            }
        };
        let other = |relation: &crate::views::Relation| match self.which {
            Which::FollowedBy(_) => relation.followee(),
            _ => relation.viewer(),
        };
        Ok(found.iter().map(|relation| (relation.order, other(relation))).collect())
    }
}

impl Listing for People<'_> {
    type Candidate = (EventId, UserId);
    type Item = ShownUser;

    fn place(&(order, _): &(EventId, UserId)) -> Cursor {
        order.into()
    }

    async fn older(&mut self, below: Cursor, count: usize) -> Result<Vec<(EventId, UserId)>, ReadError> {
        let before = (below < Cursor::TOP).then(|| below.to_event());
        let limit = u32::try_from(count).unwrap_or(u32::MAX);
        self.read(Range {
            before,
            after: None,
            limit,
            end: End::Newest,
        })
        .await
    }

    async fn newer(&mut self, above: Cursor, count: usize) -> Result<Vec<(EventId, UserId)>, ReadError> {
        let after = (above > Cursor::BOTTOM).then(|| above.to_event());
        let limit = u32::try_from(count).unwrap_or(u32::MAX);
        let mut found = self
            .read(Range {
                before: None,
                after,
                limit,
                end: End::Oldest,
            })
            .await?;
        found.reverse();
        Ok(found)
    }

    async fn admit(&mut self, candidates: &[(EventId, UserId)]) -> Result<Vec<Option<ShownUser>>, ReadError> {
        let users = candidates.iter().map(|&(_, user)| user).collect();
        let profiles = self.reading.profiles(users).await?;
        Ok(candidates
            .iter()
            .map(|(_, user)| profiles[user].clone().map(ShownUser))
            .collect())
    }
}
