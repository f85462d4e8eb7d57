//! Tags as the viewer follows them.

use model::api;
use model::ids::UserId;
use views::{End, FollowedTag, Range};

use crate::cursor::Cursor;
use crate::handled::Appearance;
use crate::paging::{Listing, Part};
use crate::read_model::{ReadError, ReadModel};

/// The tags that a user follows, the last follow first.
#[derive(Debug)]
pub(crate) struct FollowedTags<'a> {
    pub(crate) read_model: &'a ReadModel,
    pub(crate) user: UserId,
}

impl Listing for FollowedTags<'_> {
    type Candidate = FollowedTag;
    type Item = api::Tag;

    fn place(follow: &FollowedTag) -> Cursor {
        follow.order.into()
    }

    async fn older(&mut self, below: Cursor, count: usize) -> Result<Part<FollowedTag>, ReadError> {
        let range = Range {
            before: (below < Cursor::TOP).then(|| below.to_event()),
            after: None,
            limit: u32::try_from(count).unwrap_or(u32::MAX),
            end: End::Newest,
        };
        let follows = self.read_model.views.followed_tags.of_user(self.user, range);
        Ok(Part::of(self.read_model.ask(follows).await?, count, Self::place))
    }

    async fn newer(&mut self, above: Cursor, count: usize) -> Result<Part<FollowedTag>, ReadError> {
        let range = Range {
            before: None,
            after: (above > Cursor::BOTTOM).then(|| above.to_event()),
            limit: u32::try_from(count).unwrap_or(u32::MAX),
            end: End::Oldest,
        };
        let follows = self.read_model.views.followed_tags.of_user(self.user, range);
        let mut found = self.read_model.ask(follows).await?;
        found.reverse();
        Ok(Part::of(found, count, Self::place))
    }

    async fn appearances(&mut self, follows: &[FollowedTag]) -> Result<Vec<Option<Appearance>>, ReadError> {
        let appearances = follows.iter().map(|follow| {
            follow.position.map(|position| Appearance {
                position,
                audiences: [self.user, self.user],
            })
        });
        Ok(appearances.collect())
    }

    async fn admit(&mut self, follows: &[FollowedTag]) -> Result<Vec<Option<api::Tag>>, ReadError> {
        let shown = follows.iter().map(|follow| {
            Some(api::Tag {
                name: follow.tag.clone(),
                following: Some(true),
            })
        });
        Ok(shown.collect())
    }
}
