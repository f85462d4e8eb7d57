//! The lists of a user, and the tags in a list. Only its owner sees a list.

use std::collections::HashSet;

use model::api;
use model::ids::{ListId, UserId};
use model::tags::TagKey;
use views::{End, List, ListTag, Range};

use crate::cursor::Cursor;
use crate::handled::Appearance;
use crate::paging::{Listing, Part};
use crate::read_model::{ReadError, ReadModel};

pub(crate) fn shown(list: List) -> api::List {
    api::List {
        id: list.id,
        title: list.title,
        exclusive: list.exclusive,
    }
}

/// The lists that a user has, the last one made first.
#[derive(Debug)]
pub(crate) struct Lists<'a> {
    pub(crate) read_model: &'a ReadModel,
    pub(crate) owner: UserId,
}

impl Listing for Lists<'_> {
    type Candidate = List;
    type Item = api::List;

    fn place(list: &List) -> Cursor {
        list.id.into()
    }

    async fn older(&mut self, below: Cursor, count: usize) -> Result<Part<List>, ReadError> {
        let range = Range {
            before: (below < Cursor::TOP).then(|| below.to_list()),
            after: None,
            limit: u32::try_from(count).unwrap_or(u32::MAX),
            end: End::Newest,
        };
        let lists = self.read_model.views.lists.of_owner(self.owner, range);
        Ok(Part::of(self.read_model.ask(lists).await?, count, Self::place))
    }

    async fn newer(&mut self, above: Cursor, count: usize) -> Result<Part<List>, ReadError> {
        let range = Range {
            before: None,
            after: (above > Cursor::BOTTOM).then(|| above.to_list()),
            limit: u32::try_from(count).unwrap_or(u32::MAX),
            end: End::Oldest,
        };
        let lists = self.read_model.views.lists.of_owner(self.owner, range);
        let mut found = self.read_model.ask(lists).await?;
        found.reverse();
        Ok(Part::of(found, count, Self::place))
    }

    async fn appearances(&mut self, lists: &[List]) -> Result<Vec<Option<Appearance>>, ReadError> {
        let appearances = lists.iter().map(|list| {
            list.position.map(|position| Appearance {
                position,
                audiences: [self.owner, self.owner],
            })
        });
        Ok(appearances.collect())
    }

    async fn admit(&mut self, lists: &[List]) -> Result<Vec<Option<api::List>>, ReadError> {
        Ok(lists.iter().cloned().map(|list| Some(shown(list))).collect())
    }
}

/// The tags in a list, the last one added first.
#[derive(Debug)]
pub(crate) struct ListTags<'a> {
    pub(crate) read_model: &'a ReadModel,
    pub(crate) list: ListId,
    pub(crate) owner: UserId,
}

impl Listing for ListTags<'_> {
    type Candidate = ListTag;
    type Item = api::Tag;

    fn place(tag: &ListTag) -> Cursor {
        tag.order.into()
    }

    async fn older(&mut self, below: Cursor, count: usize) -> Result<Part<ListTag>, ReadError> {
        let range = Range {
            before: (below < Cursor::TOP).then(|| below.to_event()),
            after: None,
            limit: u32::try_from(count).unwrap_or(u32::MAX),
            end: End::Newest,
        };
        let tags = self.read_model.views.list_tags.of_list(self.list, range);
        Ok(Part::of(self.read_model.ask(tags).await?, count, Self::place))
    }

    async fn newer(&mut self, above: Cursor, count: usize) -> Result<Part<ListTag>, ReadError> {
        let range = Range {
            before: None,
            after: (above > Cursor::BOTTOM).then(|| above.to_event()),
            limit: u32::try_from(count).unwrap_or(u32::MAX),
            end: End::Oldest,
        };
        let tags = self.read_model.views.list_tags.of_list(self.list, range);
        let mut found = self.read_model.ask(tags).await?;
        found.reverse();
        Ok(Part::of(found, count, Self::place))
    }

    async fn appearances(&mut self, tags: &[ListTag]) -> Result<Vec<Option<Appearance>>, ReadError> {
        let appearances = tags.iter().map(|tag| {
            tag.position.map(|position| Appearance {
                position,
                audiences: [self.owner, self.owner],
            })
        });
        Ok(appearances.collect())
    }

    async fn admit(&mut self, tags: &[ListTag]) -> Result<Vec<Option<api::Tag>>, ReadError> {
        let followed = self.read_model.views.followed_tags.all_of_user(self.owner);
        let followed: HashSet<TagKey> = self.read_model.ask(followed).await?.into_iter().collect();
        let shown = tags.iter().map(|tag| {
            Some(api::Tag {
                name: tag.tag.clone(),
                following: Some(followed.contains(&tag.key)),
            })
        });
        Ok(shown.collect())
    }
}
