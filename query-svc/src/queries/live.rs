//! What live streams ask: what a stream follows, what it has missed, and what of the news its reader may see.

use std::sync::Arc;

use model::ids::{PostId, UserId};
use model::values::FilterContext;
use serde::Serialize;

use super::{ASKED_FOR, Queries, find};
use crate::cursor::Cursor;
use crate::documents::ListSources;
use crate::filters::Filtering;
use crate::handled::Appearance;
use crate::live::{Key, Topic, What};
use crate::notifications::ShownNotification;
use crate::paging::{Page, PageRequest, Start};
use crate::read_model::{InUse, ReadError};
use crate::shown::{AuthorFilter, Candidate, HomeRules, ShownPost};
use crate::since::Since;
use crate::timelines::{Home, Posts, TagFilter, Tagged, Which as WhichPosts, home_rules};

/// What belongs to a stream.
#[derive(Debug, Clone)]
pub(crate) enum Belongs {
    Home(HomeRules),
    Public,
    Tag(TagFilter),
    List(Arc<ListSources>),
    /// With the post itself: a repost stands for its original.
    Thread(PostId),
    Notifications,
}

/// What a page of a stream shows.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum LiveItem {
    Post(Box<ShownPost>),
    Notification(Box<ShownNotification>),
}

impl Queries {
    /// What a stream follows, and by which keys it hears of it. None if there is no such thing, or the viewer may not see it.
    pub(crate) async fn followed_by(
        &self,
        read_model: &InUse,
        topic: &Topic,
        viewer: Option<UserId>,
    ) -> Result<Option<(Belongs, Vec<Key>)>, ReadError> {
        let tags =
            |tags: &[model::tags::TagKey]| -> Vec<Key> { tags.iter().map(|tag| Key::Tag(tag.prefix())).collect() };
        Ok(match (topic, viewer) {
            (&Topic::Home(replies), Some(owner)) => {
                let views = &read_model.views;
                let (header, followees) = futures_util::try_join!(
                    read_model.ask(views.home_timelines.header(owner)),
                    read_model.ask(views.relations.followees(owner)),
                )?;
                let rules = home_rules(read_model, owner, &header, replies).await?;
                let mut keys = tags(&rules.tags);
                keys.extend(followees.into_iter().chain([owner]).map(Key::Author));
                Some((Belongs::Home(rules), keys))
            }
            (Topic::Public, _) => Some((Belongs::Public, vec![Key::Public])),
            (Topic::Tag(filter), _) => {
                read_model.check_has_tags()?;
                Some((Belongs::Tag(filter.clone()), tags(filter.any())))
            }
            (&Topic::List(id), Some(owner)) => {
                read_model.check_has_tags()?;
                let Some(list) = self.list(read_model, id, owner).await? else {
                    return Ok(None);
                };
                let sources = read_model.list_sources(list.id).await?;
                let mut keys = tags(&sources.tags);
                keys.extend(sources.members.iter().copied().map(Key::Author));
                Some((Belongs::List(sources), keys))
            }
            (&Topic::Thread(id), viewer) => {
                let post = find(read_model, id, viewer, ASKED_FOR).await?;
                post.map(|post| (Belongs::Thread(post.target().id), vec![Key::Thread(post.target().id)]))
            }
            (Topic::Notifications(_), Some(owner)) => {
                read_model.check_has_notifications()?;
                Some((Belongs::Notifications, vec![Key::Notifications(owner)]))
            }
            (Topic::Home(_) | Topic::List(_) | Topic::Notifications(_), None) => None,
        })
    }

