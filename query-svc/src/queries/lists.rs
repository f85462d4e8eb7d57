//! What a user asks about lists. Only their owner sees them.

use model::api;
use model::ids::{ListId, UserId};

use super::Queries;
use crate::lists::{self, ListTags, Lists};
use crate::paging::{Page, PageRequest};
use crate::people::Which;
use crate::read_model::{InUse, ReadError, ReadModel};
use crate::shown::{ShownPost, ShownUser};
use crate::timelines::ListPosts;

impl Queries {
    pub(crate) async fn lists(
        &self,
        read_model: &InUse,
        owner: UserId,
        page: PageRequest,
    ) -> Result<Page<api::List>, ReadError> {
        self.page(read_model, &mut Lists { read_model, owner }, page).await
    }

    pub(crate) async fn list(
        &self,
        read_model: &ReadModel,
        id: ListId,
        viewer: UserId,
    ) -> Result<Option<api::List>, ReadError> {
        let list = read_model.ask(read_model.views.lists.find(id)).await?;
        Ok(list.filter(|list| list.owner == viewer).map(lists::shown))
    }

    pub(crate) async fn list_members(
        &self,
        read_model: &InUse,
        id: ListId,
        viewer: UserId,
        page: PageRequest,
    ) -> Result<Option<Page<ShownUser>>, ReadError> {
        let list = self.list(read_model, id, viewer).await?;
        let which = list.map(|list| Which::InList(list.id, viewer));
        self.people(read_model, which, Some(viewer), page).await
    }

    pub(crate) async fn list_tags(
        &self,
        read_model: &InUse,
        id: ListId,
        viewer: UserId,
        page: PageRequest,
    ) -> Result<Option<Page<api::Tag>>, ReadError> {
        read_model.check_has_tags()?;
        let Some(list) = self.list(read_model, id, viewer).await? else {
            return Ok(None);
        };
        let mut tags = ListTags {
            read_model,
            list: list.id,
            owner: viewer,
        };
        self.page(read_model, &mut tags, page).await.map(Some)
    }

    pub(crate) async fn list_timeline(
        &self,
        read_model: &InUse,
        id: ListId,
        viewer: UserId,
        page: PageRequest,
    ) -> Result<Option<Page<ShownPost>>, ReadError> {
        read_model.check_has_tags()?;
        let Some(list) = self.list(read_model, id, viewer).await? else {
            return Ok(None);
        };
        let mut posts = ListPosts::new(read_model, list.id, viewer, &self.clock);
        self.page(read_model, &mut posts, page).await.map(Some)
    }
}