    /// What a stream has to show that is not known, the oldest first.
    pub(crate) async fn missed(
        &self,
        read_model: &InUse,
        topic: &Topic,
        belongs: &Belongs,
        viewer: Option<UserId>,
        since: Since,
        limit: usize,
    ) -> Result<Page<LiveItem>, ReadError> {
        let request = PageRequest {
            limit,
            start: Start::After(since),
        };
        let page = match (belongs, topic, viewer) {
            (Belongs::Home(rules), _, Some(owner)) => {
                let home = Home::new(read_model, owner, false, rules.replies, self.home, &self.clock);
                self.page(read_model, &mut home.by_rows(), request).await?
            }
            (Belongs::Public, ..) => self.public(read_model, viewer, request).await?,
            (Belongs::Tag(filter), ..) => {
                let mut tagged = Tagged {
                    read_model,
                    filter: filter.clone(),
                    viewer,
                };
                self.page(read_model, &mut tagged, request).await?
            }
            (Belongs::List(_), &Topic::List(id), Some(owner)) => {
                let page = self.list_timeline(read_model, id, owner, request).await?;
                page.ok_or_else(|| ReadError::NotReady("the list is gone".to_owned()))?
            }
            (&Belongs::Thread(post), ..) => {
                let mut replies = Posts::new(read_model, WhichPosts::AnswersTo(post), viewer);
                self.page(read_model, &mut replies, request).await?
            }
            (Belongs::Notifications, Topic::Notifications(kinds), Some(owner)) => {
                let page = self.notifications(read_model, owner, kinds.clone(), request).await?;
                let items = page.items.into_iter().rev();
                return Ok(Page {
                    items: items.map(|it| LiveItem::Notification(Box::new(it))).collect(),
                    next: page.next,
                    prev: page.prev,
                    ended: page.ended,
                    hides: page.hides,
                });
            }
            (Belongs::Home(_) | Belongs::List(_) | Belongs::Notifications, ..) => {
                return Err(ReadError::NotReady("the stream has no reader".to_owned()));
            }
        };
        let items = page.items.into_iter().rev();
        Ok(Page {
            items: items.map(|it| LiveItem::Post(Box::new(it))).collect(),
            next: page.next,
            prev: page.prev,
            ended: page.ended,
            hides: page.hides,
        })
    }

    /// What the viewer sees of the news of a stream, in the same order.
    pub(crate) async fn seen_in(
        &self,
        read_model: &InUse,
        belongs: &Belongs,
        viewer: Option<UserId>,
        candidates: &[Candidate],
    ) -> Result<Vec<Option<ShownPost>>, ReadError> {
        let (authors, context) = match belongs {
            Belongs::Home(rules) => (AuthorFilter::Followed(rules), FilterContext::Home),
            Belongs::Public => (AuthorFilter::Public, FilterContext::Public),
            Belongs::Tag(_) => (AuthorFilter::Public, FilterContext::Tags),
            Belongs::List(sources) => (AuthorFilter::List(sources), FilterContext::Lists),
            Belongs::Thread(_) => (AuthorFilter::Anybody, FilterContext::Thread),
            Belongs::Notifications => (AuthorFilter::Anybody, FilterContext::Notifications),
        };
        let shown = read_model
            .show(candidates, viewer, authors, Filtering::In(context))
            .await?;
        let has_tags = |shown: &ShownPost| match belongs {
            Belongs::Tag(filter) => filter.admits(&shown.post.tags),
            _ => true,
        };
        Ok(shown.into_iter().map(|shown| shown.filter(has_tags)).collect())
    }
}

impl LiveItem {
    pub(crate) fn what(&self) -> What {
        match self {
            LiveItem::Post(_) => What::Post,
            LiveItem::Notification(_) => What::Notification,
        }
    }

    pub(crate) fn place(&self) -> Cursor {
        match self {
            LiveItem::Post(shown) => shown.post.id.into(),
            LiveItem::Notification(it) => it.id.into(),
        }
    }

    /// The event by which it appeared, if that is known.
    pub(crate) fn appearance(&self) -> Option<Appearance> {
        match self {
            LiveItem::Post(shown) => Candidate::from(shown.post.as_ref()).appearance(),
            LiveItem::Notification(it) => it.appearance(),
        }
    }
}
